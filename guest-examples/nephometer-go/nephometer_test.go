package nephometer_test

import (
	"errors"
	"slices"
	"testing"

	. "nephometer"
	"nephometer/log"
	"nephometer/nephometertest"
)

func sample() nephometertest.Sample {
	return nephometertest.Sample{
		Name:       "cpu",
		Unit:       "ns",
		Type:       Delta,
		ResourceID: "r",
		Metadata:   map[string]any{"flavor": map[string]any{"vcpus": 2}},
		Timestamp:  "1970-01-01T00:00:01.5Z",
		Volume:     3,
	}
}

func TestRowsHaveTheirEntries(t *testing.T) {
	other := sample()
	other.Name, other.Volume = "memory", 4
	rows := slices.Collect(Rows(nephometertest.BatchOf(sample(), other)))
	first, second := rows[0], rows[1]
	if first.Number != 0 || first.Meter.Name != "cpu" || first.Time != 1_500_000_000 || first.Monotonic != 0 {
		t.Errorf("%+v", first)
	}
	if second.Number != 1 || second.Meter.Name != "memory" || second.Volume != 4 {
		t.Errorf("%+v", second)
	}
	if first.MeterNumber == second.MeterNumber || first.ResourceNumber != second.ResourceNumber {
		t.Errorf("%+v and %+v", first, second)
	}
	for range Rows(nephometertest.BatchOf(sample(), other)) {
		break
	}
}

func TestMetadataIsDecodedOnDemand(t *testing.T) {
	resource := (&Resource{}).WithMetadataText(`{"whole": 9007199254740993, "part": 0.5, "list": [1, {"x": null}]}`)
	metadata := resource.Metadata()
	list := metadata["list"].([]any)
	if metadata["whole"] != int64(9007199254740993) || metadata["part"] != 0.5 || list[0] != int64(1) {
		t.Errorf("%v", metadata)
	}
	if text := (&Resource{}).MetadataText(); text != "{}" {
		t.Error(text)
	}
	for _, text := range []string{"[]", "{", "{} {}", "null"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was taken", text)
				}
			}()
			(&Resource{}).WithMetadataText(text).Metadata()
		}()
	}
}

func TestRowsWithTheResourceAndTimeOfTheirOriginNeedNoColumns(t *testing.T) {
	batch := nephometertest.BatchOf(sample(), sample())
	rows := slices.Collect(Rows(batch))
	util := Meter{Name: "cpu_util", Unit: "%", Type: Gauge}
	build := func(add func(b *AnswerBuilder, meter uint32)) *Answer {
		builder := NewAnswerBuilder(batch)
		add(builder, builder.Meter(util))
		return builder.Finish()
	}
	derived := build(func(b *AnswerBuilder, meter uint32) {
		b.Keep(rows[0])
		b.Derive(rows[0], meter, 3.5)
		b.Keep(rows[1])
	})
	descending := build(func(b *AnswerBuilder, meter uint32) {
		b.Keep(rows[1])
		b.Derive(rows[0], meter, 3.5)
		b.Keep(rows[1])
	})
	created := build(func(b *AnswerBuilder, meter uint32) {
		b.Derive(rows[1], meter, 3.5)
		b.Create(meter, b.Resource(&Resource{ID: "o"}), 9, 4.5)
	})
	for _, one := range []struct {
		answer  *Answer
		derived bool
		origins []uint32
		made    []any
	}{
		{derived, true, []uint32{0, 0, 1}, []any{"cpu", "r", 3.0, "cpu_util", "r", 3.5, "cpu", "r", 3.0}},
		{descending, false, []uint32{1, 0, 1}, []any{"cpu", "r", 3.0, "cpu_util", "r", 3.5, "cpu", "r", 3.0}},
		{created, false, []uint32{1, NoOrigin}, []any{"cpu_util", "r", 3.5, "cpu_util", "o", 4.5}},
		{NewAnswerBuilder(batch).Finish(), true, nil, nil},
		{NewAnswerBuilder(nil).Finish(), false, nil, nil},
	} {
		var made []any
		for _, sample := range nephometertest.SamplesOf(one.answer, batch) {
			made = append(made, sample.Name, sample.ResourceID, sample.Volume)
		}
		if one.answer.Derived() != one.derived || !slices.Equal(one.answer.Origin, one.origins) || !slices.Equal(made, one.made) {
			t.Errorf("%+v: %v", one.answer, made)
		}
	}
	if first := nephometertest.SamplesOf(descending, batch)[0]; first.Timestamp != sample().Timestamp {
		t.Errorf("%+v", first)
	}
}

func TestLargeIntegersAreExact(t *testing.T) {
	const large = 1<<53 + 1
	exact, part, beyond := sample(), sample(), sample()
	exact.Integer, part.Volume, beyond.Volume = new(int64(large)), 0.5, 1<<53
	batch := nephometertest.BatchOf(sample(), exact, part, beyond)
	type integer struct {
		value int64
		whole bool
	}
	var found []integer
	builder := NewAnswerBuilder(batch)
	for row := range Rows(batch) {
		value, whole := row.Integer()
		found = append(found, integer{value, whole})
		builder.Keep(row)
		builder.DeriveInteger(row, row.MeterNumber, value-2*large)
	}
	if !slices.Equal(found, []integer{{3, true}, {large, true}, {0, false}, {0, false}}) {
		t.Errorf("%v", found)
	}
	builder.CreateInteger(batch.Meter[0], batch.Resource[0], 9, 1<<53)
	var made []int64
	for _, one := range nephometertest.SamplesOf(builder.Finish(), batch) {
		if one.Integer == nil {
			made = append(made, 0)
		} else {
			made = append(made, *one.Integer)
		}
	}
	if !slices.Equal(made, []int64{0, 3 - 2*large, large, -large, 0, -2 * large, 0, -2 * large, 1 << 53}) {
		t.Errorf("%v", made)
	}
}

