package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"nephometer"
)

// The saved state. A list of lists, as in the other languages, because JavaScript's objects put
// keys that look like numbers first. Pointers show which values are missing.
type state struct {
	Currency *string  `json:"currency"`
	Totals   *[][]any `json:"totals"`
}

const damaged = nephometer.StateError("the state is damaged")

// Save returns the totals, sorted by project.
func (t *tariff) Save() ([]byte, error) {
	totals := make([][]any, 0, len(t.totals))
	for _, project := range slices.Sorted(maps.Keys(t.totals)) {
		one := t.totals[project]
		totals = append(totals, []any{project, one.source, one.sum, one.rest})
	}
	text, err := json.Marshal(state{&t.currency, &totals})
	if err != nil {
		return nil, nephometer.StateError(err.Error())
	}
	return text, nil
}

// Restore restores totals, if they are in this currency.
func (t *tariff) Restore(version uint32, text []byte) error {
	if version != stateVersion {
		return nephometer.StateError(fmt.Sprintf("state of version %d; this component reads %d", version, stateVersion))
	}
	var saved state
	if json.Unmarshal(text, &saved) != nil || saved.Currency == nil || saved.Totals == nil {
		return damaged
	}
	totals := map[string]*total{}
	for _, fields := range *saved.Totals {
		if len(fields) != 4 {
			return damaged
		}
		project, hasProject := fields[0].(string)
		source, hasSource := fields[1].(string)
		sum, hasSum := fields[2].(float64)
		rest, hasRest := fields[3].(float64)
		if !hasProject || !hasSource || !hasSum || !hasRest {
			return damaged
		}
		totals[project] = &total{source, sum, rest}
	}
	if *saved.Currency != t.currency {
		reason := fmt.Sprintf("the totals are in %s, the options specify %s", *saved.Currency, t.currency)
		return nephometer.StateError(reason)
	}
	// Before any batch: no account refers to a total yet.
	t.totals = totals
	return nil
}
