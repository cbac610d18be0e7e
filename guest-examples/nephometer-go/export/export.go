//go:build wasm

// Package export exports a transformer as the world requires. It works in a component only:
//
//	func init() { export.Stateful(Description, New) }
package export

import (
	"nephometer"
	_ "nephometer/bindings/wit_exports" // The functions that the host calls.
	"nephometer/export/bridge"
)

// Constructor builds a transformer from its options; its error is that of OptionReader.Check.
type Constructor[T nephometer.Transformer] func(options *nephometer.OptionReader) (T, error)

// Stateful exports a transformer with state.
func Stateful[T nephometer.Stateful](description nephometer.Description, construct Constructor[T]) {
	Stateless(description, construct)
}

// Stateless exports a transformer without state.
func Stateless[T nephometer.Transformer](description nephometer.Description, construct Constructor[T]) {
	bridge.Export(description, func(options *nephometer.OptionReader) (nephometer.Transformer, error) {
		return construct(options)
	})
}