func TestOneDictionaryServesSeveralBatches(t *testing.T) {
	other := sample()
	other.Name, other.ProjectID = "memory", new("p")
	orders := map[uint32]bool{}
	for seed := range uint64(20) {
		host := nephometertest.NewHost(seed)
		names := NewCache(func(meter *Meter) string { return meter.Name })
		first := host.Batch(sample(), other)
		second := host.Batch(other, sample())
		if first.Meter[0] != second.Meter[1] || first.Resource[1] != second.Resource[0] {
			t.Errorf("%v and %v", first, second)
		}
		orders[first.Meter[0]] = true
		host.Forget()
		for _, batch := range []*Batch{host.Batch(other), host.Batch(sample())} {
			for row := range Rows(batch) {
				if name := names.Of(row.MeterNumber, row.Meter); name != row.Meter.Name {
					t.Errorf("%s instead of %s", name, row.Meter.Name)
				}
			}
		}
		host.Forget()
		if first.Dictionary.Meter(first.Meter[0]) != nil || first.Dictionary.Resource(1000) != nil {
			t.Error("forgotten entries are there")
		}
	}
	if len(orders) < 2 {
		t.Error("the seed has no effect")
	}
}

func TestValuesAreCachedByEntry(t *testing.T) {
	computed := 0
	cache := NewCache(func(resource *Resource) string { computed++; return resource.ID })
	first, second := &Resource{ID: "a"}, &Resource{ID: "b"}
	for _, one := range []struct {
		number   uint32
		resource *Resource
		computed int
	}{{3, first, 1}, {3, first, 1}, {0, second, 2}, {3, second, 3}, {0, second, 3}} {
		if value := cache.Of(one.number, one.resource); value != one.resource.ID || computed != one.computed {
			t.Errorf("%+v: %s after %d", one, value, computed)
		}
	}
}

func TestKeptAndUnchangedRowsAreTheirOwnOrigin(t *testing.T) {
	batch := nephometertest.BatchOf(sample(), sample(), sample())
	if kept := nephometertest.SamplesOf(Keep{0, 2}, batch); len(kept) != 2 || kept[1].Origin != 2 {
		t.Errorf("%v", kept)
	}
	if all := nephometertest.SamplesOf(Unchanged, batch); len(all) != 3 || all[2].Origin != 2 {
		t.Errorf("%v", all)
	}
	var none *Answer
	if made := nephometertest.SamplesOf(none, nil); made != nil {
		t.Errorf("%v", made)
	}
}

func TestEveryErrorHasThePointerOfItsKey(t *testing.T) {
	log.Taken()
	reader, err := ParseOptions([]byte(`{"a/b": {"x": 1}, "c": [3], "d": "text", "e": true, "f": null}`))
	if err != nil {
		t.Fatal(err)
	}
	reader.Object("a/b").Text("x")
	reader.Object("c").Text("y")
	reader.Objects("c")
	for _, key := range []string{"d", "e", "f"} {
		if _, is := reader.Number(key); is {
			t.Error(key)
		}
	}
	reader.Refuse("no", "c", 0, "x~")
	reader.WarnOfUnknown("a/b", "c", "d", "f")
	expected := OptionErrors{
		{"/a~1b/x", "is a number; expected a string"},
		{"/c", "is a list; expected a mapping of keys to values"},
		{"/c/0", "is a number; expected a mapping of keys to values"},
		{"/d", "is a string; expected a number"},
		{"/e", "is a boolean; expected a number"},
		{"/c/0/x~0", "no"},
	}
	if found, is := errors.AsType[OptionErrors](reader.Check()); !is || !slices.Equal(found, expected) {
		t.Errorf("%v", reader.Check())
	}
	if !slices.Equal(reader.Keys(), []string{"a/b", "c", "d", "e"}) {
		t.Errorf("%v", reader.Keys())
	}
	warning := log.Line{Level: log.LevelWarn, Message: "unknown option /e is ignored"}
	if lines := log.Taken(); !slices.Equal(lines, []log.Line{warning}) {
		t.Errorf("%v", lines)
	}
	if err := NewOptionReader(map[string]any{"n": 1}).Check(); err != nil {
		t.Error(err)
	}
}

func TestAComplaintIsOneLine(t *testing.T) {
	log.Taken()
	complaint := NewComplaint(log.LevelWarn, "dropping")
	complaint.Write()
	for row := range Rows(nephometertest.BatchOf(sample(), sample(), sample())) {
		complaint.Add(row, "too late")
	}
	complaint.Write()
	lines := log.Taken()
	if len(lines) != 1 || lines[0].String() != "warn: dropping: cpu of r: too late, and 2 more" {
		t.Errorf("%v", lines)
	}
}
