"""HTTP requests for publishers, one at a time.

`Receiver` reads where to send from the URL of the publisher, and sends. In a component,
`nephometer.export_http` sends the requests over `wasi:http`; tests set a function of their own with
`send_with`.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from nephometer.publisher import RetryLater
from nephometer.transformer import Broken, Rejected
from nephometer.url import UrlOptions

# In seconds.
_DEFAULT_TIMEOUT = 5
_MAX_TIMEOUT = 300
# The options that `Receiver` reads: properties of a JSON Schema.
OPTIONS = {
    "tls": {"description": "HTTPS instead of HTTP.", "type": ["boolean", "null"], "default": False},
    "timeout": {
        "description": "Time limit of one request in seconds. Keep it below limits.wall, which ends the call.",
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": _MAX_TIMEOUT,
        "default": _DEFAULT_TIMEOUT,
    },
    "user": {
        "description": "The user for basic authentication; the user of the URL takes precedence.",
        "type": ["string", "null"],
    },
    "password": {"description": "The password of the user.", "type": ["string", "null"]},
}
# Longer delays than a day are cut.
_MAX_DELAY_MS = 24 * 3600 * 1000
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DATE = re.compile(r"\w+, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")


@dataclass
class Request:
    """An HTTP request."""

    method: str
    tls: bool
    # `HOST:PORT`, with an IPv6 address in brackets.
    authority: str
    # From the slash on, with the query, escaped.
    path: str
    # `content-length` is added.
    headers: dict[str, str]
    body: bytes
    # The time limit for the whole exchange, in seconds.
    timeout: float
    # The body of the response is cut after this many bytes.
    read_at_most: int = 2048


@dataclass
class Response:
    """An HTTP response; names of headers are in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def _no_host(_request: Request) -> Response:
    raise Broken("requests are sent in a component only; tests call nephometer.http.send_with")


_send: Callable[[Request], Response] = _no_host


def send_with(send: Callable[[Request], Response]):
    """Sets the function that sends requests: it raises `RetryLater` if there is no response, `Broken` if the host refuses."""
    global _send
    _send = send


def send(request: Request) -> Response:
    """Sends a request and returns the response, whatever its status."""
    return _send(request)


class Receiver:
    """The receiver that the URL of a publisher names: host, port and path, and the options in `OPTIONS`."""

    def __init__(self, options: UrlOptions):
        self.tls = options.flag("tls")
        host = options.host()
        port = options.port(443 if self.tls else 80)
        self.authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # As it is written, with its escapes.
        self.path = options.value("path") or "/"
        if not all("!" <= one <= "~" for one in self.path):
            options.refuse("path", "contains characters that must be escaped, such as %20 for a space")
        timeout = options.number("timeout")
        self.timeout = _DEFAULT_TIMEOUT if timeout is None else timeout
        if not 0 < self.timeout <= _MAX_TIMEOUT:
            options.refuse("timeout", f"expected more than 0 and at most {_MAX_TIMEOUT} seconds")
        self._headers = {}
        if user := options.user():
            credentials = f"{user}:{options.value('password') or ''}"
            self._headers["authorization"] = "Basic " + b64encode(credentials.encode()).decode()

    def post(self, body: str | bytes, headers: dict[str, str]) -> Response:
        """Posts a body, and returns the response if its status is 2xx.

        Raises `RetryLater` for 408, 429, 5xx and no response, `Broken` for 3xx, 401, 403 and an address
        that is not granted, and `Rejected` for any other 4xx.
        """
        body = body.encode() if isinstance(body, str) else body
        headers = self._headers | headers
        return accepted(send(Request("POST", self.tls, self.authority, self.path, headers, body, self.timeout)))


def accepted(response: Response) -> Response:
    """The response if its status is 2xx; otherwise raises what it means for the envelope."""
    status = response.status
    if 200 <= status <= 299:
        return response
    line = response.body.decode(errors="replace").strip().partition("\n")[0][:300]
    reason = f"the receiver returned status {status}" + (line and f": {line}")
    if 300 <= status <= 399:
        # Samples go only where the operator configured.
        raise Broken(f"{reason} (redirects are not followed)")
    if status in (401, 403):
        raise Broken(reason)
    if status in (408, 429) or status >= 500:
        raise RetryLater(reason, retry_after(response))
    raise Rejected(reason)


def retry_after(response: Response) -> int | None:
    """The delay in milliseconds that the header `retry-after` requests, at most a day.

    A date is compared with the header `date` of the same response, so the local clock does not matter.
    """
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value) * 1000, _MAX_DELAY_MS)
    until, now = _date(value), _date(response.headers.get("date", "").strip())
    if until is None or now is None:
        return None
    return min(max(int((until - now).total_seconds()) * 1000, 0), _MAX_DELAY_MS)


def _date(text: str) -> datetime | None:
    """Reads `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that senders may use."""
    parts = _DATE.fullmatch(text)
    try:
        day, month, year, *clock = parts.groups() if parts else ("", "", "")
        return datetime(int(year), _MONTHS.index(month) + 1, int(day), *map(int, clock))
    except ValueError:
        return None
