//go:build wasm

// Package exportpublisher exports a publisher as the world requires. It works in a component only:
//
//	func init() { exportpublisher.Publisher(Description, New) }
package exportpublisher

import (
	"nephometer"
	_ "nephometer/bindings/wit_exports" // The functions that the host calls.
	"nephometer/exportpublisher/bridge"
)

// Constructor builds a publisher from its options; its error is that of URLOptions.Check.
type Constructor[P nephometer.Publisher] func(options *nephometer.URLOptions) (P, error)

// Publisher exports a publisher.
func Publisher[P nephometer.Publisher](description nephometer.Description, construct Constructor[P]) {
	bridge.Export(description, func(options *nephometer.URLOptions) (nephometer.Publisher, error) {
		return construct(options)
	})
}
