"""The log of the component.

Without a host the lines are kept in memory, where tests read them with `taken`.
"""

_MAX_LINES = 1000
_lines: list[tuple[str, str]] = []


def _remember(level: str, message: str):
    if len(_lines) < _MAX_LINES:
        _lines.append((level, message))


_sink = _remember


def send_to(sink):
    """Redirects all lines; `nephometer.export` sends them to the host."""
    global _sink
    _sink = sink


def write(level: str, message: str):
    """Writes one line; the level is trace, debug, info, warn or error."""
    _sink(level, message)


def taken() -> list[tuple[str, str]]:
    """Returns what was logged without a host since the last call: the first 1,000 lines."""
    lines = _lines[:]
    _lines.clear()
    return lines


def trace(message: str):
    """Writes a detail, for authors."""
    write("trace", message)


def debug(message: str):
    """Writes a line for finding faults."""
    write("debug", message)


def info(message: str):
    """Writes a line worth knowing."""
    write("info", message)


def warn(message: str):
    """Writes that something is unexpected, but the work goes on."""
    write("warn", message)


def error(message: str):
    """Writes that something failed."""
    write("error", message)
