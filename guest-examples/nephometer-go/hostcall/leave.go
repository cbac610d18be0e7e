//go:build wasm

// Package hostcall has what the exports of all worlds share: values of the contract, and the end of a
// call of the host. It works in a component only.
package hostcall

import (
	"fmt"
	"runtime"
	"strings"

	"nephometer/log"
)

// Leave ends every call of the host; it is to be deferred.
//
// It logs a panic before the instance ends, because Go's own output is discarded. Otherwise it lets
// the goroutines of the collector run, which have no other opportunity; without it, memory triples.
func Leave() {
	what := recover()
	if what == nil {
		runtime.Gosched()
		return
	}
	log.Error(fmt.Sprintf("%T: %v, in %s", what, what, place()))
	panic(what)
}

// Where the panic came from: the first function below the runtime's.
func place() string {
	callers := make([]uintptr, 50)
	// Without Callers, place and Leave.
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s at %s:%d", frame.Function, frame.File, frame.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
