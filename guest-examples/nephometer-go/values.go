package nephometer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// decode reads one JSON text. Integers become int64 where they fit, because float64 would round
// large ones; all other numbers become float64.
func decode(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("unexpected text after the value")
	}
	return native(value)
}

func native(value any) (any, error) {
	var err error
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole, nil
		}
		return value.Float64()
	case []any:
		for index, item := range value {
			if value[index], err = native(item); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key, item := range value {
			if value[key], err = native(item); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}
