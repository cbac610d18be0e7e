//go:build wasm

// Package export_nephometer_metering_dictionary has the name and the function that the bindings
// call.
package export_nephometer_metering_dictionary

import (
	dictionary "nephometer/bindings/nephometer_metering_dictionary"
	"nephometer/export/bridge"
)

// Learn applies changes to the dictionary.
func Learn(what dictionary.Changes) { bridge.Learn(what) }
