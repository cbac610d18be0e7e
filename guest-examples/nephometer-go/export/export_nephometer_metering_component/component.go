//go:build wasm

// Package export_nephometer_metering_component has the name and the functions that the bindings look for.
package export_nephometer_metering_component

import (
	component "nephometer/bindings/nephometer_metering_component"
	"nephometer/export/bridge"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Describe says what the component is.
func Describe() component.Description { return bridge.Describe() }

// Configure takes the options.
func Configure(options string) wit.Result[component.Settings, []component.OptionError] {
	return bridge.Configure(options)
}
