//go:build wasm

package hostcall

import (
	"maps"
	"slices"

	"nephometer"
	component "nephometer/bindings/nephometer_metering_component"
	hostlog "nephometer/bindings/nephometer_metering_log"
	types "nephometer/bindings/nephometer_metering_types"
	"nephometer/log"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// MeterTypes are in the order of the contract.
var MeterTypes = []nephometer.MeterType{nephometer.Gauge, nephometer.Delta, nephometer.Cumulative}

// In the order of the contract.
var texts = []nephometer.Texts{nephometer.TextsNone, nephometer.TextsSamples, nephometer.TextsMessages}

// SendLog sends all lines of the log to the host. The levels have the order of the contract.
func SendLog() {
	log.SendTo(func(level log.Level, message string) { hostlog.Write(hostlog.Level(level), message) })
}

// Description returns a description as the bindings require it.
func Description(one nephometer.Description) component.Description {
	return component.Description{
		Name:          one.Name,
		Version:       one.Version,
		Summary:       one.Summary,
		OptionsSchema: one.OptionsSchema,
		StateVersion:  one.StateVersion,
		Facts:         pairs(one.Facts),
	}
}

// Settings returns settings as the bindings require them.
func Settings(one nephometer.Settings) component.Settings {
	return component.Settings{
		Meters:   one.Meters,
		Metadata: one.Metadata,
		// None if there is no such form.
		Texts: uint8(max(slices.Index(texts, one.Texts), 0)),
		Facts: pairs(one.Facts),
	}
}

// OptionErrors returns errors in the options as the bindings require them.
func OptionErrors(errors nephometer.OptionErrors) []component.OptionError {
	list := make([]component.OptionError, len(errors))
	for index, one := range errors {
		list[index] = component.OptionError{Pointer: one.Pointer, Reason: one.Reason}
	}
	return list
}

// Meter returns a meter of the host.
func Meter(one types.Meter) *nephometer.Meter {
	return &nephometer.Meter{Name: one.Name, Unit: one.Unit, Type: MeterTypes[one.Type]}
}

// Resource returns a resource of the host.
func Resource(one types.Resource) *nephometer.Resource {
	return (&nephometer.Resource{
		ID:        one.Id,
		Source:    one.Source,
		ProjectID: text(one.ProjectId),
		UserID:    text(one.UserId),
	}).WithMetadataText(one.Metadata)
}

// Exact returns exact values of the host; nil if there are none, as usual.
func Exact(integers []types.ExactInteger) []nephometer.ExactInteger {
	var exact []nephometer.ExactInteger
	for _, one := range integers {
		exact = append(exact, nephometer.ExactInteger(one))
	}
	return exact
}

func text(text wit.Option[string]) *string {
	if text.IsNone() {
		return nil
	}
	return new(text.Some())
}

// Sorted: a component describes itself the same every time.
func pairs(facts map[string]string) []wit.Tuple2[string, string] {
	list := make([]wit.Tuple2[string, string], 0, len(facts))
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		list = append(list, wit.Tuple2[string, string]{F0: name, F1: facts[name]})
	}
	return list
}
