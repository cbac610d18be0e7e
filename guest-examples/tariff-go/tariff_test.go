package main

// Tests of tariff: the shared fixtures, a simple model, and damaged states.

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nephometer"
	"nephometer/log"
	"nephometer/nephometertest"
)

type fixture struct {
	Options json.RawMessage
	Errors  [][2]string
	Steps   []struct {
		Batch []nephometertest.Sample
		Flush string
		State any
		Out   []map[string]any
		Log   []string
	}
}

func TestFixtures(t *testing.T) {
	files, _ := filepath.Glob("../tariff/fixtures/*.json")
	if len(files) <= 4 {
		t.Fatalf("there are only %d", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			runFixture(t, parsed[fixture](t, read(t, file)))
		})
	}
}

func runFixture(t *testing.T, fixture fixture) {
	if fixture.Errors != nil {
		_, err := configured(t, fixture.Options)
		wrong, _ := errors.AsType[nephometer.OptionErrors](err)
		var found [][2]string
		for _, one := range wrong {
			found = append(found, [2]string{one.Pointer, one.Reason})
		}
		if !slices.Equal(found, fixture.Errors) {
			t.Errorf("%v instead of %v", found, fixture.Errors)
		}
		return
	}
	one := ready(t, fixture.Options)
	host := nephometertest.NewHost(uint64(len(fixture.Steps)))
	log.Taken()
	for number, step := range fixture.Steps {
		switch {
		case step.State != nil:
			one = again(t, one, fixture.Options, step.State)
			host.Forget()
		case step.Flush != "":
			answer, err := one.Flush(nephometertest.Nanoseconds(step.Flush))
			must(t, err)
			compare(t, nephometertest.SamplesOf(answer, nil), step.Out)
		default:
			batch := host.Batch(step.Batch...)
			outcome, err := one.Transform(batch)
			must(t, err)
			compare(t, nephometertest.SamplesOf(outcome, batch), step.Out)
		}
		var lines []string
		for _, line := range log.Taken() {
			lines = append(lines, line.String())
		}
		if !slices.Equal(lines, step.Log) {
			t.Errorf("step %d: the log is %q instead of %q", number, lines, step.Log)
		}
	}
}

// A new instance with the saved state of this one.
func again(t *testing.T, one *tariff, options []byte, expected any) *tariff {
	saved, err := one.Save()
	must(t, err)
	if expected != true && !alike(parsed[any](t, saved), expected) {
		t.Errorf("the state is %s instead of %v", saved, expected)
	}
	other := ready(t, options)
	must(t, other.Restore(stateVersion, saved))
	return other
}

// Only the keys that are given are compared.
func compare(t *testing.T, found []nephometertest.Sample, expected []map[string]any) {
	t.Helper()
	if len(found) != len(expected) {
		t.Fatalf("%d samples instead of %d", len(found), len(expected))
	}
	for index, sample := range expected {
		text, err := json.Marshal(found[index])
		must(t, err)
		known := parsed[map[string]any](t, text)
		if _, given := sample["source"]; !given {
			sample["source"] = "openstack"
		}
		sample["timestamp"] = nephometertest.Timestamp(nephometertest.Nanoseconds(sample["timestamp"].(string)))
		for key, value := range sample {
			if !alike(known[key], value) {
				t.Errorf("sample %d: %s is %v instead of %v", index, key, known[key], value)
			}
		}
	}
}

// Equal within the tolerance of numbers.
func alike(found, expected any) bool {
	switch expected := expected.(type) {
	case float64:
		number, is := found.(float64)
		return is && math.Abs(number-expected) <= 4e-16*math.Abs(expected)
	case []any:
		list, is := found.([]any)
		return is && slices.EqualFunc(list, expected, alike)
	case map[string]any:
		object, is := found.(map[string]any)
		return is && maps.EqualFunc(object, expected, alike)
	}
	return found == expected
}

