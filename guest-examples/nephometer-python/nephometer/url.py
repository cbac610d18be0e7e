"""Reads the options of a publisher, from its URL and its block."""

from typing import Any
from urllib.parse import unquote

from nephometer.options import OptionReader

_PARTS = ["url", "scheme", "host", "port", "path", "user", "password", "query"]


class UrlOptions:
    """The options of a publisher: the parts of its URL merged with the keys of its block.

    An option may be set in the query of the URL and in the block. The query takes precedence: it
    belongs to one place in `pipeline.yaml`, the block to all.
    """

    def __init__(self, options: dict[str, Any]):
        self._whole = OptionReader(options)
        self._query = self._whole.object("query")

    def host(self) -> str:
        """The host of the URL, without the brackets of an IPv6 address; an error if there is none."""
        host = self._whole.text("host") or ""
        if not host:
            self._whole.refuse("host", "the URL has no host; expected SCHEME://HOST[:PORT]")
        return host.removeprefix("[").removesuffix("]")

    def port(self, default: int) -> int:
        """The port of the URL, or the default."""
        port = self._whole.value("port")
        if port is None or (isinstance(port, int) and 0 < port < 65536):
            return port or default
        self._whole.refuse("port", "expected a number from 1 to 65535")
        return default

    def path(self) -> str:
        """The path of the URL without its first slash, with `%` escapes decoded."""
        return unquote((self._whole.text("path") or "").removeprefix("/"))

    def user(self) -> str | None:
        """The user of the URL, else of the block."""
        return self._whole.text("user") or None

    def text(self, key: str) -> str | None:
        """A string of the query, else of the block. The last one counts if the query repeats it."""
        text = self._of_query(key)
        return self._whole.text(key) if text is None else text

    def number(self, key: str) -> int | float | None:
        """A number of the query, else of the block."""
        text = self._of_query(key)
        if text is None:
            return self._whole.number(key)
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        # Neither infinite nor NaN.
        if number - number == 0:
            return number
        self._query.refuse(key, f"is {text!r}; expected a number")
        return None

    def flag(self, key: str) -> bool:
        """A boolean of the query (`true`, `false`, or the name alone for true), else of the block; false if absent."""
        text = self._of_query(key)
        if text is None:
            value = self._whole.value(key)
            if value is not None and not isinstance(value, bool):
                self._whole.refuse(key, "expected true or false")
            return value is True
        if text not in ("true", "yes", "1", "", "false", "no", "0"):
            self._query.refuse(key, f"is {text!r}; expected true or false")
        return text in ("true", "yes", "1", "")

    def value(self, key: str) -> Any:
        """A value of the block or of the URL as it is; the query is ignored."""
        return self._whole.value(key)

    def refuse(self, key: str, reason: str):
        """Adds an error for an option, in the query if it is set there."""
        reader = self._whole if self._query.value(key) is None else self._query
        reader.refuse(key, reason)

    def check(self):
        """Raises all errors as `OptionErrors`, if there are any."""
        self._whole.check()

    def warn_of_unknown(self, known: list[str]):
        """Logs a warning for each option that is not in `known`. The parts of the URL are always known."""
        self._whole.warn_of_unknown(_PARTS + known)
        self._query.warn_of_unknown(known)

    def _of_query(self, key: str) -> str | None:
        value = self._query.value(key)
        return value[-1] if isinstance(value, list) and value else value
