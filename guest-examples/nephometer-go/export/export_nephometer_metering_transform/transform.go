//go:build wasm

// Package export_nephometer_metering_transform has the name and the function that the bindings
// call.
package export_nephometer_metering_transform

import (
	transform "nephometer/bindings/nephometer_metering_transform"
	"nephometer/export/bridge"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Transform transforms a batch.
func Transform(input transform.Batch) wit.Result[transform.Outcome, transform.Refusal] {
	return bridge.Transform(input)
}
