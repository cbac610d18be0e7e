//go:build wasm

// Package runtime gives the generated bindings memory. It stands in the place of the package of this
// name that they are written for, has what they use of it, and is made for batches: it needs several
// times less for each of their many strings, and nothing from outside the component.
package runtime

import (
	"fmt"
	"runtime"
	"unsafe"
)

// What the host was given and no Go pointer points at yet. Go does not move what it has allocated, so
// being reachable is all that the memory needs; pinning would cost more than allocating.
var held []unsafe.Pointer

// Unpin lets go of what the host was given: the bindings call it when they have Go pointers to all of it.
func Unpin() {
	clear(held)
	held = held[:0]
}

// Allocate gives memory that stays until the pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	pointer := allocate(size, align)
	pinner.Pin(pointer)
	return pointer
}

// The collector takes none of this for pointers: addresses in it have 32 bits, Go's 64.
func allocate(size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	switch align {
	case 1:
		return unsafe.Pointer(unsafe.SliceData(make([]uint8, size)))
	case 2, 4, 8:
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	}
	panic(fmt.Sprintf("nothing is aligned to %d bytes", align))
}

// The host calls this for everything that it hands over. Never before Go has started: that is done
// when the component is instantiated.
//
//go:wasmexport cabi_realloc
func reallocate(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	pointer := allocate(size, align)
	if pointer != nil {
		held = append(held, pointer)
		copy(unsafe.Slice((*byte)(pointer), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return pointer
}
