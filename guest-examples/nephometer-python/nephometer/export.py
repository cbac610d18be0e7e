"""The exports of the world, which call the transformer. It works in a component only.

componentize-py looks for classes with the names of the exported interfaces in the module that it
builds from:

    Component, Dictionary, Transform, Stateful = nephometer.export.stateful(MyTransformer)
"""

from componentize_py_types import Err
from wit_world.exports import dictionary, transform
from wit_world.imports import types

from nephometer import bridge
from nephometer.answer import Answer, Derived
from nephometer.batch import Batch
from nephometer.dictionary import DICTIONARY
from nephometer.options import OptionReader
from nephometer.transformer import UNCHANGED, Broken, Keep, Rejected, StateError

_TYPES = {kind.name.lower(): kind for kind in types.MeterType}


def stateful(transformer):
    """The classes Component, Dictionary, Transform and Stateful of a transformer with state."""
    return bridge.component_of(transformer, OptionReader), _Dictionary, _Transform, _Stateful


def stateless(transformer):
    """The classes Component, Dictionary and Transform of a transformer without state."""
    return bridge.component_of(transformer, OptionReader), _Dictionary, _Transform


def _refusing(call):
    """Converts refusals to the form that the bindings require, and logs any other exception."""

    def refusing(*arguments):
        try:
            return call(*arguments)
        except Rejected as refusal:
            raise Err(transform.Refusal_Rejected(str(refusal))) from None
        except Broken as refusal:
            raise Err(transform.Refusal_Broken(str(refusal))) from None

    return bridge.logged(refusing)


class _Dictionary:
    @bridge.logged
    def learn(self, what):
        DICTIONARY.learn(
            what.forgotten_meters,
            what.forgotten_resources,
            [(one.number, bridge.meter(one.entry)) for one in what.meters],
            [(one.number, bridge.resource(one.entry)) for one in what.resources],
        )


class _Transform:
    @_refusing
    def transform(self, batch):
        outcome = _ready().transform(_native(batch))
        if outcome is UNCHANGED:
            return transform.Outcome_Unchanged()
        if isinstance(outcome, Keep):
            return transform.Outcome_Keep(outcome.rows)
        if isinstance(outcome, Derived):
            return transform.Outcome_Derive(_derived(outcome))
        return transform.Outcome_Replace(_answer(outcome))


class _Stateful:
    @_refusing
    def flush(self, now):
        answer = _ready().flush(now)
        return None if answer is None else _answer(answer)

    @_refusing
    def save(self):
        try:
            return _ready().save()
        except StateError as error:
            raise Err(str(error)) from None

    @_refusing
    def restore(self, version, state):
        try:
            _ready().restore(version, bytes(state))
        except StateError as error:
            raise Err(str(error)) from None


def _ready():
    if bridge.configured is None:
        raise Broken("called before it was configured")
    DICTIONARY.begin()
    return bridge.configured


def _native(batch) -> Batch:
    return Batch(
        DICTIONARY.meters,
        DICTIONARY.resources,
        batch.meter,
        batch.resource,
        batch.time,
        batch.monotonic,
        batch.volume,
        {one.row: one.value for one in batch.exact},
        batch.removed,
    )


def _derived(outcome: Derived):
    return transform.Derived(_new_meters(), outcome.origin, outcome.meter, outcome.volume, _exact(outcome))


def _answer(outcome: Answer):
    return transform.Answer(
        _new_meters(),
        _new_resources(),
        outcome.origin,
        outcome.meter,
        outcome.resource,
        outcome.time,
        outcome.volume,
        _exact(outcome),
    )


def _new_meters():
    return [
        dictionary.NumberedMeter(number, types.Meter(name, unit, _TYPES[kind]))
        for number, (name, unit, kind) in DICTIONARY.own_meters.take_fresh()
    ]


def _new_resources():
    return [
        dictionary.NumberedResource(number, types.Resource(*content))
        for number, content in DICTIONARY.own_resources.take_fresh()
    ]


def _exact(outcome: Derived | Answer):
    return [types.ExactInteger(row, value) for row, value in outcome.exact.items()]
