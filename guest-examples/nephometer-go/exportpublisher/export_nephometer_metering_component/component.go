//go:build wasm

// Package export_nephometer_metering_component has the name and the functions that the bindings
// call.
package export_nephometer_metering_component

import (
	component "nephometer/bindings/nephometer_metering_component"
	"nephometer/exportpublisher/bridge"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Describe describes the component.
func Describe() component.Description { return bridge.Describe() }

// Configure builds the publisher.
func Configure(options string) wit.Result[component.Settings, []component.OptionError] {
	return bridge.Configure(options)
}
