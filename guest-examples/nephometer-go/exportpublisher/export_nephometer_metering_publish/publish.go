//go:build wasm

// Package export_nephometer_metering_publish has the name and the function that the bindings call.
package export_nephometer_metering_publish

import (
	publish "nephometer/bindings/nephometer_metering_publish"
	"nephometer/exportpublisher/bridge"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Publish sends one envelope.
func Publish(what publish.Delivery) wit.Result[wit.Unit, publish.Failure] {
	return bridge.Publish(what)
}
