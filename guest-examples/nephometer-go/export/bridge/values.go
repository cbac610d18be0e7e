//go:build wasm

package bridge

import (
	"fmt"
	"slices"

	"nephometer"
	dictionary "nephometer/bindings/nephometer_metering_dictionary"
	transform "nephometer/bindings/nephometer_metering_transform"
	types "nephometer/bindings/nephometer_metering_types"
	"nephometer/hostcall"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Each entry is allocated separately: it lives until its number is forgotten, independent of others.
func raisedChanges(what dictionary.Changes) nephometer.Changes {
	meters := make([]nephometer.Numbered[nephometer.Meter], len(what.Meters))
	for index, one := range what.Meters {
		meters[index] = nephometer.Numbered[nephometer.Meter]{Number: one.Number, Entry: hostcall.Meter(one.Entry)}
	}
	resources := make([]nephometer.Numbered[nephometer.Resource], len(what.Resources))
	for index := range what.Resources {
		one := &what.Resources[index]
		resource := hostcall.Resource(one.Entry)
		resources[index] = nephometer.Numbered[nephometer.Resource]{Number: one.Number, Entry: resource}
	}
	return nephometer.Changes{
		ForgottenMeters:    what.ForgottenMeters,
		ForgottenResources: what.ForgottenResources,
		Meters:             meters,
		Resources:          resources,
	}
}

func raisedBatch(input transform.Batch) *nephometer.Batch {
	return &nephometer.Batch{
		Dictionary: &known,
		Meter:      input.Meter,
		Resource:   input.Resource,
		Time:       input.Time,
		Monotonic:  input.Monotonic,
		Volume:     input.Volume,
		Exact:      hostcall.Exact(input.Exact),
		Removed:    input.Removed,
	}
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
		lowered := loweredRows(outcome)
		outcome.Sent()
		return lowered
	case nephometer.Keep:
		return transform.MakeOutcomeKeep(outcome)
	case nil:
		panic("Transform returned neither an outcome nor an error")
	}
	return transform.MakeOutcomeUnchanged()
}

func loweredRows(answer *nephometer.Answer) transform.Outcome {
	if answer.Derived() {
		return transform.MakeOutcomeDerive(loweredDerived(answer))
	}
	return transform.MakeOutcomeReplace(loweredAnswer(answer))
}

func loweredDerived(answer *nephometer.Answer) transform.Derived {
	return transform.Derived{
		Meters: loweredMeters(answer.Meters),
		Origin: answer.Origin,
		Meter:  answer.Meter,
		Volume: answer.Volume,
		Exact:  loweredExact(answer.Exact),
	}
}

func loweredAnswer(answer *nephometer.Answer) transform.Answer {
	return transform.Answer{
		Meters:    loweredMeters(answer.Meters),
		Resources: loweredResources(answer.Resources),
		Origin:    answer.Origin,
		Meter:     answer.Meter,
		Resource:  answer.Resource,
		Time:      answer.Time,
		Volume:    answer.Volume,
		Exact:     loweredExact(answer.Exact),
	}
}

func loweredMeters(meters []nephometer.Numbered[nephometer.Meter]) []transform.NumberedMeter {
	lowered := make([]transform.NumberedMeter, len(meters))
	for index, one := range meters {
		kind := slices.Index(hostcall.MeterTypes, one.Entry.Type)
		if kind < 0 {
			panic(fmt.Sprintf("the type of meter %s is %q", one.Entry.Name, one.Entry.Type))
		}
		meter := types.Meter{Name: one.Entry.Name, Unit: one.Entry.Unit, Type: uint8(kind)}
		lowered[index] = transform.NumberedMeter{Number: one.Number, Entry: meter}
	}
	return lowered
}

func loweredResources(resources []nephometer.Numbered[nephometer.Resource]) []transform.NumberedResource {
	lowered := make([]transform.NumberedResource, len(resources))
	for index, one := range resources {
		lowered[index] = transform.NumberedResource{
			Number: one.Number,
			Entry: types.Resource{
				Id:        one.Entry.ID,
				Source:    one.Entry.Source,
				ProjectId: loweredText(one.Entry.ProjectID),
				UserId:    loweredText(one.Entry.UserID),
				Metadata:  one.Entry.MetadataText(),
			},
		}
	}
	return lowered
}

func loweredExact(exact []nephometer.ExactInteger) []types.ExactInteger {
	lowered := make([]types.ExactInteger, len(exact))
	for index, one := range exact {
		lowered[index] = types.ExactInteger(one)
	}
	return lowered
}
