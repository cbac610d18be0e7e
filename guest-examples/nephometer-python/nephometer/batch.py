"""Batches: columns of numbers over a dictionary of meters and resources."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

# The origin of a row that comes from no input row.
NO_ORIGIN = 0xFFFFFFFF


class Meter(NamedTuple):
    """What is measured. `type` is "gauge", "delta" or "cumulative"."""

    name: str
    unit: str
    type: str


class Resource:
    """A metered thing with its owner. `metadata` is a dict, parsed when it is first asked for."""

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
    def metadata_text(self) -> str:
        return json.dumps(self.metadata) if self._text is None else self._text

    def _owned(self):
        return (self.id, self.source, self.project_id, self.user_id)

    def __eq__(self, other):
        if not isinstance(other, Resource) or self._owned() != other._owned():
            return False
        same_text = self._text is not None and self._text == other._text
        return same_text or self.metadata == other.metadata

    # By what tells most of them apart; equality looks at the metadata too.
    def __hash__(self):
        return hash(self._owned())

    def __repr__(self):
        return f"Resource{self._owned() + (self.metadata_text,)!r}"


@dataclass
class Batch:
    """The samples of one tick. The columns meter, resource, time, monotonic and volume have one entry per row."""

    meters: list[Meter]
    resources: list[Resource]
    meter: list[int]
    resource: list[int]
    time: list[int]
    monotonic: list[int]
    volume: list[float]
    gone: list[str]


class Row(NamedTuple):
    """One row of a batch, its dictionary entries looked up."""

    # Its number in the batch: the origin of what is made of it.
    number: int
    meter_index: int
    resource_index: int
    meter: Meter
    resource: Resource
    # When the value was true, in nanoseconds since the epoch.
    time: int
    # Nanoseconds of a clock that never goes back; None where it is not known.
    monotonic: int | None
    # The value, in the meter's unit.
    volume: float


def rows(batch: Batch) -> Iterator[Row]:
    """The rows of a batch, in order."""
    meters, resources = batch.meters, batch.resources
    columns = zip(batch.meter, batch.resource, batch.time, batch.monotonic, batch.volume)
    for number, (meter, resource, time, monotonic, volume) in enumerate(columns):
        yield Row(number, meter, resource, meters[meter], resources[resource], time, monotonic or None, volume)
