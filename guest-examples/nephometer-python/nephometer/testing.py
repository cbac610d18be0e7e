"""Batches and envelopes from samples, and samples from answers, for tests without a host.

Samples are dicts in the keys that `nephometer component run` reads and prints. This module acts as
the host: one dictionary serves all batches of a test run, and its numbers are in a random order, so a
test whose result depends on numbers fails. `renumber` starts another order.
"""

import json
import random
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from nephometer.answer import Answer, Derived
from nephometer.batch import NO_ORIGIN, Batch, Meter, Resource, needs_exact
from nephometer.dictionary import DICTIONARY
from nephometer.publisher import Delivery
from nephometer.transformer import UNCHANGED, Keep

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def nanoseconds(timestamp: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 timestamp with its offset."""
    since = datetime.fromisoformat(timestamp) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


class _Numbers:
    """The numbers of meters or of resources, as a host assigns them."""

    # Numbers are drawn from this many at a time.
    _BLOCK = 64

    def __init__(self, chance: random.Random):
        self._chance = chance
        self._end = 0
        self._free: list[int] = []
        self.by_content: dict[tuple, int] = {}
        # Pairs of a number and a content that are not in the dictionary yet.
        self.new: list[tuple[int, tuple]] = []

    def number(self, content: tuple) -> int:
        number = self.by_content.get(content)
        if number is None:
            if not self._free:
                self._free = list(range(self._end, self._end + self._BLOCK))
                self._end += self._BLOCK
                self._chance.shuffle(self._free)
            number = self.by_content[content] = self._free.pop()
            self.new.append((number, content))
        return number

    def forget(self, contents: list[tuple]) -> list[int]:
        """The numbers of these entries. They are used again."""
        numbers = [self.by_content.pop(content) for content in contents]
        self._free += numbers
        self._chance.shuffle(self._free)
        return numbers


class _Host:
    def __init__(self, seed: int):
        chance = random.Random(seed)
        self.meters = _Numbers(chance)
        self.resources = _Numbers(chance)
        # Ids of resources that the previous batch reported as removed.
        self.removed: set[str] = set()
        # The component's own entries that were received with answers.
        self.own_meters: dict[int, tuple] = {}
        self.own_resources: dict[int, tuple] = {}

    def forget_removed(self):
        """Forgets the removed resources, as the host does after the batch that reported them."""
        removed = [content for content in self.resources.by_content if content[0] in self.removed]
        DICTIONARY.learn([], self.resources.forget(removed), [], [])
        self.removed = set()

    def send_new(self):
        meters = [(number, Meter(*content)) for number, content in self.meters.new]
        resources = [(number, Resource(*content)) for number, content in self.resources.new]
        DICTIONARY.learn([], [], meters, resources)
        self.meters.new, self.resources.new = [], []

    def receive(self, answer: Derived | Answer):
        self.own_meters.update(DICTIONARY.own_meters.take_fresh())
        if isinstance(answer, Answer):
            self.own_resources.update(DICTIONARY.own_resources.take_fresh())


_host = _Host(seed=1)


def renumber(seed: int):
    """Forgets the whole dictionary. The order of new numbers follows from the seed."""
    global _host
    numbers = [list(known.by_content.values()) for known in (_host.meters, _host.resources)]
    DICTIONARY.learn(*numbers, [], [])
    own_meters, own_resources = _host.own_meters, _host.own_resources
    _host = _Host(seed)
    _host.own_meters, _host.own_resources = own_meters, own_resources


def batch_of(samples: list[dict[str, Any]], removed: Sequence[str] = ()) -> Batch:
    """A batch with one row per sample, and the ids of resources that were removed."""
    DICTIONARY.begin()
    _host.forget_removed()
    _host.removed = set(removed)
    batch = Batch([], [], [], [], [], [], [], {}, list(removed))
    for row, sample in enumerate(samples):
        volume = sample["volume"]
        batch.meter.append(_host.meters.number((sample["name"], sample["unit"], sample["type"])))
        batch.resource.append(_host.resources.number(_resource_of(sample).content))
        batch.time.append(nanoseconds(sample["timestamp"]))
        batch.monotonic.append(0)
        batch.volume.append(float(volume))
        if isinstance(volume, int) and needs_exact(volume):
            batch.exact[row] = volume
    _host.send_new()
    # Copies, so that `samples_of` works for a batch after the next one was made.
    batch.meters, batch.resources = DICTIONARY.meters[:], DICTIONARY.resources[:]
    return batch


def delivery_of(samples: list[dict[str, Any]], id: str = "1", attempt: int = 1) -> Delivery:
    """An envelope with one row per sample, and each sample as its text."""
    return Delivery(id, attempt, batch_of(samples), [json.dumps(sample) for sample in samples])


def _resource_of(sample: dict[str, Any]) -> Resource:
    return Resource(
        sample["resource_id"],
        sample.get("source", "openstack"),
        sample.get("project_id"),
        sample.get("user_id"),
        sample.get("resource_metadata"),
    )


def samples_of(outcome, batch: Batch | None = None) -> list[dict[str, Any]]:
    """The samples that an outcome stands for.

    `time` is in nanoseconds; `origin` is None for rows that come from no input row.
    """
    if outcome is None:
        return []
    if outcome is UNCHANGED:
        outcome = Keep(list(range(len(batch.volume))))
    if isinstance(outcome, Keep):
        meter, volume = ([column[row] for row in outcome.rows] for column in (batch.meter, batch.volume))
        outcome = Derived(outcome.rows, meter, volume, {})
    else:
        _host.receive(outcome)
    if isinstance(outcome, Derived):
        resource, time = ([column[row] for row in outcome.origin] for column in (batch.resource, batch.time))
        outcome = Answer(outcome.origin, outcome.meter, resource, time, outcome.volume, outcome.exact)
    columns = (outcome.origin, outcome.meter, outcome.resource, outcome.time, outcome.volume)
    lengths = {len(column) for column in columns}
    assert len(lengths) == 1, f"columns of unequal length: {lengths}"
    return [_sample_of(batch, outcome, row, *fields) for row, fields in enumerate(zip(*columns))]


def _sample_of(batch, outcome, row, origin, meter, resource, time, volume) -> dict[str, Any]:
    meter = Meter(*_host.own_meters[meter]) if meter in _host.own_meters else batch.meters[meter]
    if resource in _host.own_resources:
        resource = Resource(*_host.own_resources[resource])
    else:
        resource = batch.resources[resource]
    # A row with the volume of its origin keeps its exact value.
    if origin != NO_ORIGIN and volume == batch.volume[origin]:
        volume = batch.exact.get(origin, volume)
    return {
        "name": meter.name,
        "unit": meter.unit,
        "type": meter.type,
        "resource_id": resource.id,
        "source": resource.source,
        "project_id": resource.project_id,
        "user_id": resource.user_id,
        "resource_metadata": resource.metadata,
        "time": time,
        "volume": outcome.exact.get(row, volume),
        "origin": None if origin == NO_ORIGIN else origin,
    }
