// Package nephometertest converts samples to batches and envelopes, and answers to samples, for tests
// without a host.
package nephometertest

import (
	"encoding/json"
	"fmt"
	"time"

	"nephometer"
)

// Sample is a sample with the keys that nephometer component run reads and prints.
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
	// The exact value, if it is an integer that Volume cannot hold; Volume is then set from it.
	Integer *int64 `json:"-"`
	// In samples of an answer: the row that it is computed from, NoOrigin for none.
	Origin uint32 `json:"-"`
}

// Nanoseconds returns an ISO 8601 timestamp with its offset as nanoseconds since the epoch. It
// panics if the timestamp is malformed.
func Nanoseconds(timestamp string) uint64 {
	parsed, err := time.Parse(time.RFC3339Nano, timestamp)
	if err != nil {
		panic(err)
	}
	return uint64(parsed.UnixNano())
}

// Timestamp returns nanoseconds since the epoch as ISO 8601, in UTC.
func Timestamp(nanoseconds uint64) string {
	return time.Unix(0, int64(nanoseconds)).UTC().Format(time.RFC3339Nano)
}

// SamplesOf returns the samples of an outcome. The batch is the one that it replaces; nil for a
// flush. It panics if the host would refuse the answer: columns of unequal length, or a number that
// stands for nothing.
func SamplesOf(outcome nephometer.Outcome, batch *nephometer.Batch) []Sample {
	if batch == nil {
		batch = &nephometer.Batch{Dictionary: &nephometer.Dictionary{}}
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
	meters := byNumber(answer.Meters, batch.Dictionary.Meter)
	resources := byNumber(answer.Resources, batch.Dictionary.Resource)
	integers := integersOf(answer, batch)
	samples := make([]Sample, rows)
	for row := range samples {
		meter, resource := meters(answer.Meter[row]), resources(answer.Resource[row])
		if meter == nil || resource == nil {
			panic(fmt.Sprintf("row %d has an unknown meter or resource", row))
		}
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
			Integer:    integers[row],
			Origin:     answer.Origin[row],
		}
	}
	return samples
}

// byNumber looks up new entries first: nothing here counts as sent, so they are all in the answer.
func byNumber[E any](entries []nephometer.Numbered[E], known func(uint32) *E) func(uint32) *E {
	return func(number uint32) *E {
		if len(entries) > 0 && number >= entries[0].Number {
			if index := int(number - entries[0].Number); index < len(entries) {
				return entries[index].Entry
			}
		}
		return known(number)
	}
}

// integersOf returns the exact integers by row: those of the answer, and those of origins with the
// same volume.
func integersOf(answer *nephometer.Answer, batch *nephometer.Batch) map[int]*int64 {
	given := map[uint32]int64{}
	for _, one := range batch.Exact {
		given[one.Row] = one.Value
	}
	integers := map[int]*int64{}
	for row, origin := range answer.Origin {
		if value, exact := given[origin]; exact && answer.Volume[row] == batch.Volume[origin] {
			integers[row] = &value
		}
	}
	for _, one := range answer.Exact {
		integers[int(one.Row)] = &one.Value
	}
	return integers
}

// answerOf returns every outcome as an answer with all columns; nil if there is none.
func answerOf(outcome nephometer.Outcome, batch *nephometer.Batch) *nephometer.Answer {
	answer := &nephometer.Answer{}
	switch outcome := outcome.(type) {
	case *nephometer.Answer:
		if outcome == nil || !outcome.Derived() {
			return outcome
		}
		*answer = *outcome
	case nephometer.Keep:
		answer.Origin = outcome
	case nil:
		return nil
	default: // Unchanged
		for row := range batch.Volume {
			answer.Origin = append(answer.Origin, uint32(row))
		}
	}
	kept := answer.Volume == nil
	for _, row := range answer.Origin {
		answer.Resource = append(answer.Resource, batch.Resource[row])
		answer.Time = append(answer.Time, batch.Time[row])
		if kept {
			answer.Meter = append(answer.Meter, batch.Meter[row])
			answer.Volume = append(answer.Volume, batch.Volume[row])
		}
	}
	return answer
}

// DeliveryOf returns an envelope with one row per sample, and each sample as its text.
func DeliveryOf(id string, samples ...Sample) *nephometer.Delivery {
	texts := make([]string, len(samples))
	for index, sample := range samples {
		text, err := json.Marshal(sample)
		if err != nil {
			panic(err)
		}
		texts[index] = string(text)
	}
	return &nephometer.Delivery{ID: id, Attempt: 1, Batch: BatchOf(samples...), Texts: texts}
}
