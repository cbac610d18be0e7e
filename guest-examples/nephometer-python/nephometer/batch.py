"""Batches: columns of numbers, and the meters and resources that these stand for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

# The origin of a row that is not computed from an input row.
NO_ORIGIN = 0xFFFFFFFF

# Every integer below this one is exact as a float.
_LARGE = 2**53


class Meter(NamedTuple):
    """What is measured. `type` is "gauge", "delta" or "cumulative"."""

    name: str
    unit: str
    type: str


class Resource:
    """A metered resource with its owner. `metadata` is a dict, parsed when it is first read.

    A resource of the dictionary equals itself only: compare ids or numbers.
    """

    __slots__ = ("_metadata", "_text", "id", "project_id", "source", "user_id")

    def __init__(
        self,
        id: str,
        source: str,
        project_id: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | str | None = None,
    ):
        self.id = id
        self.source = source
        self.project_id = project_id
        self.user_id = user_id
        self._text = metadata if isinstance(metadata, str) else None
        self._metadata = None if isinstance(metadata, str) else metadata or {}

    @property
    def metadata(self) -> dict[str, Any]:
        if self._metadata is None:
            self._metadata = json.loads(self._text)
        return self._metadata

    @property
    def content(self) -> tuple[str, str, str | None, str | None, str]:
        """Id, source, project, user, and the metadata as text."""
        text = json.dumps(self._metadata) if self._text is None else self._text
        return (self.id, self.source, self.project_id, self.user_id, text)

    def __repr__(self):
        return f"Resource{self.content!r}"


@dataclass
class Batch:
    """Samples of one polling cycle.

    The columns meter, resource, time, monotonic and volume have one entry per row.
    """

    # The entries of the dictionary, indexed by number; None where a number is not in use.
    meters: list[Meter | None]
    resources: list[Resource | None]
    # Per row: the number of a meter, and of a resource.
    meter: list[int]
    resource: list[int]
    time: list[int]
    monotonic: list[int]
    volume: list[float]
    # By row: the exact values of integers of 2^53 or more. Usually empty.
    exact: dict[int, int]
    # Ids of resources that were removed.
    removed: list[str]


class Row:
    """One row of a batch, with its meter and its resource.

    The numbers of meter and resource are valid during this call only: the host uses them again for
    other entries.
    """

    # What `rows` stores here is read fast. The rest is looked up in the batch when it is read.
    __slots__ = ("_batch", "meter_number", "number", "resource", "resource_number", "time", "volume")

    # Its number in the batch: the origin of rows that are computed from it.
    number: int
    meter_number: int
    resource_number: int
    resource: Resource
    # When the value was read, in nanoseconds since the epoch.
    time: int
    # The value, in the meter's unit.
    volume: float

    @property
    def meter(self) -> Meter:
        return self._batch.meters[self.meter_number]

    @property
    def monotonic(self) -> int | None:
        """Nanoseconds of a clock that never goes back; None if unknown."""
        return self._batch.monotonic[self.number] or None

    @property
    def integer(self) -> int | None:
        """The exact value if it is a whole number, otherwise None."""
        exact = self._batch.exact.get(self.number)
        if exact is None and abs(self.volume) < _LARGE and self.volume.is_integer():
            return int(self.volume)
        return exact


def rows(batch: Batch) -> Iterator[Row]:
    """The rows of a batch, in order."""
    resources, new, number = batch.resources, Row.__new__, 0
    for meter, resource, time, volume in zip(batch.meter, batch.resource, batch.time, batch.volume):
        # A constructor with arguments would double the time.
        row = new(Row)
        row._batch = batch
        row.number = number
        row.meter_number = meter
        row.resource_number = resource
        row.resource = resources[resource]
        row.time = time
        row.volume = volume
        number += 1
        yield row


def needs_exact(value: int) -> bool:
    """Whether an integer goes into the column of exact values: beyond 2^53, and within 64 bits."""
    return abs(value) >= _LARGE and -(2**63) <= value < 2**63
