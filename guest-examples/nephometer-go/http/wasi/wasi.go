//go:build wasm

// Package wasi sends requests over wasi:http. It works in a component of the world http-publisher
// only.
//
// Resources must be released child before parent, as wasi:io requires: a pollable before its stream,
// a stream before its body.
package wasi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nephometer"
	clock "nephometer/bindings/wasi_clocks_monotonic_clock"
	handler "nephometer/bindings/wasi_http_outgoing_handler"
	types "nephometer/bindings/wasi_http_types"
	iopoll "nephometer/bindings/wasi_io_poll"
	"nephometer/http"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// In the order of the contract.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

var makeMethods = []func() types.Method{
	types.MakeMethodGet, types.MakeMethodHead, types.MakeMethodPost, types.MakeMethodPut, types.MakeMethodDelete,
	types.MakeMethodConnect, types.MakeMethodOptions, types.MakeMethodTrace, types.MakeMethodPatch,
}

// subscriber is a resource that can be waited for.
type subscriber interface{ Subscribe() *iopoll.Pollable }

// Send sends a request as http.Send describes it.
func Send(request *http.Request) (*http.Response, error) {
	timeout := wit.Some(uint64(request.Timeout.Nanoseconds()))
	deadline := clock.SubscribeDuration(timeout.Some())
	defer deadline.Drop()
	outgoing, err := prepare(request)
	if err != nil {
		return nil, err
	}
	body := outgoing.Body().Ok()
	options := types.MakeRequestOptions()
	options.SetConnectTimeout(timeout)
	options.SetFirstByteTimeout(timeout)
	options.SetBetweenBytesTimeout(timeout)
	// The body is read from here on, so it must not be written earlier.
	handled := handler.Handle(outgoing, wit.Some(options))
	if handled.Tag() == wit.ResultErr {
		body.Drop()
		return nil, failure(handled.Err())
	}
	future := handled.Ok()
	defer future.Drop()
	if err := write(body, request.Body, deadline); err != nil {
		return nil, err
	}
	incoming, err := response(future, deadline)
	if err != nil {
		return nil, err
	}
	defer incoming.Drop()
	return &http.Response{
		Status:  incoming.Status(),
		Headers: headers(incoming),
		Body:    read(incoming, request.ReadAtMost, deadline),
	}, nil
}

func prepare(request *http.Request) (*types.OutgoingRequest, error) {
	fields := types.MakeFields()
	fields.Append("content-length", []byte(strconv.Itoa(len(request.Body))))
	for name, value := range request.Headers {
		if fields.Append(name, []byte(value)).Tag() == wit.ResultErr {
			fields.Drop()
			return nil, nephometer.Broken("invalid header " + name)
		}
	}
	outgoing := types.MakeOutgoingRequest(fields)
	method := types.MakeMethodOther(request.Method)
	if index := slices.Index(methods, request.Method); index >= 0 {
		method = makeMethods[index]()
	}
	scheme := types.MakeSchemeHttp()
	if request.TLS {
		scheme = types.MakeSchemeHttps()
	}
	set := []wit.Result[wit.Unit, wit.Unit]{
		outgoing.SetMethod(method),
		outgoing.SetScheme(wit.Some(scheme)),
		outgoing.SetAuthority(wit.Some(request.Authority)),
		outgoing.SetPathWithQuery(wit.Some(request.Path)),
	}
	if slices.ContainsFunc(set, func(one wit.Result[wit.Unit, wit.Unit]) bool { return one.Tag() == wit.ResultErr }) {
		outgoing.Drop()
		return nil, nephometer.Broken(fmt.Sprintf("%q is not HOST[:PORT]", request.Authority))
	}
	return outgoing, nil
}

// Writes the body. A stream that closes early is not an error here: a server may respond before it
// has read everything, and otherwise waiting for the response returns a more precise error.
func write(body *types.OutgoingBody, content []byte, deadline *iopoll.Pollable) error {
	stream := body.Write().Ok()
	closed, err := writeTo(stream, content, deadline)
	stream.Drop()
	if closed || err != nil {
		body.Drop()
		return err
	}
	types.OutgoingBodyFinish(body, wit.None[*types.Fields]())
	return nil
}

