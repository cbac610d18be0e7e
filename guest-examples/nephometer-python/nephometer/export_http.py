"""The exports of the world `http-publisher`, and the requests over `wasi:http`. It works in a component only.

    Component, Publish = nephometer.export_http.publisher(MyPublisher)

Resources must be released child before parent, as `wasi:io` requires: a pollable before its stream,
a stream before its body.
"""

import re

from componentize_py_types import Err, Ok
from wit_world.imports import monotonic_clock, outgoing_handler, poll, wasi_http_types

from nephometer import http
from nephometer.export_publisher import publisher
from nephometer.http import Request, Response
from nephometer.publisher import RetryLater
from nephometer.transformer import Broken

__all__ = ["publisher"]

_METHODS = {
    "GET": wasi_http_types.Method_Get,
    "POST": wasi_http_types.Method_Post,
    "PUT": wasi_http_types.Method_Put,
    "DELETE": wasi_http_types.Method_Delete,
    "PATCH": wasi_http_types.Method_Patch,
}
_NOT_GRANTED = (wasi_http_types.ErrorCode_DestinationIpProhibited, wasi_http_types.ErrorCode_HttpRequestDenied)
_INVALID = (
    wasi_http_types.ErrorCode_HttpRequestMethodInvalid,
    wasi_http_types.ErrorCode_HttpRequestUriInvalid,
    wasi_http_types.ErrorCode_HttpRequestUriTooLong,
    wasi_http_types.ErrorCode_HttpRequestHeaderSize,
    wasi_http_types.ErrorCode_HttpRequestHeaderSectionSize,
    wasi_http_types.ErrorCode_ConfigurationError,
)


def _send(request: Request) -> Response:
    timeout = int(request.timeout * 10**9)
    with monotonic_clock.subscribe_duration(timeout) as deadline:
        outgoing = _prepare(request)
        body = outgoing.body()
        options = wasi_http_types.RequestOptions()
        options.set_connect_timeout(timeout)
        options.set_first_byte_timeout(timeout)
        options.set_between_bytes_timeout(timeout)
        try:
            # The body is read from here on, so it must not be written earlier.
            future = outgoing_handler.handle(outgoing, options)
        except Err as error:
            raise _failure(error.value) from None
        with future:
            _write(body, request.body, deadline)
            with _response(future, deadline) as response:
                with response.headers() as fields:
                    headers = {name.lower(): value.decode(errors="replace") for name, value in fields.entries()}
                return Response(response.status(), headers, _read(response, request.read_at_most, deadline))


def _prepare(request: Request):
    fields = wasi_http_types.Fields()
    try:
        for name, value in (request.headers | {"content-length": str(len(request.body))}).items():
            fields.append(name, value.encode())
    except Err as error:
        raise Broken(f"invalid header: {error.value}") from None
    outgoing = wasi_http_types.OutgoingRequest(fields)
    method = _METHODS.get(request.method)
    try:
        outgoing.set_method(method() if method else wasi_http_types.Method_Other(request.method))
        outgoing.set_scheme(wasi_http_types.Scheme_Https() if request.tls else wasi_http_types.Scheme_Http())
        outgoing.set_authority(request.authority)
        outgoing.set_path_with_query(request.path)
    except Err:
        raise Broken(f"{request.authority!r} is not HOST[:PORT]") from None
    return outgoing


def _write(body, content: bytes, deadline):
    """Writes the body.

    A stream that closes early is not an error here: a server may respond before it has read everything,
    and otherwise waiting for the response returns a more precise error.
    """
    try:
        with body.write() as stream:
            while content:
                length = stream.check_write()
                if length == 0:
                    _wait(stream, deadline)
                stream.write(content[:length])
                content = content[length:]
            stream.flush()
            while stream.check_write() == 0:
                _wait(stream, deadline)
        wasi_http_types.OutgoingBody.finish(body, None)
    except Err:
        pass


def _response(future, deadline):
    while (result := future.get()) is None:
        _wait(future, deadline)
    # The outer result is an error only if the response was taken before.
    result = getattr(result, "value", result)
    if isinstance(result, Err):
        raise _failure(result.value)
    return result.value if isinstance(result, Ok) else result


def _read(response, at_most: int, deadline) -> bytes:
    """The first bytes of the body: of one that ends early or is late, what there is."""
    content = b""
    try:
        with response.consume() as body, body.stream() as stream:
            while len(content) < at_most:
                chunk = stream.read(at_most - len(content))
                if not chunk:
                    _wait(stream, deadline)
                content += chunk
    except (Err, RetryLater):
        pass
    return content


def _wait(on, deadline):
    with on.subscribe() as ready:
        if 0 not in poll.poll([ready, deadline]):
            raise RetryLater("timed out")


def _failure(code) -> Exception:
    """Refused requests need an operator, failed ones may succeed later."""
    if isinstance(code, _NOT_GRANTED):
        return Broken("the host does not grant this address to the component")
    if isinstance(code, _INVALID):
        return Broken(_words(code))
    return RetryLater(_words(code))


def _words(code) -> str:
    """A readable message, made of the generated name: `ErrorCode_ConnectionRefused` becomes `connection refused`."""
    name = type(code).__name__.removeprefix("ErrorCode_")
    if name == "InternalError" and code.value:
        return code.value
    if name.startswith("Dns"):
        return "host name not found"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


http.send_with(_send)
