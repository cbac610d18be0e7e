//go:build wasm

// Package runtime allocates memory for the generated bindings. It replaces the package of this name
// that they expect, with the functions that they use. It is optimized for batches: each of their many
// strings needs several times less memory, and nothing is imported.
package runtime

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Memory that the host received and that no Go pointer refers to yet. Go does not move allocated
// memory, so it only has to be reachable; pinning would cost more than allocating.
var reachable []unsafe.Pointer

// Unpin releases the memory that the host received. The bindings call it once they have Go pointers
// to all of it.
func Unpin() {
	clear(reachable)
	reachable = reachable[:0]
}

// Allocate allocates memory that is pinned by the pinner.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	pointer := allocate(size, align)
	pinner.Pin(pointer)
	return pointer
}

// The collector finds no pointers in this memory: its addresses have 32 bits, Go's have 64.
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
	panic(fmt.Sprintf("unsupported alignment of %d bytes", align))
}

// The host calls this for all arguments, and only after Go has started, which happens when the
// component is instantiated.
//
//go:wasmexport cabi_realloc
func reallocate(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	pointer := allocate(size, align)
	if pointer != nil {
		reachable = append(reachable, pointer)
		copy(unsafe.Slice((*byte)(pointer), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return pointer
}
