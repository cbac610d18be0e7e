from nephometer import log
from nephometer.batch import Row


class Complaint:
    """One log line for all rows of a batch with the same trouble."""

    def __init__(self, level: str, what: str):
        """`what` is what happens to the rows."""
        self._level = level
        self._what = what
        self._rows = 0
        self._first = ""

    def add(self, row: Row, reason: str = ""):
        """One more row, and why."""
        if self._rows == 0:
            self._first = f"{row.meter.name} of {row.resource.id}" + (reason and f": {reason}")
        self._rows += 1

    def write(self):
        """Writes the line, if there is one."""
        more = f", and {self._rows - 1} more" if self._rows > 1 else ""
        if self._rows:
            log.write(self._level, f"{self._what}: {self._first}{more}")
