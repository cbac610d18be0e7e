#!/usr/bin/env python3
"""Ceilometer's own transformers, of the last release that has them, as a program.

Reads a stream a line: {"name": ..., "parameters": {...}, "ticks": [[sample, ...], ...]}. Each sample goes through the
transformer, which is flushed at the end of a tick, when the clock shows the newest timestamp so far. One that it fails on is dropped, as Ceilometer's
pipeline does. Writes a line for each stream: what came out."""
import datetime
import fnmatch
import json
import logging
import sys

import oslo_utils

# What this release takes from oslo.utils is the standard library's by now.
oslo_utils.fnmatch = sys.modules["oslo_utils.fnmatch"] = fnmatch

from ceilometer import sample  # noqa: E402
from ceilometer.transformer import accumulator, arithmetic, conversions  # noqa: E402
from oslo_utils import timeutils  # noqa: E402

logging.disable(logging.CRITICAL)

TRANSFORMERS = {
    "rate_of_change": conversions.RateOfChangeTransformer,
    "unit_conversion": conversions.ScalingTransformer,
    "delta": conversions.DeltaTransformer,
    "aggregator": conversions.AggregatorTransformer,
    "accumulator": accumulator.TransformerAccumulator,
    "arithmetic": arithmetic.ArithmeticTransformer,
}
KEYS = ["name", "type", "unit", "volume", "user_id", "project_id", "resource_id", "timestamp", "resource_metadata"]


def through(transformer, ticks):
    made, newest = [], ""
    for tick in ticks:
        for one in tick:
            newest = max(newest, one["timestamp"])
            one = sample.Sample(monotonic_time=one["monotonic_time"], **{key: one[key] for key in KEYS})
            try:
                made.append(transformer.handle_sample(one))
            except Exception:
                pass
        if newest:
            timeutils.set_time_override(datetime.datetime.fromisoformat(newest))
        made.extend(transformer.flush())
    # What cannot be computed is None.
    return [{key: getattr(one, key) for key in KEYS} for one in made if one is not None]


for line in sys.stdin:
    stream = json.loads(line)
    transformer = TRANSFORMERS[stream["name"]](**stream["parameters"])
    print(json.dumps(through(transformer, stream["ticks"])), flush=True)
