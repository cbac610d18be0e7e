package nephometer

import "iter"

// NoOrigin is the origin of a row that comes from no input row.
const NoOrigin uint32 = 0xffffffff

// MeterType is what a meter's numbers mean over time.
type MeterType string

// The types that there are.
const (
	Gauge      MeterType = "gauge"      // A value that stands for itself.
	Delta      MeterType = "delta"      // A change since the sample before.
	Cumulative MeterType = "cumulative" // A counter that only grows, until it is reset to 0.
)

// Meter is what is measured.
type Meter struct {
	Name string
	Unit string
	Type MeterType
}

// Batch holds the samples of one tick. The columns Meter, Resource, Time, Monotonic and Volume have
// one entry per row.
type Batch struct {
	Meters    []Meter
	Resources []*Resource
	Meter     []uint32
	Resource  []uint32
	Time      []uint64
	Monotonic []uint64
	Volume    []float64
	// Ids of resources that will not come again.
	Gone []string
}

// Row is one row of a batch, its dictionary entries looked up.
type Row struct {
	// Its number in the batch: the origin of what is made of it.
	Number        uint32
	MeterIndex    uint32
	ResourceIndex uint32
	Meter         *Meter
	Resource      *Resource
	// When the value was true, in nanoseconds since the epoch.
	Time uint64
	// Nanoseconds of a clock that never goes back; 0 where it is not known.
	Monotonic uint64
	// The value, in the meter's unit.
	Volume float64
}

// Rows gives the rows of a batch, in order.
func Rows(batch *Batch) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for number, volume := range batch.Volume {
			meter, resource := batch.Meter[number], batch.Resource[number]
			row := Row{
				Number:        uint32(number),
				MeterIndex:    meter,
				ResourceIndex: resource,
				Meter:         &batch.Meters[meter],
				Resource:      batch.Resources[resource],
				Time:          batch.Time[number],
				Monotonic:     batch.Monotonic[number],
				Volume:        volume,
			}
			if !yield(row) {
				return
			}
		}
	}
}
