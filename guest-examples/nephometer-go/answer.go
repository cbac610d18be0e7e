package nephometer

// Answer holds rows that replace a batch: columns with one entry per row, and the component's own
// meters and resources that the host has not received yet.
type Answer struct {
	Meters    []Numbered[Meter]
	Resources []Numbered[Resource]
	Origin    []uint32
	Meter     []uint32
	// Resource and Time are nil if every row has those of its origin; see Derived.
	Resource []uint32
	Time     []uint64
	Volume   []float64
	// Values of rows with integers of 2^53 or more, by ascending row. Usually empty.
	Exact []ExactInteger

	own *ownEntries
}

// Derived reports whether every row has the resource and the time of its origin, and origins are
// equal or ascending: the host then needs neither column.
func (a *Answer) Derived() bool { return a.Resource == nil && a.Time == nil }

// Sent records that the host has received the new entries of the answer: later answers are without
// them. nephometer/export calls it.
func (a *Answer) Sent() {
	if a.own != nil {
		a.own.markSent(a)
	}
}

// AnswerBuilder builds an answer, row by row.
//
// It numbers the component's own meters and resources by content: the same entry has the same
// number, in this answer and usually in later ones. Ask once per answer instead of keeping a number
// for the next one, because a component with very many entries gets new numbers.
type AnswerBuilder struct {
	answer Answer
	batch  *Batch
	last   uint32
}

// NewAnswerBuilder begins the answer to a batch; nil stands for a flush.
func NewAnswerBuilder(batch *Batch) *AnswerBuilder {
	builder := &AnswerBuilder{answer: Answer{own: ownForAnswer()}, batch: batch}
	if batch == nil {
		builder.batch = &Batch{}
		builder.addColumns()
	}
	return builder
}

// Meter returns the number of one of the component's own meters.
func (b *AnswerBuilder) Meter(meter Meter) uint32 { return b.answer.own.meter(meter) }

// Resource returns the number of one of the component's own resources. Resources are compared with
// their metadata as text. The builder keeps a copy of a new one.
func (b *AnswerBuilder) Resource(resource *Resource) uint32 { return b.answer.own.resource(resource) }

// Keep adds a row of the batch as it is.
func (b *AnswerBuilder) Keep(row Row) { b.Derive(row, row.MeterNumber, row.Volume) }

// Derive adds a row computed from a row of the batch: same resource and time, another meter or
// value.
func (b *AnswerBuilder) Derive(row Row, meter uint32, volume float64) {
	if row.Number < b.last {
		b.addColumns()
	}
	b.last = row.Number
	answer := &b.answer
	b.add(row.Number, meter, volume)
	if !answer.Derived() {
		answer.Resource = append(answer.Resource, b.batch.Resource[row.Number])
		answer.Time = append(answer.Time, b.batch.Time[row.Number])
	}
}

// DeriveInteger is Derive with an exact integer.
func (b *AnswerBuilder) DeriveInteger(row Row, meter uint32, value int64) {
	b.Derive(row, meter, float64(value))
	b.exact(value)
}

// Create adds a row that is not computed from an input row.
func (b *AnswerBuilder) Create(meter, resource uint32, time uint64, volume float64) {
	b.addColumns()
	answer := &b.answer
	b.add(NoOrigin, meter, volume)
	answer.Resource = append(answer.Resource, resource)
	answer.Time = append(answer.Time, time)
}

// CreateInteger is Create with an exact integer.
func (b *AnswerBuilder) CreateInteger(meter, resource uint32, time uint64, value int64) {
	b.Create(meter, resource, time, float64(value))
	b.exact(value)
}

func (b *AnswerBuilder) add(origin, meter uint32, volume float64) {
	answer := &b.answer
	if rows := len(b.batch.Volume); answer.Volume == nil && rows > 0 {
		// Most answers have about as many rows as their batch. Growing columns would be copied often.
		answer.Origin = make([]uint32, 0, rows)
		answer.Meter = make([]uint32, 0, rows)
		answer.Volume = make([]float64, 0, rows)
	}
	answer.Origin = append(answer.Origin, origin)
	answer.Meter = append(answer.Meter, meter)
	answer.Volume = append(answer.Volume, volume)
}

// exact adds the exact value of the last row, if its volume cannot hold it.
func (b *AnswerBuilder) exact(value int64) {
	if value >= maxExact || value <= -maxExact {
		row := uint32(len(b.answer.Volume) - 1)
		b.answer.Exact = append(b.answer.Exact, ExactInteger{row, value})
	}
}

// addColumns adds the columns for resource and time, and fills them from the origins.
func (b *AnswerBuilder) addColumns() {
	answer := &b.answer
	if !answer.Derived() {
		return
	}
	answer.Resource = make([]uint32, 0, len(b.batch.Volume))
	answer.Time = make([]uint64, 0, len(b.batch.Volume))
	for _, origin := range answer.Origin {
		answer.Resource = append(answer.Resource, b.batch.Resource[origin])
		answer.Time = append(answer.Time, b.batch.Time[origin])
	}
}

// Finish returns the answer, with all entries that the host has not received yet.
func (b *AnswerBuilder) Finish() *Answer {
	b.answer.Meters = b.answer.own.unsentMeters()
	if !b.answer.Derived() {
		b.answer.Resources = b.answer.own.unsentResources()
	}
	return &b.answer
}
