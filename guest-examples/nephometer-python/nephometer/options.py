"""Reads options and collects errors."""

from typing import Any

from nephometer import log


class OptionErrors(Exception):
    """All errors in the options: pairs of a JSON Pointer and a reason."""

    def __init__(self, errors: list[tuple[str, str]]):
        super().__init__("; ".join(f"{pointer}: {reason}" for pointer, reason in errors))
        self.errors = errors


class OptionReader:
    """One mapping of the options.

    All readers of one set of options share a list of errors, so that `check` reports all of them at
    once. A key that is absent or null is None; a key of another type than expected is an error, and
    None.
    """

    def __init__(self, value: Any, pointer: str = "", errors: list[tuple[str, str]] | None = None):
        self._pointer = pointer
        self._errors = [] if errors is None else errors
        self._object = value if isinstance(value, dict) else {}
        if not isinstance(value, dict) and value is not None:
            self._errors.append((pointer, f"is {_kind(value)}; expected a mapping of keys to values"))

    def _place(self, *keys: str | int) -> str:
        return self._pointer + "".join(f"/{escape_pointer(str(key))}" for key in keys)

    def refuse(self, *keys_and_reason):
        """Adds an error for a key, or for a value below it: `refuse("bands", 3, "is empty")`."""
        *keys, reason = keys_and_reason
        self._errors.append((self._place(*keys), reason))

    def check(self):
        """Raises all errors, if there are any."""
        if self._errors:
            raise OptionErrors(self._errors)

    def keys(self) -> list[str]:
        """The keys that have a value, in the order of the options."""
        return [key for key, value in self._object.items() if value is not None]

    def value(self, key: str) -> Any:
        """The value of a key as it is."""
        return self._object.get(key)

    def object(self, key: str) -> "OptionReader":
        """The mapping under a key; an empty one if it is absent."""
        return OptionReader(self.value(key), self._place(key), self._errors)

    def objects(self, key: str) -> list["OptionReader"]:
        """The list of mappings under a key; an empty one if it is absent."""
        items = self._typed(key, list, "a list") or []
        return [OptionReader(item, self._place(key, index), self._errors) for index, item in enumerate(items)]

    def text(self, key: str) -> str | None:
        """The string under a key."""
        return self._typed(key, str, "a string")

    def number(self, key: str) -> int | float | None:
        """The number under a key; true and false are not numbers."""
        return self._typed(key, (int, float), "a number")

    def _typed(self, key: str, kinds, wanted: str):
        value = self.value(key)
        if value is None or (isinstance(value, kinds) and not isinstance(value, bool)):
            return value
        self.refuse(key, f"is {_kind(value)}; expected {wanted}")
        return None

    def warn_of_unknown(self, known: list[str]):
        """Logs a warning for each unknown key."""
        for key in self._object:
            if key not in known:
                log.warn(f"unknown option {self._place(key)} is ignored")


def escape_pointer(key: str) -> str:
    """A key as part of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds = {int: "a number", float: "a number", str: "a string", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), "null")
