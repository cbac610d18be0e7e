package nephometer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// fresh starts without entries of other tests.
func fresh(t *testing.T) {
	t.Helper()
	instance.own = nil
}

func numbersOf[E any](entries []Numbered[E]) []uint32 {
	var numbers []uint32
	for _, one := range entries {
		numbers = append(numbers, one.Number-firstOwn)
	}
	return numbers
}

func TestOwnEntriesAreNumberedByContent(t *testing.T) {
	fresh(t)
	util, plain := Meter{"cpu_util", "%", Gauge}, Meter{"cpu_util", "1", Gauge}
	builder := NewAnswerBuilder(nil)
	var numbers []uint32
	for _, one := range []Meter{util, plain, util} {
		numbers = append(numbers, builder.Meter(one)-firstOwn)
	}
	two, four := map[string]any{"vcpus": 2}, map[string]any{"vcpus": 4}
	for _, one := range []*Resource{
		(&Resource{ID: "r"}).WithMetadata(two),
		(&Resource{ID: "r"}).WithMetadata(four),
		(&Resource{ID: "r"}).WithMetadataText(`{"vcpus":2}`),
		(&Resource{ID: "r", ProjectID: new("")}).WithMetadata(two),
		(&Resource{ID: "r", ProjectID: new("")}).WithMetadata(two),
	} {
		numbers = append(numbers, builder.Resource(one)-firstOwn)
	}
	if !slices.Equal(numbers, []uint32{0, 1, 0, 0, 1, 0, 2, 2}) {
		t.Errorf("%v", numbers)
	}
}

func TestAResourceIsCopied(t *testing.T) {
	fresh(t)
	builder := NewAnswerBuilder(nil)
	resource := &Resource{}
	for _, id := range []string{"a", "b"} {
		resource.ID = id
		builder.Create(builder.Meter(Meter{Name: "m"}), builder.Resource(resource), 1, 1)
	}
	entries := builder.Finish().Resources
	if len(entries) != 2 || entries[0].Entry.ID != "a" || entries[1].Entry.ID != "b" {
		t.Errorf("%+v", entries)
	}
}

func TestNewEntriesAreSentOnce(t *testing.T) {
	fresh(t)
	batch := &Batch{Meter: []uint32{0}, Resource: []uint32{0}, Time: []uint64{1}, Volume: []float64{1}}
	for _, step := range []struct {
		meter, resource string
		created         bool
		sent            bool
		meters          []uint32
		resources       []uint32
	}{
		// An answer with a new resource that is never returned.
		{"a", "x", true, false, []uint32{0}, []uint32{0}},
		// Derived rows need no resource: it stays unsent.
		{"b", "", false, true, []uint32{0, 1}, nil},
		{"a", "y", true, true, nil, []uint32{0, 1}},
		{"c", "x", true, true, []uint32{2}, nil},
		{"b", "y", true, true, nil, nil},
	} {
		builder := NewAnswerBuilder(batch)
		meter := builder.Meter(Meter{Name: step.meter})
		if step.created {
			builder.Create(meter, builder.Resource(&Resource{ID: step.resource}), 1, 1)
		} else {
			builder.Derive(Row{}, meter, 1)
		}
		answer := builder.Finish()
		meters, resources := numbersOf(answer.Meters), numbersOf(answer.Resources)
		if !slices.Equal(meters, step.meters) || !slices.Equal(resources, step.resources) {
			t.Errorf("%+v: %v and %v", step, meters, resources)
		}
		if step.sent {
			answer.Sent()
		}
	}
	(&Answer{}).Sent()
}

func TestTooManyEntriesAreReplaced(t *testing.T) {
	text := strings.Repeat("x", 1<<20)
	for name, one := range map[string]struct {
		entries int
		ask     func(b *AnswerBuilder, number int)
	}{
		"meters":    {maxOwnMeters, func(b *AnswerBuilder, number int) { b.Meter(Meter{Name: fmt.Sprint(number)}) }},
		"resources": {maxOwnResources, func(b *AnswerBuilder, number int) { b.Resource(&Resource{ID: fmt.Sprint(number)}) }},
		"text":      {maxOwnText>>20 - 1, func(b *AnswerBuilder, number int) { b.Meter(Meter{Name: fmt.Sprint(number) + text}) }},
	} {
		t.Run(name, func(t *testing.T) {
			fresh(t)
			builder := NewAnswerBuilder(nil)
			for number := range one.entries {
				one.ask(builder, number)
			}
			kept := NewAnswerBuilder(nil)
			if kept.answer.own != builder.answer.own {
				t.Fatal("replaced too early")
			}
			one.ask(kept, one.entries)
			last := NewAnswerBuilder(nil)
			if last.Meter(Meter{Name: "new"}) != firstOwn || len(last.Finish().Meters) != 1 {
				t.Error("not replaced")
			}
		})
	}
}

func TestRowsNeedNoAllocation(t *testing.T) {
	fresh(t)
	const rows = 1000
	batch := &Batch{Dictionary: &Dictionary{meters: []*Meter{{}}, resources: []*Resource{{}}}}
	for range rows {
		batch.Meter, batch.Resource = append(batch.Meter, 0), append(batch.Resource, 0)
		batch.Time, batch.Monotonic = append(batch.Time, 1), append(batch.Monotonic, 1)
		batch.Volume = append(batch.Volume, 1)
	}
	cache := NewCache(func(resource *Resource) string { return resource.ID })
	allocations := testing.AllocsPerRun(10, func() {
		builder := NewAnswerBuilder(batch)
		meter := builder.Meter(Meter{Name: "derived"})
		for row := range Rows(batch) {
			if cache.Of(row.ResourceNumber, row.Resource) == "" {
				builder.Derive(row, meter, row.Volume*2)
			}
		}
		builder.Finish()
	})
	// The builder and three columns.
	if allocations > 4 {
		t.Errorf("%v allocations", allocations)
	}
}
