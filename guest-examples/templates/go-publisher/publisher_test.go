package main

import (
	"encoding/json"
	"reflect"
	"testing"

	"nephometer"
	"nephometer/http"
	"nephometer/nephometertest"
)

var sample = nephometertest.Sample{
	Name: "memory.usage", Unit: "MB", Type: nephometer.Gauge, ResourceID: "r", Volume: 4,
	Timestamp: "2026-03-01T10:00:00Z",
}

// Publishes samples to a receiver that returns this status, and returns what it got.
func published(t *testing.T, status uint16, samples ...nephometertest.Sample) ([]*http.Request, error) {
	t.Helper()
	var requests []*http.Request
	http.SendWith(func(request *http.Request) (*http.Response, error) {
		requests = append(requests, request)
		return &http.Response{Status: status}, nil
	})
	options := map[string]any{"host": "::1", "port": 8190, "path": "/samples"}
	one, err := newPoster(nephometer.NewURLOptions(nephometer.NewOptionReader(options)))
	if err != nil {
		t.Fatal(err)
	}
	err = one.Publish(nephometertest.DeliveryOf("e-1", samples...))
	return requests, err
}

func TestAnEnvelopeIsOneArray(t *testing.T) {
	requests, err := published(t, 204, sample, sample)
	if err != nil || len(requests) != 1 {
		t.Fatalf("%d requests, %v", len(requests), err)
	}
	request := requests[0]
	if request.Authority != "[::1]:8190" || request.Path != "/samples" || request.Headers["idempotency-key"] != "e-1" {
		t.Errorf("got %v", request)
	}
	var body []map[string]any
	if err := json.Unmarshal(request.Body, &body); err != nil || len(body) != 2 || body[1]["resource_id"] != "r" {
		t.Errorf("got %s, %v", request.Body, err)
	}
}

func TestAnEnvelopeWithoutSamplesIsNotSent(t *testing.T) {
	if requests, err := published(t, 204); err != nil || len(requests) != 0 {
		t.Errorf("%d requests, %v", len(requests), err)
	}
}

func TestStatusesMapToResults(t *testing.T) {
	for status, kind := range map[uint16]error{
		503: nephometer.RetryLater{}, 400: nephometer.Rejected(""), 401: nephometer.Broken(""),
	} {
		if _, err := published(t, status, sample); reflect.TypeOf(err) != reflect.TypeOf(kind) {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestAllErrorsAreReportedAtOnce(t *testing.T) {
	options := map[string]any{"path": "/a b", "query": map[string]any{"timeout": []any{"0"}}}
	_, err := newPoster(nephometer.NewURLOptions(nephometer.NewOptionReader(options)))
	if wrong, is := err.(nephometer.OptionErrors); !is || len(wrong) != 3 {
		t.Errorf("got %v", err)
	}
}
