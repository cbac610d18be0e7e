//go:build wasm

// Package bridge connects a transformer with the generated bindings. The bindings call functions of
// packages with given names, beside this one; these call the functions here.
package bridge

import (
	"errors"

	"nephometer"
	component "nephometer/bindings/nephometer_metering_component"
	dictionary "nephometer/bindings/nephometer_metering_dictionary"
	transform "nephometer/bindings/nephometer_metering_transform"
	"nephometer/hostcall"

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
	hostcall.SendLog()
}

// Describe is the first call of the host.
func Describe() component.Description {
	defer hostcall.Leave()
	return hostcall.Description(description)
}

// Configure builds the transformer.
func Configure(options string) wit.Result[component.Settings, []component.OptionError] {
	defer hostcall.Leave()
	reader, err := nephometer.ParseOptions([]byte(options))
	if err != nil {
		panic(err)
	}
	made, err := construct(reader)
	if wrong, is := errors.AsType[nephometer.OptionErrors](err); is {
		return wit.Err[component.Settings](hostcall.OptionErrors(wrong))
	} else if err != nil {
		panic(err)
	}
	configured = made
	return wit.Ok[component.Settings, []component.OptionError](hostcall.Settings(made.Settings()))
}

// Learn applies changes to the dictionary.
func Learn(what dictionary.Changes) {
	defer hostcall.Leave()
	known.Learn(raisedChanges(what))
}

// Transform transforms a batch.
func Transform(input transform.Batch) wit.Result[transform.Outcome, transform.Refusal] {
	defer hostcall.Leave()
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
