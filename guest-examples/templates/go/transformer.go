// Command {{name}} is a component: it multiplies every volume by the option factor. It counts rows
// and emits the count at the end of each polling cycle. The count is the state, which survives
// reloads.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"nephometer"
)

//go:embed options.schema.json
var schema string

var description = nephometer.Description{
	Name:          "{{name}}",
	Version:       "0.1.0",
	Summary:       "scales volumes",
	OptionsSchema: schema,
	StateVersion:  1,
}

type scaler struct {
	factor float64
	rows   uint64
}

func newScaler(options *nephometer.OptionReader) (*scaler, error) {
	factor, given := options.Number("factor")
	if !given {
		factor = 1
	} else if factor == 0 {
		options.Refuse("is 0, which would make all volumes 0", "factor")
	}
	return &scaler{factor: factor}, options.Check()
}

// Settings requires all meters; Settings.Meters may name some.
func (s *scaler) Settings() nephometer.Settings {
	return nephometer.Settings{}
}

// Transform scales volumes and counts rows.
func (s *scaler) Transform(batch *nephometer.Batch) (nephometer.Outcome, error) {
	answer := nephometer.NewAnswerBuilder(batch)
	for row := range nephometer.Rows(batch) {
		answer.Derive(row, row.MeterNumber, row.Volume*s.factor)
		s.rows++
	}
	return answer.Finish(), nil
}

// Flush emits the count.
func (s *scaler) Flush(now uint64) (*nephometer.Answer, error) {
	answer := nephometer.NewAnswerBuilder(nil)
	meter := answer.Meter(nephometer.Meter{Name: "{{name}}.rows", Unit: "row", Type: nephometer.Cumulative})
	resource := answer.Resource(&nephometer.Resource{ID: "{{name}}", Source: "openstack"})
	answer.Create(meter, resource, now, float64(s.rows))
	return answer.Finish(), nil
}

type state struct {
	Rows uint64 `json:"rows"`
}

// Save returns the count.
func (s *scaler) Save() ([]byte, error) {
	return json.Marshal(state{s.rows})
}

// Restore continues from a saved count.
func (s *scaler) Restore(version uint32, text []byte) error {
	if version != 1 {
		return nephometer.StateError(fmt.Sprintf("state of version %d; this component reads 1", version))
	}
	var saved state
	if err := json.Unmarshal(text, &saved); err != nil {
		return nephometer.StateError(err.Error())
	}
	s.rows = saved.Rows
	return nil
}

// The host calls the functions that component.go exports.
func main() {}
