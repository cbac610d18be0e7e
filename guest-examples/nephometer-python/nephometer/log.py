"""The component's own log.

Without a host the lines go to a small memory, for tests to look at with `taken`.
"""

_REMEMBERED = 1000
_lines: list[tuple[str, str]] = []


def _remember(level: str, message: str):
    if len(_lines) < _REMEMBERED:
        _lines.append((level, message))


_sink = _remember


def send_to(sink):
    """Sends all lines to the host's log; `nephometer.export` does it."""
    global _sink
    _sink = sink


def write(level: str, message: str):
    """Writes one line; the level is trace, debug, info, warn or error."""
    _sink(level, message)


def taken() -> list[tuple[str, str]]:
    """What has been logged since this was last asked, without a host: the first 1,000 lines."""
    lines = _lines[:]
    _lines.clear()
    return lines


def trace(message: str):
    """Every detail, for the author."""
    write("trace", message)


def debug(message: str):
    """For finding faults."""
    write("debug", message)


def info(message: str):
    """Worth knowing."""
    write("info", message)


def warn(message: str):
    """Something is not as it should be; work goes on."""
    write("warn", message)


def error(message: str):
    """Something failed."""
    write("error", message)
