//go:build wasm

// Package export_nephometer_metering_stateful has the name and the functions that the bindings
// call.
package export_nephometer_metering_stateful

import (
	transform "nephometer/bindings/nephometer_metering_transform"
	"nephometer/export/bridge"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Flush ends a polling cycle.
func Flush(now uint64) wit.Result[wit.Option[transform.Answer], transform.Refusal] {
	return bridge.Flush(now)
}

// Save returns the state.
func Save() wit.Result[[]uint8, string] { return bridge.Save() }

// Restore restores a saved state.
func Restore(version uint32, state []uint8) wit.Result[wit.Unit, string] {
	return bridge.Restore(version, state)
}
