//go:build wasm

// Package bridge connects a transformer with the generated bindings. The bindings call functions of
// packages with given names, beside this one; these call the functions here.
package bridge

import (
	"errors"

	"nephometer"
	component "nephometer/bindings/nephometer_metering_component"
	dictionary "nephometer/bindings/nephometer_metering_dictionary"
	hostlog "nephometer/bindings/nephometer_metering_log"
	transform "nephometer/bindings/nephometer_metering_transform"
	"nephometer/log"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// One instance of a component serves one place in a pipeline: there is one transformer, and one
// dictionary.
var (
	description nephometer.Description
	construct   func(*nephometer.OptionReader) (nephometer.Transformer, error)
	configured  nephometer.Transformer
	known       nephometer.Dictionary
)

// Export sets what this component is, before the host calls anything.
func Export(about nephometer.Description, from func(*nephometer.OptionReader) (nephometer.Transformer, error)) {
	description, construct = about, from
	// The levels have the order of the contract.
	log.SendTo(func(level log.Level, message string) { hostlog.Write(hostlog.Level(level), message) })
}

// Describe is the first call of the host.
func Describe() component.Description {
	defer leave()
	return component.Description{
		Name:          description.Name,
		Version:       description.Version,
		Summary:       description.Summary,
		OptionsSchema: description.OptionsSchema,
		StateVersion:  description.StateVersion,
		Facts:         pairs(description.Facts),
	}
}

// Configure builds the transformer.
func Configure(options string) wit.Result[component.Settings, []component.OptionError] {
	defer leave()
	reader, err := nephometer.ParseOptions([]byte(options))
	if err != nil {
		panic(err)
	}
	made, err := construct(reader)
	if wrong, is := errors.AsType[nephometer.OptionErrors](err); is {
		list := make([]component.OptionError, len(wrong))
		for index, one := range wrong {
			list[index] = component.OptionError{Pointer: one.Pointer, Reason: one.Reason}
		}
		return wit.Err[component.Settings](list)
	} else if err != nil {
		panic(err)
	}
	configured = made
	required := made.Settings()
	return wit.Ok[component.Settings, []component.OptionError](component.Settings{
		Meters:   required.Meters,
		Metadata: required.Metadata,
		Texts:    component.TextFormNone,
		Facts:    pairs(required.Facts),
	})
}

// Learn applies changes to the dictionary.
func Learn(what dictionary.Changes) {
	defer leave()
	known.Learn(raisedChanges(what))
}

// Transform transforms a batch.
func Transform(input transform.Batch) wit.Result[transform.Outcome, transform.Refusal] {
	defer leave()
	if configured == nil {
		return wit.Err[transform.Outcome](unready)
	}
	outcome, err := configured.Transform(raisedBatch(input))
	if err != nil {
		return wit.Err[transform.Outcome](refusal(err))
	}
	return wit.Ok[transform.Outcome, transform.Refusal](loweredOutcome(outcome))
}

var unready = transform.MakeRefusalBroken("called before it was configured")

func refusal(err error) transform.Refusal {
	if reason, is := errors.AsType[nephometer.Rejected](err); is {
		return transform.MakeRefusalRejected(string(reason))
	}
	if reason, is := errors.AsType[nephometer.Broken](err); is {
		return transform.MakeRefusalBroken(string(reason))
	}
	panic(err)
}
