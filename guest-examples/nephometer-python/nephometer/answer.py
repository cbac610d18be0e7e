"""Answers: the rows that take the place of the input's."""

from dataclasses import dataclass, field

from nephometer.batch import NO_ORIGIN, Batch, Meter, Resource, Row


@dataclass
class Answer:
    """New dictionary entries, numbered on from the input's, and columns with one entry per row."""

    meters: list[Meter] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)
    meter: list[int] = field(default_factory=list)
    resource: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    volume: list[float] = field(default_factory=list)


class AnswerBuilder:
    """Makes an answer, row by row; without a batch the answer to a flush.

    New meters and resources are numbered by their content: asking for the same one again gives the
    same number, and one that the input has already gives the input's.
    """

    def __init__(self, batch: Batch | None = None):
        self._answer = Answer()
        self._meters = _Entries(batch.meters if batch else [], self._answer.meters)
        self._resources = _Entries(batch.resources if batch else [], self._answer.resources)

    def meter(self, meter: Meter) -> int:
        """The number of a meter."""
        return self._meters.number(meter)

    def resource(self, resource: Resource) -> int:
        """The number of a resource."""
        return self._resources.number(resource)

    def keep(self, row: Row):
        """Adds a row that passes as it is."""
        self._add(row.number, row.meter_index, row.resource_index, row.time, row.volume)

    def derive(self, row: Row, meter: int, volume: float):
        """Adds a row made of another: same resource and time, another meter and value."""
        self._add(row.number, meter, row.resource_index, row.time, volume)

    def create(self, meter: int, resource: int, time: int, volume: float):
        """Adds a row that comes from no input row."""
        self._add(NO_ORIGIN, meter, resource, time, volume)

    def _add(self, origin: int, meter: int, resource: int, time: int, volume: float):
        answer = self._answer
        answer.origin.append(origin)
        answer.meter.append(meter)
        answer.resource.append(resource)
        answer.time.append(time)
        answer.volume.append(volume)

    def finish(self) -> Answer:
        """The answer."""
        return self._answer


class _Entries:
    def __init__(self, given: list, new: list):
        self._given = given
        self._new = new
        self._numbers = None

    def number(self, wanted) -> int:
        if self._numbers is None:
            # Backwards, so that the first of equal entries has the say.
            self._numbers = {one: number for number, one in reversed(list(enumerate(self._given)))}
        number = self._numbers.get(wanted)
        if number is None:
            number = len(self._given) + len(self._new)
            self._new.append(wanted)
            self._numbers[wanted] = number
        return number
