//go:build wasm

package runtime

// Handle is the handle of a resource of the host. It is 0 once it was released or passed on.
type Handle struct {
	value int32
}

// MakeHandle returns a handle with a value of the host, which is never 0.
func MakeHandle(value int32) *Handle { return &Handle{value} }

// Use returns the value; it panics if there is none any more.
func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("resource used after it was released")
	}
	return h.value
}

// Set sets the value of a handle without one.
func (h *Handle) Set(value int32) {
	if h.value != 0 {
		panic("resource is in use")
	}
	h.value = value
}

// Take returns the value, and leaves none; it panics if there is none.
func (h *Handle) Take() int32 {
	value := h.Use()
	h.value = 0
	return value
}

// TakeOrNil returns the value, or 0 if there is none, and leaves none.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}
