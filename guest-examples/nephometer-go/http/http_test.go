package http

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"nephometer"
)

func options(values map[string]any) *nephometer.URLOptions {
	return nephometer.NewURLOptions(nephometer.NewOptionReader(values))
}

func pointers(t *testing.T, err error) []string {
	t.Helper()
	wrong, is := errors.AsType[nephometer.OptionErrors](err)
	if !is {
		t.Fatalf("got %v", err)
	}
	var all []string
	for _, one := range wrong {
		all = append(all, one.Pointer)
	}
	slices.Sort(all)
	return all
}

func TestTheQueryTakesPrecedence(t *testing.T) {
	read := options(map[string]any{
		"host": "[::1]", "port": int64(99), "path": "/a%20b", "x": 7, "y": 5, "bad2": "maybe",
		"query": map[string]any{"x": []any{"1", "2"}, "bad": []any{"z"}, "on": []any{""}},
	})
	if read.Host() != "::1" || read.Port(1) != 99 || read.Path() != "a b" {
		t.Error(read.Host(), read.Port(1), read.Path())
	}
	x, _ := read.Number("x")
	y, _ := read.Number("y")
	_, bad := read.Number("bad")
	if x != 2 || y != 5 || bad || !read.Flag("on") || read.Flag("absent") || read.Flag("bad2") {
		t.Error(x, y, bad)
	}
	if got := pointers(t, read.Check()); !slices.Equal(got, []string{"/bad2", "/query/bad"}) {
		t.Error(got)
	}
}

func TestAReceiverIsCheckedAndGetsARequest(t *testing.T) {
	wrong := options(map[string]any{
		"port": 0, "path": "/a b", "query": map[string]any{"timeout": []any{"0"}, "tls": []any{"perhaps"}},
	})
	NewReceiver(wrong)
	want := []string{"/host", "/path", "/port", "/query/timeout", "/query/tls"}
	if got := pointers(t, wrong.Check()); !slices.Equal(got, want) {
		t.Error(got)
	}
	var sent *Request
	SendWith(func(request *Request) (*Response, error) {
		sent = request
		return &Response{Status: 204}, nil
	})
	receiver := NewReceiver(options(map[string]any{"host": "h", "port": 8190, "user": "u", "password": "p", "timeout": 2}))
	if _, err := receiver.Post([]byte("x"), map[string]string{"a": "b"}); err != nil {
		t.Error(err)
	}
	expected := &Request{
		Method: "POST", Authority: "h:8190", Path: "/", Body: []byte("x"), Timeout: 2 * time.Second, ReadAtMost: readAtMost,
		Headers: map[string]string{"authorization": "Basic dTpw", "a": "b"},
	}
	if !reflect.DeepEqual(sent, expected) {
		t.Errorf("got %v", sent)
	}
}

func TestEachStatusMapsToItsFailure(t *testing.T) {
	for status, kind := range map[uint16]error{
		204: nil, 408: nephometer.RetryLater{}, 429: nephometer.RetryLater{}, 503: nephometer.RetryLater{},
		301: nephometer.Broken(""), 401: nephometer.Broken(""), 403: nephometer.Broken(""),
		400: nephometer.Rejected(""), 413: nephometer.Rejected(""),
	} {
		got := Accepted(&Response{Status: status, Body: []byte("no\nmore")})
		if reflect.TypeOf(got) != reflect.TypeOf(kind) {
			t.Errorf("status %d: %T", status, got)
		}
	}
}

func TestARequestedDelayIsRead(t *testing.T) {
	date := "Sun, 06 Nov 1994 08:49:37 GMT"
	for value, want := range map[string]int64{
		"120": 120_000, "99999999999999999999999": maxDelayMS, "Sun, 06 Nov 1994 08:50:07 GMT": 30_000,
		"Sun, 06 Nov 1994 08:49:07 GMT": 0, "-1": -1, "soon": -1, "": -1,
	} {
		got := RetryAfter(&Response{Headers: map[string]string{"retry-after": value, "date": date}})
		if (got == nil) != (want < 0) || (got != nil && *got != uint64(want)) {
			t.Errorf("%q: %v", value, got)
		}
	}
}
