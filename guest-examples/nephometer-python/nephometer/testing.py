"""Batches from samples, and samples from answers, for tests without a host.

Samples are dicts in the keys that `nephometer component run` reads and prints.
"""

from datetime import datetime, timezone
from typing import Any

from nephometer.answer import Answer
from nephometer.batch import NO_ORIGIN, Batch, Meter, Resource
from nephometer.transformer import UNCHANGED, Keep

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def nanoseconds(timestamp: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 timestamp with its offset."""
    since = datetime.fromisoformat(timestamp) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def batch_of(samples: list[dict[str, Any]]) -> Batch:
    """A batch with one row per sample."""
    batch = Batch([], [], [], [], [], [], [], [])
    for sample in samples:
        meter = Meter(sample["name"], sample["unit"], sample["type"])
        resource = Resource(
            sample["resource_id"],
            sample.get("source", "openstack"),
            sample.get("project_id"),
            sample.get("user_id"),
            sample.get("resource_metadata"),
        )
        batch.meter.append(_number(batch.meters, meter))
        batch.resource.append(_number(batch.resources, resource))
        batch.time.append(nanoseconds(sample["timestamp"]))
        batch.monotonic.append(0)
        batch.volume.append(float(sample["volume"]))
    return batch


def _number(entries: list, wanted) -> int:
    if wanted not in entries:
        entries.append(wanted)
    return entries.index(wanted)


def samples_of(outcome, batch: Batch | None = None) -> list[dict[str, Any]]:
    """The samples that an outcome stands for; `time` is in nanoseconds, `origin` is None for rows that come from none."""
    if outcome is None:
        return []
    if outcome is UNCHANGED:
        outcome = Keep(list(range(len(batch.volume))))
    if isinstance(outcome, Keep):
        pick = lambda column: [column[row] for row in outcome.rows]
        columns = map(pick, (batch.meter, batch.resource, batch.time, batch.volume))
        outcome = Answer([], [], outcome.rows, *columns)
    meters = (batch.meters if batch else []) + outcome.meters
    resources = (batch.resources if batch else []) + outcome.resources
    lengths = {len(column) for column in (outcome.origin, outcome.meter, outcome.resource, outcome.time, outcome.volume)}
    assert len(lengths) == 1, f"columns of unequal length: {lengths}"
    columns = zip(outcome.origin, outcome.meter, outcome.resource, outcome.time, outcome.volume)
    return [
        {
            "name": meters[meter].name,
            "unit": meters[meter].unit,
            "type": meters[meter].type,
            "resource_id": resources[resource].id,
            "source": resources[resource].source,
            "project_id": resources[resource].project_id,
            "user_id": resources[resource].user_id,
            "resource_metadata": resources[resource].metadata,
            "time": time,
            "volume": volume,
            "origin": None if origin == NO_ORIGIN else origin,
        }
        for origin, meter, resource, time, volume in columns
    ]
