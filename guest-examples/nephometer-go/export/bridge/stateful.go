//go:build wasm

package bridge

import (
	"errors"

	"nephometer"
	transform "nephometer/bindings/nephometer_metering_transform"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Flush ends a tick.
func Flush(now uint64) wit.Result[wit.Option[transform.Answer], transform.Refusal] {
	defer leave()
	if configured == nil {
		return wit.Err[wit.Option[transform.Answer]](unready)
	}
	answer, err := remembering().Flush(now)
	if err != nil {
		return wit.Err[wit.Option[transform.Answer]](refusal(err))
	}
	lowered := wit.None[transform.Answer]()
	if answer != nil {
		lowered = wit.Some(loweredAnswer(answer))
	}
	return wit.Ok[wit.Option[transform.Answer], transform.Refusal](lowered)
}

// Save gives the state.
func Save() wit.Result[[]uint8, string] {
	defer leave()
	if configured == nil {
		return wit.Err[[]uint8](unready.Broken())
	}
	state, err := remembering().Save()
	if err != nil {
		return wit.Err[[]uint8](stateError(err))
	}
	return wit.Ok[[]uint8, string](state)
}

// Restore takes a state up.
func Restore(version uint32, state []uint8) wit.Result[wit.Unit, string] {
	defer leave()
	if configured == nil {
		return wit.Err[wit.Unit](unready.Broken())
	}
	if err := remembering().Restore(version, state); err != nil {
		return wit.Err[wit.Unit](stateError(err))
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

func remembering() nephometer.Stateful {
	one, is := configured.(nephometer.Stateful)
	if !is {
		panic("built as a transformer that remembers, but it has no Flush, Save and Restore")
	}
	return one
}

func stateError(err error) string {
	if reason, is := errors.AsType[nephometer.StateError](err); is {
		return string(reason)
	}
	panic(err)
}
