//go:build wasm

package main

import "nephometer/export"

func init() { export.Stateful(description, newScaler) }
