"""Builds answers: the rows that replace those of the input."""

from dataclasses import dataclass

from nephometer.batch import NO_ORIGIN, Batch, Meter, Resource, Row, needs_exact
from nephometer.dictionary import DICTIONARY


@dataclass
class Derived:
    """Rows computed from input rows, with their resources and times."""

    origin: list[int]
    meter: list[int]
    volume: list[float]
    # By row: the exact values of integers of 2^53 or more.
    exact: dict[int, int]


@dataclass
class Answer:
    """Any rows. The columns have one entry per row."""

    origin: list[int]
    meter: list[int]
    resource: list[int]
    time: list[int]
    volume: list[float]
    # By row: the exact values of integers of 2^53 or more.
    exact: dict[int, int]


class AnswerBuilder:
    """Builds an answer, row by row; without a batch the answer to a flush.

    New meters and resources are numbered by content: the same content has the same number. Ask again
    in each answer, because numbers are not valid for ever. The host receives an entry once.
    """

    __slots__ = ("_batch", "_exact", "_meter", "_origin", "_resource", "_time", "_volume")

    def __init__(self, batch: Batch | None = None):
        self._batch = batch
        self._origin: list[int] = []
        self._meter: list[int] = []
        self._volume: list[float] = []
        self._exact: dict[int, int] = {}
        # Of created rows only: the others have the resource and time of their origin.
        self._resource: list[int] = []
        self._time: list[int] = []

    def meter(self, meter: Meter) -> int:
        """The number of a new meter. That of an input row is `row.meter_number`."""
        return DICTIONARY.own_meters.number(meter)

    def resource(self, resource: Resource) -> int:
        """The number of a new resource. That of an input row is `row.resource_number`."""
        return DICTIONARY.own_resources.number(resource.content)

    def keep(self, row: Row):
        """Adds a row of the input unchanged."""
        self._origin.append(row.number)
        self._meter.append(row.meter_number)
        self._volume.append(row.volume)

    def derive(self, row: Row, meter: int, volume: float):
        """Adds a row computed from an input row: same resource and time, another meter or value."""
        self._origin.append(row.number)
        self._meter.append(meter)
        self._volume.append(volume)

    def derive_integer(self, row: Row, meter: int, value: int):
        """Like `derive`, with an exact integer.

        One that 64 bits cannot hold becomes the nearest float.
        """
        self._note_exact(value)
        self.derive(row, meter, float(value))

    def create(self, meter: int, resource: int, time: int, volume: float):
        """Adds a row that is not computed from an input row."""
        self._origin.append(NO_ORIGIN)
        self._meter.append(meter)
        self._resource.append(resource)
        self._time.append(time)
        self._volume.append(volume)

    def create_integer(self, meter: int, resource: int, time: int, value: int):
        """Like `create`, with an exact integer as in `derive_integer`."""
        self._note_exact(value)
        self.create(meter, resource, time, float(value))

    def _note_exact(self, value: int):
        if needs_exact(value):
            self._exact[len(self._origin)] = value

    def finish(self) -> Derived | Answer:
        """The answer. It is `Derived` if all rows come from rows of the input, in their order."""
        origin, batch = self._origin, self._batch
        if batch is None:
            if len(self._resource) != len(origin):
                raise ValueError("rows that come from a batch need AnswerBuilder(batch)")
            return Answer(origin, self._meter, self._resource, self._time, self._volume, self._exact)
        if not self._resource and origin == sorted(origin):
            return Derived(origin, self._meter, self._volume, self._exact)
        created = iter(self._resource), iter(self._time)
        resource, time = (
            [next(own) if row == NO_ORIGIN else column[row] for row in origin]
            for own, column in zip(created, (batch.resource, batch.time))
        )
        return Answer(origin, self._meter, resource, time, self._volume, self._exact)
