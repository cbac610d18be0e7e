"""Log lines that summarize rows."""

from nephometer import log
from nephometer.batch import Row


class Complaint:
    """One log line for all rows of a batch with the same problem."""

    def __init__(self, level: str, what: str):
        """`what` is what happens to the rows."""
        self._level = level
        self._what = what
        self._rows = 0
        self._first = ""

    def add(self, row: Row, reason: str = ""):
        """Counts a row. The first one is named in the line, with the reason; it may be empty."""
        if self._rows == 0:
            self._first = f"{row.meter.name} of {row.resource.id}" + (reason and f": {reason}")
        self._rows += 1

    def write(self):
        """Writes the line, unless there are no rows."""
        more = f", and {self._rows - 1} more" if self._rows > 1 else ""
        if self._rows:
            log.write(self._level, f"{self._what}: {self._first}{more}")
