//go:build wasm

package bridge

import (
	"fmt"
	"maps"
	"slices"

	"nephometer"
	transform "nephometer/bindings/nephometer_metering_transform"
	types "nephometer/bindings/nephometer_metering_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// In the order of the contract.
var meterTypes = []nephometer.MeterType{nephometer.Gauge, nephometer.Delta, nephometer.Cumulative}

// The columns are taken as they are; only the dictionary is made anew.
func raisedBatch(input transform.Batch) *nephometer.Batch {
	meters := make([]nephometer.Meter, len(input.Meters))
	for index, one := range input.Meters {
		meters[index] = nephometer.Meter{Name: one.Name, Unit: one.Unit, Type: meterTypes[one.Type]}
	}
	// One allocation for all of them, and none per resource.
	all := make([]nephometer.Resource, len(input.Resources))
	resources := make([]*nephometer.Resource, len(input.Resources))
	for index := range input.Resources {
		one := &input.Resources[index]
		all[index] = nephometer.Resource{
			ID:        one.Id,
			Source:    one.Source,
			ProjectID: raisedText(one.ProjectId),
			UserID:    raisedText(one.UserId),
		}
		resources[index] = all[index].WithMetadataText(one.Metadata)
	}
	return &nephometer.Batch{
		Meters:    meters,
		Resources: resources,
		Meter:     input.Meter,
		Resource:  input.Resource,
		Time:      input.Time,
		Monotonic: input.Monotonic,
		Volume:    input.Volume,
		Gone:      input.Gone,
	}
}

func raisedText(text wit.Option[string]) *string {
	if text.IsNone() {
		return nil
	}
	return new(text.Some())
}

func loweredText(text *string) wit.Option[string] {
	if text == nil {
		return wit.None[string]()
	}
	return wit.Some(*text)
}

func loweredOutcome(outcome nephometer.Outcome) transform.Outcome {
	switch outcome := outcome.(type) {
	case *nephometer.Answer:
		return transform.MakeOutcomeReplace(loweredAnswer(outcome))
	case nephometer.Keep:
		return transform.MakeOutcomeKeep(outcome)
	case nil:
		panic("Transform gave neither an outcome nor an error")
	}
	return transform.MakeOutcomeUnchanged()
}

func loweredAnswer(answer *nephometer.Answer) transform.Answer {
	meters := make([]types.Meter, len(answer.Meters))
	for index, one := range answer.Meters {
		kind := slices.Index(meterTypes, one.Type)
		if kind < 0 {
			panic(fmt.Sprintf("the type of meter %s is %q", one.Name, one.Type))
		}
		meters[index] = types.Meter{Name: one.Name, Unit: one.Unit, Type: uint8(kind)}
	}
	resources := make([]types.Resource, len(answer.Resources))
	for index, one := range answer.Resources {
		resources[index] = types.Resource{
			Id:        one.ID,
			Source:    one.Source,
			ProjectId: loweredText(one.ProjectID),
			UserId:    loweredText(one.UserID),
			Metadata:  one.MetadataText(),
		}
	}
	return transform.Answer{
		Meters:    meters,
		Resources: resources,
		Origin:    answer.Origin,
		Meter:     answer.Meter,
		Resource:  answer.Resource,
		Time:      answer.Time,
		Volume:    answer.Volume,
	}
}

// Sorted: a component describes itself the same every time.
func pairs(facts map[string]string) []wit.Tuple2[string, string] {
	list := make([]wit.Tuple2[string, string], 0, len(facts))
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		list = append(list, wit.Tuple2[string, string]{F0: name, F1: facts[name]})
	}
	return list
}