func TestTotalsEqualExactArithmetic(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	prices := map[string][]map[string]any{}
	exact := map[string]*big.Rat{}
	projects := []string{"alpha", "beta", "gamma"}
	for _, project := range projects {
		exact[project] = new(big.Rat)
		for hour := range 24 {
			price := chance.Float64() * math.Pow10(chance.IntN(8)-6)
			prices[project] = append(prices[project], map[string]any{"from": hour, "to": hour + 1, "price": price})
		}
	}
	options := optionsOf(t, "EUR", prices)
	one := ready(t, options)
	host := nephometertest.NewHost(3)
	for cycle := range 200 {
		switch cycle % 20 {
		case 7:
			one = again(t, one, options, true)
		case 11:
			// The same instance: numbers stand for other resources now.
			host.Forget()
		}
		var samples []nephometertest.Sample
		for range 50 {
			project, at := projects[chance.IntN(3)], chance.IntN(24)
			volume := float64(chance.Int64N(int64(math.Pow10(1 + chance.IntN(16)))))
			cost := new(big.Rat).SetFloat64(prices[project][at]["price"].(float64))
			cost.Mul(cost, new(big.Rat).SetFloat64(volume)).Quo(cost, big.NewRat(hour, 1))
			exact[project].Add(exact[project], cost)
			timestamp := fmt.Sprintf("2026-03-01T%02d:%02d:00Z", at, chance.IntN(60))
			samples = append(samples, cpu(project, volume, timestamp))
		}
		batch := host.Batch(samples...)
		outcome, err := one.Transform(batch)
		must(t, err)
		for row, sample := range nephometertest.SamplesOf(outcome, batch) {
			if sample.Origin != uint32(row) {
				t.Fatalf("row %d comes from %d", row, sample.Origin)
			}
		}
	}
	const now = 1_000_000_000_000_000_000
	answer, err := one.Flush(now)
	must(t, err)
	totals := nephometertest.SamplesOf(answer, nil)
	if len(totals) != len(projects) {
		t.Fatalf("%d totals", len(totals))
	}
	for index, sample := range totals {
		project := projects[index]
		difference := new(big.Rat).SetFloat64(sample.Volume)
		difference.Sub(difference, exact[project]).Abs(difference)
		if *sample.ProjectID != project || difference.Cmp(big.NewRat(1, 1_000_000_000)) >= 0 {
			t.Errorf("%s: %v instead of %s", *sample.ProjectID, sample.Volume, exact[project].FloatString(12))
		}
		if sample.Timestamp != nephometertest.Timestamp(now) || sample.Origin != nephometer.NoOrigin {
			t.Errorf("%+v", sample)
		}
	}
}

func TestStatesOfOthersAreRefused(t *testing.T) {
	prices := map[string][]map[string]any{"alpha": allDay(1)}
	options := optionsOf(t, "EUR", prices)
	other, err := ready(t, optionsOf(t, "CHF", prices)).Save()
	must(t, err)
	type refused struct {
		version uint32
		state   string
		reason  string
	}
	cases := []refused{{2, "{}", "version 2"}, {1, string(other), "in CHF"}}
	for _, text := range []string{
		"\xff", "", "[]", "3", "null", `{"totals": [3]}`, `{"currency": "EUR"}`, `{"currency": "EUR", "totals": null}`,
		`{"currency": "EUR", "totals": [["alpha", "openstack", "much", 0]]}`,
		`{"currency": "EUR", "totals": [["alpha", "openstack", 1]]}`,
		`{"currency": "EUR", "totals": [["alpha", null, 1, 0]]}`,
		`{"currency": "EUR", "totals": [["alpha", "openstack", 1e999, 0]]}`,
		`{"currency": "EUR", "totals": []} {}`,
	} {
		cases = append(cases, refused{1, text, "damaged"})
	}
	for _, one := range cases {
		found := ready(t, options).Restore(one.version, []byte(one.state))
		reason, is := errors.AsType[nephometer.StateError](found)
		if !is || !strings.Contains(string(reason), one.reason) {
			t.Errorf("%q: %v", one.state, found)
		}
	}
}

func TestProjectsWithoutPricesKeepTheirTotals(t *testing.T) {
	both := map[string][]map[string]any{"alpha": allDay(1), "beta": allDay(1)}
	one := ready(t, optionsOf(t, "EUR", both))
	_, err := one.Transform(nephometertest.BatchOf(cpu("alpha", hour, "2026-03-01T10:00:00Z")))
	must(t, err)
	delete(both, "alpha")
	other := again(t, one, optionsOf(t, "EUR", both), true)
	answer, err := other.Flush(1)
	must(t, err)
	if totals := nephometertest.SamplesOf(answer, nil); len(totals) != 1 || totals[0].Volume != 1 {
		t.Errorf("%+v", totals)
	}
}

// Files outside of the package cannot be embedded, so the schema is a copy.
func TestTheSchemaIsTheSharedOne(t *testing.T) {
	if schema != string(read(t, "../tariff/options.schema.json")) {
		t.Error("it is not: copy ../tariff/options.schema.json")
	}
}

func configured(t *testing.T, options []byte) (*tariff, error) {
	reader, err := nephometer.ParseOptions(options)
	must(t, err)
	return newTariff(reader)
}

func ready(t *testing.T, options []byte) *tariff {
	one, err := configured(t, options)
	must(t, err)
	return one
}

func optionsOf(t *testing.T, currency string, prices any) []byte {
	text, err := json.Marshal(map[string]any{"currency": currency, "prices": prices})
	must(t, err)
	return text
}

func allDay(price float64) []map[string]any {
	return []map[string]any{{"from": 0, "to": 24, "price": price}}
}

func cpu(project string, volume float64, timestamp string) nephometertest.Sample {
	return nephometertest.Sample{
		Name:       "cpu",
		Unit:       "ns",
		Type:       nephometer.Delta,
		ResourceID: "of-" + project,
		ProjectID:  &project,
		Timestamp:  timestamp,
		Volume:     volume,
	}
}

func read(t *testing.T, file string) []byte {
	text, err := os.ReadFile(file)
	must(t, err)
	return text
}

func parsed[T any](t *testing.T, text []byte) T {
	var value T
	must(t, json.Unmarshal(text, &value))
	return value
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
