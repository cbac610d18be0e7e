// Command tariff is a component: the cost of processor time, by project and hour of the day.
//
// Every cpu sample of type delta becomes a gauge cost, priced by its project and the UTC hour of
// its time. A sample of a project without prices is dropped and logged; the host counts it as
// absorbed. All other samples pass. Each flush emits a cost.total per project, the sum of all its
// costs. The state is JSON, in the same format as in the other languages.
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
	Summary:       "cost of processor time",
	OptionsSchema: schema,
	StateVersion:  stateVersion,
}

type tariff struct {
	currency string
	prices   map[string]*day
	totals   map[string]*total
	priced   *nephometer.Cache[nephometer.Meter, bool]
	accounts *nephometer.Cache[nephometer.Resource, *account]
}

// account has the prices and the total of a resource.
type account struct {
	prices *day
	// Nil until there is a cost.
	total *total
	// Why the resource has no costs; empty if it has.
	refusal string
}

func newTariff(options *nephometer.OptionReader) (*tariff, error) {
	currency, _ := options.Text("currency")
	prices := readPrices(options.Object("prices"))
	t := &tariff{currency: currency, prices: prices, totals: map[string]*total{}}
	t.priced = nephometer.NewCache(isPriced)
	t.accounts = nephometer.NewCache(t.account)
	return t, options.Check()
}

func isPriced(meter *nephometer.Meter) bool {
	return meter.Name == "cpu" && meter.Type == nephometer.Delta
}

// Settings requires the meter cpu.
func (t *tariff) Settings() nephometer.Settings {
	return nephometer.Settings{Meters: []string{"cpu"}}
}

// Transform replaces processor times by costs.
func (t *tariff) Transform(batch *nephometer.Batch) (nephometer.Outcome, error) {
	priced := func(meter uint32) bool { return t.priced.Of(meter, batch.Dictionary.Meter(meter)) }
	if !slices.ContainsFunc(batch.Meter, priced) {
		return nephometer.Unchanged, nil
	}
	refused := nephometer.NewComplaint(log.LevelWarn, "dropping samples without a cost")
	answer := nephometer.NewAnswerBuilder(batch)
	costMeter := answer.Meter(nephometer.Meter{Name: "cost", Unit: t.currency, Type: nephometer.Gauge})
	for row := range nephometer.Rows(batch) {
		if !t.priced.Of(row.MeterNumber, row.Meter) {
			answer.Keep(row)
			continue
		}
		account := t.accounts.Of(row.ResourceNumber, row.Resource)
		cost, reason := account.cost(row)
		if reason != "" {
			refused.Add(row, reason)
			continue
		}
		if account.total == nil {
			account.total = t.total(row.Resource)
		}
		account.total.add(cost)
		answer.Derive(row, costMeter, cost)
	}
	refused.Write()
	return answer.Finish(), nil
}

// account returns the account of a resource, which is that of its project.
func (t *tariff) account(resource *nephometer.Resource) *account {
	if resource.ProjectID == nil {
		return &account{refusal: "no project"}
	}
	project := *resource.ProjectID
	prices, known := t.prices[project]
	if !known && project == "" {
		return &account{refusal: "no project"}
	}
	if !known {
		return &account{refusal: fmt.Sprintf(`project "%s" has no prices`, project)}
	}
	return &account{prices: prices}
}

// cost returns the cost of a row, or the reason why it has none.
func (a *account) cost(row nephometer.Row) (float64, string) {
	if a.refusal != "" {
		return 0, a.refusal
	}
	cost := row.Volume / hour * a.prices[row.Time/hour%24]
	// A cost that is not finite would invalidate the whole answer, and totals never decrease.
	if !(cost >= 0 && cost <= math.MaxFloat64) {
		return 0, fmt.Sprintf("volume is %g", row.Volume)
	}
	return cost, ""
}

// total returns the total of the project of a resource.
func (t *tariff) total(payer *nephometer.Resource) *total {
	project := *payer.ProjectID
	one, known := t.totals[project]
	if !known {
		one = &total{source: payer.Source}
		t.totals[project] = one
	}
	return one
}

// Flush emits the totals.
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

// The host calls the functions that component.go exports.
func main() {}
