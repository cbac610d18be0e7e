//go:build wasm

package main

import (
	"nephometer/exportpublisher"
	"nephometer/http"
	"nephometer/http/wasi"
)

func init() {
	http.SendWith(wasi.Send)
	exportpublisher.Publisher(description, newPoster)
}
