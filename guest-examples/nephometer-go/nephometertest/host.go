package nephometertest

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"

	"nephometer"
)

// How many numbers are shuffled at once.
const shuffled = 16

// Host stands in for the host: it keeps one dictionary over several batches.
type Host struct {
	dictionary *nephometer.Dictionary
	meters     numbers
	resources  numbers
}

// NewHost returns a host with an empty dictionary. The seed determines which numbers entries get,
// so that a test whose result depends on numbers fails.
func NewHost(seed uint64) *Host {
	chance := rand.New(rand.NewPCG(seed, 0))
	return &Host{
		dictionary: &nephometer.Dictionary{},
		meters:     numbers{chance: chance, given: map[string]uint32{}},
		resources:  numbers{chance: chance, given: map[string]uint32{}},
	}
}

// BatchOf returns a batch with one row per sample, of a host of its own.
func BatchOf(samples ...Sample) *nephometer.Batch { return NewHost(0).Batch(samples...) }

// Batch returns a batch with one row per sample.
func (h *Host) Batch(samples ...Sample) *nephometer.Batch {
	batch := &nephometer.Batch{Dictionary: h.dictionary}
	for row, sample := range samples {
		if sample.Integer != nil {
			sample.Volume = float64(*sample.Integer)
			batch.Exact = append(batch.Exact, nephometer.ExactInteger{Row: uint32(row), Value: *sample.Integer})
		}
		batch.Meter = append(batch.Meter, h.meter(sample))
		batch.Resource = append(batch.Resource, h.resource(sample))
		batch.Time = append(batch.Time, Nanoseconds(sample.Timestamp))
		batch.Monotonic = append(batch.Monotonic, 0)
		batch.Volume = append(batch.Volume, sample.Volume)
	}
	return batch
}

// Forget forgets all meters and resources: their numbers will stand for others. Earlier batches are
// no longer valid.
func (h *Host) Forget() {
	h.dictionary.Learn(nephometer.Changes{
		ForgottenMeters:    h.meters.forget(),
		ForgottenResources: h.resources.forget(),
	})
}

func (h *Host) meter(sample Sample) uint32 {
	meter := nephometer.Meter{Name: sample.Name, Unit: sample.Unit, Type: sample.Type}
	number, added := h.meters.of(meter)
	if added {
		entry := nephometer.Numbered[nephometer.Meter]{Number: number, Entry: &meter}
		h.dictionary.Learn(nephometer.Changes{Meters: []nephometer.Numbered[nephometer.Meter]{entry}})
	}
	return number
}

func (h *Host) resource(sample Sample) uint32 {
	if sample.Source == "" {
		sample.Source = "openstack"
	}
	resource := (&nephometer.Resource{
		ID:        sample.ResourceID,
		Source:    sample.Source,
		ProjectID: sample.ProjectID,
		UserID:    sample.UserID,
	}).WithMetadata(sample.Metadata)
	// As text, so that it is decoded from JSON like that of the host.
	text := resource.MetadataText()
	number, added := h.resources.of([]any{resource, text})
	if added {
		entry := nephometer.Numbered[nephometer.Resource]{Number: number, Entry: resource.WithMetadataText(text)}
		h.dictionary.Learn(nephometer.Changes{Resources: []nephometer.Numbered[nephometer.Resource]{entry}})
	}
	return number
}

// numbers assigns numbers to contents: small ones, in a random order.
type numbers struct {
	chance *rand.Rand
	given  map[string]uint32
	free   []uint32
	end    uint32
}

// of returns the number of a content, and whether it is new.
func (n *numbers) of(content any) (uint32, bool) {
	text, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	if number, known := n.given[string(text)]; known {
		return number, false
	}
	if len(n.free) == 0 {
		for range shuffled {
			n.free = append(n.free, n.end)
			n.end++
		}
		n.shuffle()
	}
	last := len(n.free) - 1
	number := n.free[last]
	n.free = n.free[:last]
	n.given[string(text)] = number
	return number, true
}

// forget frees all numbers, and returns them.
func (n *numbers) forget() []uint32 {
	// Sorted: maps have another order each time, and a seed is to have one result.
	forgotten := slices.Sorted(maps.Values(n.given))
	clear(n.given)
	n.free = append(n.free, forgotten...)
	slices.Sort(n.free)
	n.shuffle()
	return forgotten
}

func (n *numbers) shuffle() {
	n.chance.Shuffle(len(n.free), func(i, j int) { n.free[i], n.free[j] = n.free[j], n.free[i] })
}
