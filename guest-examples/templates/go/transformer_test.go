package main

import (
	"testing"

	"nephometer"
	"nephometer/nephometertest"
)

func configured(t *testing.T, options map[string]any) *scaler {
	t.Helper()
	one, err := newScaler(nephometer.NewOptionReader(options))
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func TestVolumesAreScaled(t *testing.T) {
	batch := nephometertest.BatchOf(nephometertest.Sample{
		Name: "memory.usage", Unit: "MB", Type: nephometer.Gauge, ResourceID: "r", Volume: 4,
		Timestamp: "2026-03-01T10:00:00Z",
	})
	outcome, err := configured(t, map[string]any{"factor": 2.5}).Transform(batch)
	if err != nil {
		t.Fatal(err)
	}
	samples := nephometertest.SamplesOf(outcome, batch)
	if len(samples) != 1 || samples[0].Volume != 10 {
		t.Errorf("got %v", samples)
	}
}

func TestAFactorOfZeroIsRefused(t *testing.T) {
	if _, err := newScaler(nephometer.NewOptionReader(map[string]any{"factor": 0.0})); err == nil {
		t.Error("accepted")
	}
}

func TestTheCountSurvives(t *testing.T) {
	one, other := configured(t, nil), configured(t, nil)
	one.rows = 3
	saved, err := one.Save()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Restore(1, saved); err != nil || other.rows != 3 {
		t.Errorf("got %d rows, %v", other.rows, err)
	}
	if other.Restore(2, saved) == nil {
		t.Error("an unknown version is accepted")
	}
}
