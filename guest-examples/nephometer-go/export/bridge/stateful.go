//go:build wasm

package bridge

import (
	"errors"

	"nephometer"
	transform "nephometer/bindings/nephometer_metering_transform"
	"nephometer/hostcall"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Flush ends a polling cycle.
func Flush(now uint64) wit.Result[wit.Option[transform.Answer], transform.Refusal] {
	defer hostcall.Leave()
	if configured == nil {
		return wit.Err[wit.Option[transform.Answer]](unready)
	}
	answer, err := stateful().Flush(now)
	if err != nil {
		return wit.Err[wit.Option[transform.Answer]](refusal(err))
	}
	lowered := wit.None[transform.Answer]()
	if answer != nil {
		lowered = wit.Some(loweredAnswer(answer))
		answer.Sent()
	}
	return wit.Ok[wit.Option[transform.Answer], transform.Refusal](lowered)
}

// Save returns the state.
func Save() wit.Result[[]uint8, string] {
	defer hostcall.Leave()
	if configured == nil {
		return wit.Err[[]uint8](unready.Broken())
	}
	state, err := stateful().Save()
	if err != nil {
		return wit.Err[[]uint8](stateError(err))
	}
	return wit.Ok[[]uint8, string](state)
}

// Restore restores a saved state.
func Restore(version uint32, state []uint8) wit.Result[wit.Unit, string] {
	defer hostcall.Leave()
	if configured == nil {
		return wit.Err[wit.Unit](unready.Broken())
	}
	if err := stateful().Restore(version, state); err != nil {
		return wit.Err[wit.Unit](stateError(err))
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

func stateful() nephometer.Stateful {
	one, is := configured.(nephometer.Stateful)
	if !is {
		panic("built for the world of stateful transformers, but Flush, Save and Restore are missing")
	}
	return one
}

func stateError(err error) string {
	if reason, is := errors.AsType[nephometer.StateError](err); is {
		return string(reason)
	}
	panic(err)
}
