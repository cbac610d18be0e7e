// Package nephometertest makes batches of samples, and samples of answers, for tests without a host.
package nephometertest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"nephometer"
)

// Sample is a sample in the keys that nephometer component run reads and prints.
type Sample struct {
	Name       string               `json:"name"`
	Unit       string               `json:"unit"`
	Type       nephometer.MeterType `json:"type"`
	ResourceID string               `json:"resource_id"`
	// "openstack" if left out.
	Source    string         `json:"source"`
	ProjectID *string        `json:"project_id"`
	UserID    *string        `json:"user_id"`
	Metadata  map[string]any `json:"resource_metadata"`
	// ISO 8601 with its offset.
	Timestamp string  `json:"timestamp"`
	Volume    float64 `json:"volume"`
	// Of samples of an answer: the row that it comes from, NoOrigin for none.
	Origin uint32 `json:"-"`
}

// Nanoseconds gives the nanoseconds since the epoch of an ISO 8601 timestamp with its offset. It
// panics if the timestamp is none.
func Nanoseconds(timestamp string) uint64 {
	parsed, err := time.Parse(time.RFC3339Nano, timestamp)
	if err != nil {
		panic(err)
	}
	return uint64(parsed.UnixNano())
}

// Timestamp gives nanoseconds since the epoch as ISO 8601, in UTC.
func Timestamp(nanoseconds uint64) string {
	return time.Unix(0, int64(nanoseconds)).UTC().Format(time.RFC3339Nano)
}

// BatchOf gives a batch with one row per sample.
func BatchOf(samples ...Sample) *nephometer.Batch {
	batch := &nephometer.Batch{}
	for _, sample := range samples {
		if sample.Source == "" {
			sample.Source = "openstack"
		}
		meter := nephometer.Meter{Name: sample.Name, Unit: sample.Unit, Type: sample.Type}
		resource := (&nephometer.Resource{
			ID:        sample.ResourceID,
			Source:    sample.Source,
			ProjectID: sample.ProjectID,
			UserID:    sample.UserID,
		}).WithMetadata(sample.Metadata)
		batch.Meter = append(batch.Meter, number(&batch.Meters, meter))
		batch.Resource = append(batch.Resource, number(&batch.Resources, resource))
		batch.Time = append(batch.Time, Nanoseconds(sample.Timestamp))
		batch.Monotonic = append(batch.Monotonic, 0)
		batch.Volume = append(batch.Volume, sample.Volume)
	}
	return batch
}

func number[T any](entries *[]T, wanted T) uint32 {
	index := slices.IndexFunc(*entries, func(one T) bool { return reflect.DeepEqual(one, wanted) })
	if index < 0 {
		index = len(*entries)
		*entries = append(*entries, wanted)
	}
	return uint32(index)
}

// SamplesOf gives the samples that an outcome stands for. The batch is what the outcome answers; nil
// for a flush. It panics if the columns are of unequal length.
func SamplesOf(outcome nephometer.Outcome, batch *nephometer.Batch) []Sample {
	if batch == nil {
		batch = &nephometer.Batch{}
	}
	answer := answerOf(outcome, batch)
	if answer == nil {
		return nil
	}
	rows := len(answer.Volume)
	for _, length := range []int{len(answer.Origin), len(answer.Meter), len(answer.Resource), len(answer.Time)} {
		if length != rows {
			panic(fmt.Sprintf("columns of unequal length: %d and %d", length, rows))
		}
	}
	meters := slices.Concat(batch.Meters, answer.Meters)
	resources := slices.Concat(batch.Resources, answer.Resources)
	samples := make([]Sample, rows)
	for row := range samples {
		meter, resource := meters[answer.Meter[row]], resources[answer.Resource[row]]
		samples[row] = Sample{
			Name:       meter.Name,
			Unit:       meter.Unit,
			Type:       meter.Type,
			ResourceID: resource.ID,
			Source:     resource.Source,
			ProjectID:  resource.ProjectID,
			UserID:     resource.UserID,
			Metadata:   resource.Metadata(),
			Timestamp:  Timestamp(answer.Time[row]),
			Volume:     answer.Volume[row],
			Origin:     answer.Origin[row],
		}
	}
	return samples
}

// Every outcome as an answer; nil if there is none.
func answerOf(outcome nephometer.Outcome, batch *nephometer.Batch) *nephometer.Answer {
	var kept nephometer.Keep
	switch outcome := outcome.(type) {
	case *nephometer.Answer:
		return outcome
	case nephometer.Keep:
		kept = outcome
	case nil:
		return nil
	default: // Unchanged
		for row := range batch.Volume {
			kept = append(kept, uint32(row))
		}
	}
	answer := &nephometer.Answer{Origin: kept}
	for _, row := range kept {
		answer.Meter = append(answer.Meter, batch.Meter[row])
		answer.Resource = append(answer.Resource, batch.Resource[row])
		answer.Time = append(answer.Time, batch.Time[row])
		answer.Volume = append(answer.Volume, batch.Volume[row])
	}
	return answer
}
