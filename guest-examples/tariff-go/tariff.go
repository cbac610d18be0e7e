// Command tariff is a component: what processor time costs, by project and hour of the day.
//
// Every cpu sample of type delta becomes a gauge cost, priced by its project and the UTC hour of its
// time. A sample of a project without prices is left out: the host counts it as absorbed, the log
// names it. Everything else passes. At the end of a tick there is a cost.total per project, the sum
// of its costs ever since. The state is JSON, the same as that of the other languages.
package main

import (
	_ "embed"
	"fmt"
	"maps"
	"math"
	"slices"

	"nephometer"
	"nephometer/log"
)

const (
	stateVersion = 1
	hour         = 3_600_000_000_000 // nanoseconds
)

//go:embed options.schema.json
var schema string

var description = nephometer.Description{
	Name:          "tariff",
	Version:       "0.1.0",
	Summary:       "what processor time costs",
	OptionsSchema: schema,
	StateVersion:  stateVersion,
}

type tariff struct {
	currency string
	prices   map[string]day
	totals   map[string]*total
}

func newTariff(options *nephometer.OptionReader) (*tariff, error) {
	currency, _ := options.Text("currency")
	prices := readPrices(options.Object("prices"))
	return &tariff{currency, prices, map[string]*total{}}, options.Check()
}

// Settings asks for what has a price.
func (t *tariff) Settings() nephometer.Settings {
	return nephometer.Settings{Meters: []string{"cpu"}}
}

// Transform makes costs of times.
func (t *tariff) Transform(batch *nephometer.Batch) (nephometer.Outcome, error) {
	meant := make([]bool, len(batch.Meters))
	for index, meter := range batch.Meters {
		meant[index] = meter.Name == "cpu" && meter.Type == nephometer.Delta
	}
	if !slices.Contains(meant, true) {
		return nephometer.Unchanged, nil
	}
	refused := nephometer.NewComplaint(log.LevelWarn, "refusing samples that have no cost")
	answer := nephometer.NewAnswerBuilder(batch)
	costMeter := answer.Meter(nephometer.Meter{Name: "cost", Unit: t.currency, Type: nephometer.Gauge})
	for row := range nephometer.Rows(batch) {
		if !meant[row.MeterIndex] {
			answer.Keep(row)
			continue
		}
		cost, reason := t.cost(row)
		if reason != "" {
			refused.Add(row, reason)
			continue
		}
		t.add(row.Resource, cost)
		answer.Derive(row, costMeter, cost)
	}
	refused.Write()
	return answer.Finish(), nil
}

// cost gives what a row costs, or why it has no cost.
func (t *tariff) cost(row nephometer.Row) (float64, string) {
	project := row.Resource.ProjectID
	if project == nil {
		return 0, "it has no project"
	}
	prices, known := t.prices[*project]
	if !known && *project == "" {
		return 0, "it has no project"
	}
	if !known {
		return 0, fmt.Sprintf(`project "%s" has no prices`, *project)
	}
	cost := row.Volume / hour * prices[row.Time/hour%24]
	// One cost that is not finite would refuse the whole answer, and a total only grows.
	if !(cost >= 0 && cost <= math.MaxFloat64) {
		return 0, fmt.Sprintf("its volume is %g", row.Volume)
	}
	return cost, ""
}

func (t *tariff) add(payer *nephometer.Resource, cost float64) {
	project := *payer.ProjectID
	one, known := t.totals[project]
	if !known {
		one = &total{source: payer.Source}
		t.totals[project] = one
	}
	one.add(cost)
}

// Flush tells the totals.
func (t *tariff) Flush(now uint64) (*nephometer.Answer, error) {
	if len(t.totals) == 0 {
		return nil, nil
	}
	answer := nephometer.NewAnswerBuilder(nil)
	meter := answer.Meter(nephometer.Meter{Name: "cost.total", Unit: t.currency, Type: nephometer.Cumulative})
	for _, project := range slices.Sorted(maps.Keys(t.totals)) {
		one := t.totals[project]
		resource := answer.Resource(&nephometer.Resource{ID: project, Source: one.source, ProjectID: &project})
		answer.Create(meter, resource, now, one.value())
	}
	return answer.Finish(), nil
}

// Only a component is called from outside; see component.go.
func main() {}
