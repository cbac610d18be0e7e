// Package wit_types has the types of the contract's values that Go itself does not have. It stands in
// the place of the package of this name that the generated bindings are written for.
package wit_types

// The tags of an option and of a result, as the bindings ask for them.
const (
	OptionNone = 0
	OptionSome = 1
	ResultOk   = 0
	ResultErr  = 1
)

// Unit is nothing.
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

// Some gives an option with a value.
func Some[T any](value T) Option[T] { return Option[T]{true, value} }

// None gives an option without.
func None[T any]() Option[T] { return Option[T]{} }

// IsNone says whether there is no value.
func (o Option[T]) IsNone() bool { return !o.some }

// Tag gives OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	if o.some {
		return OptionSome
	}
	return OptionNone
}

// Some gives the value; it panics if there is none.
func (o Option[T]) Some() T {
	if !o.some {
		panic("there is no value")
	}
	return o.value
}

// Result is a value or an error.
type Result[T, E any] struct {
	tag uint8
	ok  T
	err E
}

// Ok gives a result with a value.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{tag: ResultOk, ok: value} }

// Err gives a result with an error.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{tag: ResultErr, err: err} }

// Tag gives ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 { return r.tag }

// Ok gives the value; it panics if there is an error.
func (r Result[T, E]) Ok() T {
	if r.tag != ResultOk {
		panic("there is an error and no value")
	}
	return r.ok
}

// Err gives the error; it panics if there is none.
func (r Result[T, E]) Err() E {
	if r.tag != ResultErr {
		panic("there is a value and no error")
	}
	return r.err
}