// Returns whether the stream closed early, or that the time is over.
func writeTo(stream *types.OutputStream, content []byte, deadline *iopoll.Pollable) (bool, error) {
	flushed := false
	for {
		permitted := stream.CheckWrite()
		if permitted.Tag() == wit.ResultErr {
			return true, nil
		}
		length := min(permitted.Ok(), uint64(len(content)))
		switch {
		case permitted.Ok() == 0:
			if err := wait(stream, deadline); err != nil {
				return false, err
			}
		case length > 0:
			if stream.Write(content[:length]).Tag() == wit.ResultErr {
				return true, nil
			}
			content = content[length:]
		case flushed:
			return false, nil
		default:
			flushed = true
			if stream.Flush().Tag() == wit.ResultErr {
				return true, nil
			}
		}
	}
}

func response(future *types.FutureIncomingResponse, deadline *iopoll.Pollable) (*types.IncomingResponse, error) {
	for {
		got := future.Get()
		if got.IsNone() {
			if err := wait(future, deadline); err != nil {
				return nil, err
			}
			continue
		}
		// The outer result is an error only if the response was taken before.
		result := got.Some().Ok()
		if result.Tag() == wit.ResultErr {
			return nil, failure(result.Err())
		}
		return result.Ok(), nil
	}
}

func headers(incoming *types.IncomingResponse) map[string]string {
	fields := incoming.Headers()
	defer fields.Drop()
	all := map[string]string{}
	for _, one := range fields.Entries() {
		all[strings.ToLower(one.F0)] = string(one.F1)
	}
	return all
}

// The first bytes of the body: of one that ends early or is late, what there is.
func read(incoming *types.IncomingResponse, atMost int, deadline *iopoll.Pollable) []byte {
	consumed := incoming.Consume()
	if consumed.Tag() == wit.ResultErr {
		return nil
	}
	body := consumed.Ok()
	defer body.Drop()
	opened := body.Stream()
	if opened.Tag() == wit.ResultErr {
		return nil
	}
	stream := opened.Ok()
	defer stream.Drop()
	var content []byte
	for len(content) < atMost {
		chunk := stream.Read(uint64(atMost - len(content)))
		if chunk.Tag() == wit.ResultErr {
			break
		}
		content = append(content, chunk.Ok()...)
		if len(chunk.Ok()) == 0 && wait(stream, deadline) != nil {
			break
		}
	}
	return content
}

func wait(on subscriber, deadline *iopoll.Pollable) error {
	ready := on.Subscribe()
	defer ready.Drop()
	if slices.Contains(iopoll.Poll([]*iopoll.Pollable{ready, deadline}), 0) {
		return nil
	}
	return nephometer.RetryLater{Reason: "timed out"}
}

// Refused requests need an operator, failed ones may succeed later.
func failure(code types.ErrorCode) error {
	switch code.Tag() {
	case types.ErrorCodeDestinationIpProhibited, types.ErrorCodeHttpRequestDenied:
		return nephometer.Broken("the host does not grant this address to the component")
	case types.ErrorCodeHttpRequestMethodInvalid, types.ErrorCodeHttpRequestUriInvalid,
		types.ErrorCodeHttpRequestUriTooLong, types.ErrorCodeHttpRequestHeaderSize,
		types.ErrorCodeHttpRequestHeaderSectionSize, types.ErrorCodeConfigurationError:
		return nephometer.Broken("the host refuses the request as invalid")
	case types.ErrorCodeDnsTimeout, types.ErrorCodeDnsError:
		return nephometer.RetryLater{Reason: "host name not found"}
	case types.ErrorCodeConnectionRefused:
		return nephometer.RetryLater{Reason: "connection refused"}
	case types.ErrorCodeConnectionTimeout, types.ErrorCodeConnectionReadTimeout,
		types.ErrorCodeConnectionWriteTimeout, types.ErrorCodeHttpResponseTimeout:
		return nephometer.RetryLater{Reason: "timed out"}
	case types.ErrorCodeConnectionTerminated, types.ErrorCodeHttpResponseIncomplete:
		return nephometer.RetryLater{Reason: "connection terminated"}
	case types.ErrorCodeTlsProtocolError, types.ErrorCodeTlsCertificateError, types.ErrorCodeTlsAlertReceived:
		return nephometer.RetryLater{Reason: "TLS failed"}
	case types.ErrorCodeInternalError:
		if reason := code.InternalError(); !reason.IsNone() {
			return nephometer.RetryLater{Reason: reason.Some()}
		}
	}
	return nephometer.RetryLater{Reason: fmt.Sprintf("the request failed (error-code %d of wasi:http)", code.Tag())}
}
