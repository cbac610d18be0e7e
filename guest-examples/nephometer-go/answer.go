package nephometer

// Answer holds the rows that take the place of the input's: new dictionary entries, numbered on from
// the input's, and columns with one entry per row.
type Answer struct {
	Meters    []Meter
	Resources []*Resource
	Origin    []uint32
	Meter     []uint32
	Resource  []uint32
	Time      []uint64
	Volume    []float64
}

// AnswerBuilder makes an answer, row by row.
//
// New meters and resources are numbered by their content: asking for the same one again gives the
// same number, and one that the input has already gives the input's.
type AnswerBuilder struct {
	answer Answer
	given  Batch
	// Nil until they are first asked for: many answers have no new entries.
	meters    map[Meter]uint32
	resources map[owned][]numbered
}

type numbered struct {
	resource *Resource
	number   uint32
}

// NewAnswerBuilder begins the answer to a batch; nil stands for a flush.
func NewAnswerBuilder(batch *Batch) *AnswerBuilder {
	builder := &AnswerBuilder{}
	if batch != nil {
		builder.given = *batch
	}
	return builder
}

// Meter gives the number of a meter.
func (b *AnswerBuilder) Meter(meter Meter) uint32 {
	if b.meters == nil {
		b.meters = map[Meter]uint32{}
		for number, one := range b.given.Meters {
			// The first of equal entries has the say.
			if _, known := b.meters[one]; !known {
				b.meters[one] = uint32(number)
			}
		}
	}
	number, known := b.meters[meter]
	if !known {
		number = uint32(len(b.given.Meters) + len(b.answer.Meters))
		b.answer.Meters = append(b.answer.Meters, meter)
		b.meters[meter] = number
	}
	return number
}

// Resource gives the number of a resource.
func (b *AnswerBuilder) Resource(resource *Resource) uint32 {
	if b.resources == nil {
		b.resources = map[owned][]numbered{}
		for number, one := range b.given.Resources {
			key := one.owned()
			b.resources[key] = append(b.resources[key], numbered{one, uint32(number)})
		}
	}
	key := resource.owned()
	for _, one := range b.resources[key] {
		if one.resource.sameMetadata(resource) {
			return one.number
		}
	}
	number := uint32(len(b.given.Resources) + len(b.answer.Resources))
	b.answer.Resources = append(b.answer.Resources, resource)
	b.resources[key] = append(b.resources[key], numbered{resource, number})
	return number
}

// Keep adds a row that passes as it is.
func (b *AnswerBuilder) Keep(row Row) {
	b.add(row.Number, row.MeterIndex, row.ResourceIndex, row.Time, row.Volume)
}

// Derive adds a row made of another: same resource and time, another meter and value.
func (b *AnswerBuilder) Derive(row Row, meter uint32, volume float64) {
	b.add(row.Number, meter, row.ResourceIndex, row.Time, volume)
}

// Create adds a row that comes from no input row.
func (b *AnswerBuilder) Create(meter, resource uint32, time uint64, volume float64) {
	b.add(NoOrigin, meter, resource, time, volume)
}

func (b *AnswerBuilder) add(origin, meter, resource uint32, time uint64, volume float64) {
	answer := &b.answer
	if rows := len(b.given.Volume); answer.Volume == nil && rows > 0 {
		// Most answers have about as many rows as their batch: columns that grow are copied often.
		answer.Origin = make([]uint32, 0, rows)
		answer.Meter = make([]uint32, 0, rows)
		answer.Resource = make([]uint32, 0, rows)
		answer.Time = make([]uint64, 0, rows)
		answer.Volume = make([]float64, 0, rows)
	}
	answer.Origin = append(answer.Origin, origin)
	answer.Meter = append(answer.Meter, meter)
	answer.Resource = append(answer.Resource, resource)
	answer.Time = append(answer.Time, time)
	answer.Volume = append(answer.Volume, volume)
}

// Finish gives the answer.
func (b *AnswerBuilder) Finish() *Answer {
	return &b.answer
}
