"""The exports of the world, which call the transformer. It works in a component only.

componentize-py looks for classes with the names of the exported interfaces in the module that it
builds from:

    Component, Dictionary, Transform, Stateful = nephometer.export.stateful(MyTransformer)
"""

import json

from componentize_py_types import Err
from wit_world.exports import component, dictionary, transform
from wit_world.imports import log as host_log
from wit_world.imports import types

from nephometer import log
from nephometer.answer import Answer, Derived
from nephometer.batch import Batch, Meter, Resource
from nephometer.dictionary import DICTIONARY
from nephometer.options import OptionErrors, OptionReader
from nephometer.transformer import UNCHANGED, Broken, Keep, Rejected, StateError

_LEVELS = {level.name.lower(): level for level in host_log.Level}
_TYPE_WORDS = {kind: kind.name.lower() for kind in types.MeterType}
_TYPES = {word: kind for kind, word in _TYPE_WORDS.items()}

log.send_to(lambda level, message: host_log.write(_LEVELS[level], message))


def stateful(transformer):
    """The classes Component, Dictionary, Transform and Stateful of a transformer with state."""
    return _component(transformer), _Dictionary, _Transform, _Stateful


def stateless(transformer):
    """The classes Component, Dictionary and Transform of a transformer without state."""
    return _component(transformer), _Dictionary, _Transform


# One instance of a component serves one place in a pipeline: there is one transformer.
_configured = None


def _component(transformer):
    class Component:
        def describe(self):
            one = transformer.description
            schema = json.dumps(one.options_schema) if one.options_schema else ""
            facts = list(one.facts.items())
            return component.Description(one.name, one.version, one.summary, schema, one.state_version, facts)

        @_logged
        def configure(self, options):
            global _configured
            try:
                made = transformer(OptionReader(json.loads(options)))
            except OptionErrors as errors:
                raise Err([component.OptionError(*error) for error in errors.errors]) from None
            _configured = made
            one = made.settings
            return component.Settings(one.meters, one.metadata, component.TextForm.NONE, list(one.facts.items()))

    return Component


def _logged(call):
    """Logs an exception before it ends the instance. Without a traceback, because it would quote missing sources."""

    def logging(*arguments):
        try:
            return call(*arguments)
        except Err:
            raise
        except Rejected as refusal:
            raise Err(transform.Refusal_Rejected(str(refusal))) from None
        except Broken as refusal:
            raise Err(transform.Refusal_Broken(str(refusal))) from None
        except Exception as error:
            place = error.__traceback__
            while place.tb_next:
                place = place.tb_next
            code = place.tb_frame.f_code
            log.error(f"{type(error).__name__}: {error}, in {code.co_name} at {code.co_filename}:{place.tb_lineno}")
            raise

    return logging


class _Dictionary:
    @_logged
    def learn(self, what):
        DICTIONARY.learn(
            what.forgotten_meters,
            what.forgotten_resources,
            [(one.number, _meter(one.entry)) for one in what.meters],
            [(one.number, _resource(one.entry)) for one in what.resources],
        )


class _Transform:
    @_logged
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
    @_logged
    def flush(self, now):
        answer = _ready().flush(now)
        return None if answer is None else _answer(answer)

    @_logged
    def save(self):
        try:
            return _ready().save()
        except StateError as error:
            raise Err(str(error)) from None

    @_logged
    def restore(self, version, state):
        try:
            _ready().restore(version, bytes(state))
        except StateError as error:
            raise Err(str(error)) from None


def _ready():
    if _configured is None:
        raise Broken("called before it was configured")
    DICTIONARY.begin()
    return _configured


def _meter(one) -> Meter:
    return Meter(one.name, one.unit, _TYPE_WORDS[one.type])


def _resource(one) -> Resource:
    return Resource(one.id, one.source, one.project_id, one.user_id, one.metadata)


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
