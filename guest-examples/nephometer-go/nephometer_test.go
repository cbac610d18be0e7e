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

func TestRowsLookTheirEntriesUp(t *testing.T) {
	other := sample()
	other.Name, other.Volume = "memory", 4
	rows := slices.Collect(Rows(nephometertest.BatchOf(sample(), other)))
	first, second := rows[0], rows[1]
	if first.Number != 0 || first.Meter.Name != "cpu" || first.Time != 1_500_000_000 || first.Monotonic != 0 {
		t.Errorf("%+v", first)
	}
	if second.Number != 1 || second.MeterIndex != 1 || second.ResourceIndex != 0 || second.Volume != 4 {
		t.Errorf("%+v", second)
	}
	for range Rows(nephometertest.BatchOf(sample(), other)) {
		break
	}
}

func TestMetadataIsDecodedWhenAskedFor(t *testing.T) {
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

func TestNumbersGoOnFromTheInputsAndFollowContent(t *testing.T) {
	batch := nephometertest.BatchOf(sample())
	builder := NewAnswerBuilder(batch)
	util := Meter{Name: "cpu_util", Unit: "%", Type: Gauge}
	plain := Meter{Name: "cpu_util", Unit: "1", Type: Gauge}
	var numbers []uint32
	for _, one := range []Meter{batch.Meters[0], util, plain, util} {
		numbers = append(numbers, builder.Meter(one))
	}
	same := (&Resource{ID: "r", Source: "openstack"}).WithMetadataText(`{"flavor": {"vcpus": 2}}`)
	other := (&Resource{ID: "r", Source: "openstack"}).WithMetadata(map[string]any{"flavor": map[string]any{"vcpus": 4}})
	owned := (&Resource{ID: "r", Source: "openstack", ProjectID: new("")}).WithMetadata(same.Metadata())
	for _, one := range []*Resource{same, other, other, owned} {
		numbers = append(numbers, builder.Resource(one))
	}
	if !slices.Equal(numbers, []uint32{0, 1, 2, 1, 0, 1, 1, 2}) {
		t.Errorf("%v", numbers)
	}
	for row := range Rows(batch) {
		builder.Keep(row)
		builder.Derive(row, 1, 3.5)
	}
	builder.Create(2, 1, 9, 4.5)
	answer := builder.Finish()
	if !slices.Equal(answer.Origin, []uint32{0, 0, NoOrigin}) || len(answer.Meters) != 2 || len(answer.Resources) != 2 {
		t.Errorf("%+v", answer)
	}
	var made []any
	for _, one := range nephometertest.SamplesOf(answer, batch) {
		made = append(made, one.Name, one.Volume)
	}
	if !slices.Equal(made, []any{"cpu", 3.0, "cpu_util", 3.5, "cpu_util", 4.5}) {
		t.Errorf("%v", made)
	}
}

func TestNumbersStartAtZeroWithoutInput(t *testing.T) {
	builder := NewAnswerBuilder(nil)
	if builder.Meter(Meter{Name: "m", Type: Gauge}) != 0 || builder.Resource(&Resource{ID: "r", Source: "s"}) != 0 {
		t.Error("they do not")
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

func TestEveryWrongKeyIsNamedWithItsPlace(t *testing.T) {
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
		{"/a~1b/x", "is a number; it has to be a text"},
		{"/c", "is a list; it has to be a mapping of keys to values"},
		{"/c/0", "is a number; it has to be a mapping of keys to values"},
		{"/d", "is a text; it has to be a number"},
		{"/e", "is true or false; it has to be a number"},
		{"/c/0/x~0", "no"},
	}
	if found, is := errors.AsType[OptionErrors](reader.Check()); !is || !slices.Equal(found, expected) {
		t.Errorf("%v", reader.Check())
	}
	if !slices.Equal(reader.Keys(), []string{"a/b", "c", "d", "e"}) {
		t.Errorf("%v", reader.Keys())
	}
	warning := log.Line{Level: log.LevelWarn, Message: "option /e is not known here and has no effect"}
	if lines := log.Taken(); !slices.Equal(lines, []log.Line{warning}) {
		t.Errorf("%v", lines)
	}
	if err := NewOptionReader(map[string]any{"n": 1}).Check(); err != nil {
		t.Error(err)
	}
}

func TestThereIsOneLine(t *testing.T) {
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
