//go:build wasm

// Package bridge connects a publisher with the generated bindings. The bindings call functions of
// packages with given names, beside this one; these call the functions here.
package bridge

import (
	"errors"

	"nephometer"
	component "nephometer/bindings/nephometer_metering_component"
	publish "nephometer/bindings/nephometer_metering_publish"
	"nephometer/hostcall"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// One instance of a component serves one place in a pipeline: there is one publisher.
var (
	description nephometer.Description
	construct   func(*nephometer.URLOptions) (nephometer.Publisher, error)
	configured  nephometer.Publisher
)

// Export sets what this component is, before the host calls anything.
func Export(about nephometer.Description, from func(*nephometer.URLOptions) (nephometer.Publisher, error)) {
	description, construct = about, from
	hostcall.SendLog()
}

// Describe is the first call of the host.
func Describe() component.Description {
	defer hostcall.Leave()
	return hostcall.Description(description)
}

// Configure builds the publisher.
func Configure(options string) wit.Result[component.Settings, []component.OptionError] {
	defer hostcall.Leave()
	reader, err := nephometer.ParseOptions([]byte(options))
	if err != nil {
		panic(err)
	}
	made, err := construct(nephometer.NewURLOptions(reader))
	if wrong, is := errors.AsType[nephometer.OptionErrors](err); is {
		return wit.Err[component.Settings](hostcall.OptionErrors(wrong))
	} else if err != nil {
		panic(err)
	}
	configured = made
	return wit.Ok[component.Settings, []component.OptionError](hostcall.Settings(made.Settings()))
}

// Publish sends one envelope.
func Publish(what publish.Delivery) wit.Result[wit.Unit, publish.Failure] {
	defer hostcall.Leave()
	if configured == nil {
		return wit.Err[wit.Unit](publish.MakeFailureBroken("called before it was configured"))
	}
	err := configured.Publish(&nephometer.Delivery{
		ID:      what.Id,
		Attempt: what.Attempt,
		Batch:   batch(what.Input),
		Texts:   what.Texts,
	})
	if err != nil {
		return wit.Err[wit.Unit](failure(err))
	}
	return wit.Ok[wit.Unit, publish.Failure](wit.Unit{})
}

// A batch with a dictionary of its own: a delivery numbers its entries by their index.
func batch(input publish.Batch) *nephometer.Batch {
	var changes nephometer.Changes
	for index, one := range input.Meters {
		numbered := nephometer.Numbered[nephometer.Meter]{Number: uint32(index), Entry: hostcall.Meter(one)}
		changes.Meters = append(changes.Meters, numbered)
	}
	for index, one := range input.Resources {
		numbered := nephometer.Numbered[nephometer.Resource]{Number: uint32(index), Entry: hostcall.Resource(one)}
		changes.Resources = append(changes.Resources, numbered)
	}
	dictionary := &nephometer.Dictionary{}
	dictionary.Learn(changes)
	return &nephometer.Batch{
		Dictionary: dictionary,
		Meter:      input.Meter,
		Resource:   input.Resource,
		Time:       input.Time,
		Monotonic:  input.Monotonic,
		Volume:     input.Volume,
		Exact:      hostcall.Exact(input.Exact),
		Removed:    input.Removed,
	}
}

func failure(err error) publish.Failure {
	if later, is := errors.AsType[nephometer.RetryLater](err); is {
		after := wit.None[uint64]()
		if later.AfterMS != nil {
			after = wit.Some(*later.AfterMS)
		}
		return publish.MakeFailureRetryable(publish.Retry{Reason: later.Reason, AfterMs: after})
	}
	if reason, is := errors.AsType[nephometer.Rejected](err); is {
		return publish.MakeFailurePermanent(string(reason))
	}
	if reason, is := errors.AsType[nephometer.Broken](err); is {
		return publish.MakeFailureBroken(string(reason))
	}
	panic(err)
}
