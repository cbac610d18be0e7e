package nephometer

import (
	"iter"
	"math"
)

// NoOrigin is the origin of a row that is not computed from an input row.
const NoOrigin uint32 = 0xffffffff

// Every integer below this one is exact as a float64.
const maxExact = 1 << 53

// MeterType is how the values of a meter relate to each other over time.
type MeterType string

// The types of the contract.
const (
	Gauge      MeterType = "gauge"      // Each value stands alone.
	Delta      MeterType = "delta"      // Each value is the change since the previous sample.
	Cumulative MeterType = "cumulative" // Values only grow, until the counter is reset to 0.
)

// Meter is what is measured, and in which unit.
type Meter struct {
	Name string
	Unit string
	Type MeterType
}

// ExactInteger is the value of a row with an integer of 2^53 or more, which a float64 cannot hold.
type ExactInteger struct {
	Row   uint32
	Value int64
}

// Batch holds samples of one polling cycle. The columns Meter, Resource, Time, Monotonic and Volume
// have one entry per row; Meter and Resource are numbers of the dictionary.
type Batch struct {
	Dictionary *Dictionary
	Meter      []uint32
	Resource   []uint32
	Time       []uint64
	Monotonic  []uint64
	Volume     []float64
	// Values of rows with integers of 2^53 or more, by ascending row. Usually empty.
	Exact []ExactInteger
	// Ids of resources that were removed: caches may drop them.
	Removed []string
}

// Row is one row of a batch with its entries of the dictionary.
type Row struct {
	// The index in the batch: the origin of rows computed from this one.
	Number uint32
	// Numbers of the dictionary. They are suitable as indexes within one instance, and mean nothing
	// to another one: keep them out of saved state and texts.
	MeterNumber    uint32
	ResourceNumber uint32
	Meter          *Meter
	Resource       *Resource
	// When the value was read, in nanoseconds since the epoch.
	Time uint64
	// Nanoseconds of a clock that never goes back; 0 if unknown.
	Monotonic uint64
	// The value, in the unit of the meter.
	Volume float64

	integer int64
	exact   bool
}

// Integer returns the exact value of the row, and whether it is known to be a whole number.
func (r Row) Integer() (int64, bool) {
	if r.exact {
		return r.integer, true
	}
	if math.Abs(r.Volume) < maxExact && r.Volume == math.Trunc(r.Volume) {
		return int64(r.Volume), true
	}
	return 0, false
}

// Rows iterates over the rows of a batch, in order.
func Rows(batch *Batch) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		exact := batch.Exact
		for number, volume := range batch.Volume {
			meter, resource := batch.Meter[number], batch.Resource[number]
			row := Row{
				Number:         uint32(number),
				MeterNumber:    meter,
				ResourceNumber: resource,
				Meter:          batch.Dictionary.meters[meter],
				Resource:       batch.Dictionary.resources[resource],
				Time:           batch.Time[number],
				Monotonic:      batch.Monotonic[number],
				Volume:         volume,
			}
			if len(exact) > 0 && exact[0].Row == row.Number {
				row.integer, row.exact = exact[0].Value, true
				exact = exact[1:]
			}
			if !yield(row) {
				return
			}
		}
	}
}
