// Package http sends requests for publishers, one at a time.
//
// A [Receiver] reads where to send from the URL of the publisher, and sends. In a component,
// nephometer/http/wasi sends the requests; tests set a function of their own with [SendWith].
package http

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"nephometer"
)

const (
	// In seconds.
	defaultTimeout = 5
	maxTimeout     = 300
	// Longer delays are cut to a day.
	maxDelayMS = 24 * 3600 * 1000
	// Response bodies are cut after this many bytes.
	readAtMost = 2048
	// The only form that senders may use.
	dateForm = "Mon, 02 Jan 2006 15:04:05 GMT"
)

// Options are the names of the options that a Receiver reads.
var Options = []string{"tls", "timeout", "user", "password"}

// Request is an HTTP request.
type Request struct {
	Method string
	TLS    bool
	// HOST:PORT, with an IPv6 address in brackets.
	Authority string
	// From the slash on, with the query, escaped.
	Path string
	// The header content-length is added.
	Headers map[string]string
	Body    []byte
	// The time limit for the whole exchange.
	Timeout time.Duration
	// The body of the response is cut after this many bytes.
	ReadAtMost int
}

// Response is an HTTP response; names of headers are in lower case.
type Response struct {
	Status  uint16
	Headers map[string]string
	Body    []byte
}

var transport = func(*Request) (*Response, error) {
	return nil, nephometer.Broken("requests are sent in a component only; tests call http.SendWith")
}

// SendWith sets the function that sends requests. Its errors are RetryLater, if there is no
// response, and Broken, if the host refuses.
func SendWith(send func(*Request) (*Response, error)) {
	transport = send
}

// Send sends a request and returns the response, whatever its status.
func Send(request *Request) (*Response, error) {
	return transport(request)
}

// Receiver is the receiver that the URL of a publisher names.
type Receiver struct {
	TLS       bool
	Authority string
	Path      string
	Timeout   time.Duration
	headers   map[string]string
}

// NewReceiver reads host, port and path, and the options in [Options].
func NewReceiver(options *nephometer.URLOptions) *Receiver {
	receiver := &Receiver{TLS: options.Flag("tls"), headers: map[string]string{}}
	port := uint16(80)
	if receiver.TLS {
		port = 443
	}
	host := options.Host()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	receiver.Authority = fmt.Sprintf("%s:%d", host, options.Port(port))
	// As it is written, with its escapes.
	receiver.Path, _ = options.Value("path").(string)
	if strings.ContainsFunc(receiver.Path, func(one rune) bool { return one < '!' || one > '~' }) {
		options.Refuse("contains characters that must be escaped, such as %20 for a space", "path")
	}
	if receiver.Path == "" {
		receiver.Path = "/"
	}
	seconds, given := options.Number("timeout")
	if !given {
		seconds = defaultTimeout
	}
	if seconds <= 0 || seconds > maxTimeout {
		options.Refuse(fmt.Sprintf("expected more than 0 and at most %d seconds", maxTimeout), "timeout")
	}
	receiver.Timeout = time.Duration(seconds * float64(time.Second))
	if user, given := options.User(); given {
		password, _ := options.Value("password").(string)
		credentials := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		receiver.headers["authorization"] = "Basic " + credentials
	}
	return receiver
}

// Post posts a body and returns the response if its status is 2xx. Its errors are those of
// [Accepted], RetryLater if there is no response, and Broken if the address is not granted.
func (r *Receiver) Post(body []byte, headers map[string]string) (*Response, error) {
	all := maps.Clone(r.headers)
	maps.Copy(all, headers)
	response, err := Send(&Request{
		Method: "POST", TLS: r.TLS, Authority: r.Authority, Path: r.Path, Headers: all, Body: body,
		Timeout: r.Timeout, ReadAtMost: readAtMost,
	})
	if err != nil {
		return nil, err
	}
	return response, Accepted(response)
}

// Accepted returns what a response means for the envelope: nil for 2xx, RetryLater for 408, 429 and
// 5xx, Broken for 3xx, 401 and 403, Rejected for any other status.
func Accepted(response *Response) error {
	reason := fmt.Sprintf("the receiver returned status %d", response.Status)
	line, _, _ := strings.Cut(strings.TrimSpace(string(response.Body)), "\n")
	if line != "" {
		reason += ": " + line[:min(len(line), 300)]
	}
	switch status := response.Status; {
	case status >= 200 && status <= 299:
		return nil
	case status >= 300 && status <= 399:
		// Samples go only where the operator configured.
		return nephometer.Broken(reason + " (redirects are not followed)")
	case status == 401 || status == 403:
		return nephometer.Broken(reason)
	case status == 408 || status == 429 || status >= 500:
		return nephometer.RetryLater{Reason: reason, AfterMS: RetryAfter(response)}
	}
	return nephometer.Rejected(reason)
}

// RetryAfter returns the delay in milliseconds that the header retry-after requests, at most a day;
// nil if there is none. A date is compared with the header date of the same response, so the local
// clock does not matter.
func RetryAfter(response *Response) *uint64 {
	value := strings.TrimSpace(response.Headers["retry-after"])
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			seconds = math.MaxUint32
		}
		return new(min(seconds, maxDelayMS/1000) * 1000)
	}
	until, err := time.Parse(dateForm, value)
	now, errNow := time.Parse(dateForm, strings.TrimSpace(response.Headers["date"]))
	if err != nil || errNow != nil {
		return nil
	}
	return new(uint64(min(max(until.Sub(now).Milliseconds(), 0), maxDelayMS)))
}
