// Package wit_types has the types of the contract that Go does not have. It replaces the package of
// this name that the generated bindings expect.
package wit_types

// The tags of options and results in the bindings.
const (
	OptionNone = 0
	OptionSome = 1
	ResultOk   = 0
	ResultErr  = 1
)

// Unit is the empty type.
type Unit struct{}

// Tuple2 is a pair.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

// Option is a value or none.
type Option[T any] struct {
	some  bool
	value T
}

// Some returns an option with a value.
func Some[T any](value T) Option[T] { return Option[T]{true, value} }

// None returns an option without a value.
func None[T any]() Option[T] { return Option[T]{} }

// IsNone reports whether there is no value.
func (o Option[T]) IsNone() bool { return !o.some }

// Tag returns OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	if o.some {
		return OptionSome
	}
	return OptionNone
}

// Some returns the value; it panics if there is none.
func (o Option[T]) Some() T {
	if !o.some {
		panic("option without a value")
	}
	return o.value
}

// Result is a value or an error.
type Result[T, E any] struct {
	tag uint8
	ok  T
	err E
}

// Ok returns a result with a value.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{tag: ResultOk, ok: value} }

// Err returns a result with an error.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{tag: ResultErr, err: err} }

// Tag returns ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 { return r.tag }

// Ok returns the value; it panics if there is an error.
func (r Result[T, E]) Ok() T {
	if r.tag != ResultOk {
		panic("result without a value")
	}
	return r.ok
}

// Err returns the error; it panics if there is none.
func (r Result[T, E]) Err() E {
	if r.tag != ResultErr {
		panic("result without an error")
	}
	return r.err
}
