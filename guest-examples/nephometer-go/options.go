package nephometer

import (
	"fmt"
	"slices"
	"strings"

	"nephometer/log"
)

// OptionError is one error in the options.
type OptionError struct {
	// JSON Pointer (RFC 6901) into the options; empty for the whole.
	Pointer string
	// What is wrong, and what would be right.
	Reason string
}

// OptionErrors are all errors in the options.
type OptionErrors []OptionError

// Error returns all of them in one line.
func (e OptionErrors) Error() string {
	lines := make([]string, len(e))
	for index, one := range e {
		lines[index] = one.Pointer + ": " + one.Reason
	}
	return strings.Join(lines, "; ")
}

// OptionReader reads one mapping of the options.
//
// All readers of one set of options share a list of errors, so that Check reports all of them at
// once. A key that is absent or null has no value; a key of another type than expected is an error,
// and has no value either.
type OptionReader struct {
	object  map[string]any
	pointer string
	errors  *OptionErrors
}

// ParseOptions returns a reader of options in JSON text.
func ParseOptions(text []byte) (*OptionReader, error) {
	value, err := decode(text)
	if err != nil {
		return nil, err
	}
	return NewOptionReader(value), nil
}

// NewOptionReader returns a reader of options in native values, such as encoding/json decodes.
func NewOptionReader(value any) *OptionReader {
	return newReader(value, "", &OptionErrors{})
}

func newReader(value any, pointer string, errors *OptionErrors) *OptionReader {
	object, is := value.(map[string]any)
	if !is && value != nil {
		reason := fmt.Sprintf("is %s; expected a mapping of keys to values", kindOf(value))
		*errors = append(*errors, OptionError{pointer, reason})
	}
	return &OptionReader{object, pointer, errors}
}

func (r *OptionReader) place(keys ...any) string {
	place := r.pointer
	for _, key := range keys {
		place += "/" + EscapePointer(fmt.Sprint(key))
	}
	return place
}

// Refuse adds an error for a key, or for a value below it: Refuse("is empty", "bands", 3). Without
// keys the error is that of the mapping itself.
func (r *OptionReader) Refuse(reason string, keys ...any) {
	*r.errors = append(*r.errors, OptionError{r.place(keys...), reason})
}

// Check returns all errors as OptionErrors; nil if there are none.
func (r *OptionReader) Check() error {
	if len(*r.errors) == 0 {
		return nil
	}
	return *r.errors
}

// Keys returns the keys that have a value, sorted: Go does not keep their order.
func (r *OptionReader) Keys() []string {
	keys := make([]string, 0, len(r.object))
	for key, value := range r.object {
		if value != nil {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Value returns the value of a key as it is; nil if it has none.
func (r *OptionReader) Value(key string) any {
	return r.object[key]
}

// Object returns the mapping under a key; an empty one if it is absent.
func (r *OptionReader) Object(key string) *OptionReader {
	return newReader(r.Value(key), r.place(key), r.errors)
}

// Objects returns the list of mappings under a key; an empty one if it is absent.
func (r *OptionReader) Objects(key string) []*OptionReader {
	items, _ := typed[[]any](r, key, "a list")
	readers := make([]*OptionReader, len(items))
	for index, item := range items {
		readers[index] = newReader(item, r.place(key, index), r.errors)
	}
	return readers
}

// Text returns the text under a key, and whether there is one.
func (r *OptionReader) Text(key string) (string, bool) {
	return typed[string](r, key, "a string")
}

// Number returns the number under a key, and whether there is one; true and false are not numbers.
func (r *OptionReader) Number(key string) (float64, bool) {
	switch value := r.Value(key).(type) {
	case int:
		return float64(value), true
	case int64:
		return float64(value), true
	}
	return typed[float64](r, key, "a number")
}

func typed[T any](r *OptionReader, key, wanted string) (T, bool) {
	value := r.Value(key)
	found, is := value.(T)
	if !is && value != nil {
		r.Refuse(fmt.Sprintf("is %s; expected %s", kindOf(value), wanted), key)
	}
	return found, is
}

// WarnOfUnknown logs a warning for each key that is not known.
func (r *OptionReader) WarnOfUnknown(known ...string) {
	keys := make([]string, 0, len(r.object))
	for key := range r.object {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if !slices.Contains(known, key) {
			log.Warn(fmt.Sprintf("unknown option %s is ignored", r.place(key)))
		}
	}
}

// EscapePointer returns a key as part of a JSON Pointer (RFC 6901).
func EscapePointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

func kindOf(value any) string {
	switch value.(type) {
	case bool:
		return "a boolean"
	case int, int64, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	case nil:
		return "null"
	}
	return fmt.Sprintf("a %T", value)
}
