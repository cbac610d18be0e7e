"""The bridge from a transformer to what the world exports. Works in a component only.

componentize-py looks for classes with the names of the exported interfaces in the module that it is
given:

    Component, Transform, Stateful = nephometer.export.stateful(MyTransformer)
"""

import json

from componentize_py_types import Err
from wit_world.exports import component, transform
from wit_world.imports import log as host_log
from wit_world.imports import types

from nephometer import log
from nephometer.answer import Answer
from nephometer.batch import Batch, Meter, Resource
from nephometer.options import OptionErrors, OptionReader
from nephometer.transformer import UNCHANGED, Broken, Keep, Rejected, StateError

_LEVELS = {level.name.lower(): level for level in host_log.Level}
_TYPE_WORDS = {kind: kind.name.lower() for kind in types.MeterType}
_TYPES = {word: kind for kind, word in _TYPE_WORDS.items()}

log.send_to(lambda level, message: host_log.write(_LEVELS[level], message))


def stateful(transformer):
    """The classes Component, Transform and Stateful of a transformer that remembers."""
    return _component(transformer), _Transform, _Stateful


def stateless(transformer):
    """The classes Component and Transform of a transformer that keeps nothing between batches."""
    return _component(transformer), _Transform


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
    """Has an exception logged before it ends the instance. No traceback: the sources that it quotes are not there."""

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


class _Transform:
    @_logged
    def transform(self, batch):
        outcome = _ready().transform(_native(batch))
        if outcome is UNCHANGED:
            return transform.Outcome_Unchanged()
        if isinstance(outcome, Keep):
            return transform.Outcome_Keep(outcome.rows)
        return transform.Outcome_Replace(_lowered(outcome))


class _Stateful:
    @_logged
    def flush(self, now):
        answer = _ready().flush(now)
        return None if answer is None else _lowered(answer)

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
    return _configured


def _native(batch) -> Batch:
    meters = [Meter(one.name, one.unit, _TYPE_WORDS[one.type]) for one in batch.meters]
    resources = [Resource(one.id, one.source, one.project_id, one.user_id, one.metadata) for one in batch.resources]
    return Batch(
        meters, resources, batch.meter, batch.resource, batch.time, batch.monotonic, batch.volume, batch.gone
    )


def _lowered(answer: Answer):
    meters = [types.Meter(one.name, one.unit, _TYPES[one.type]) for one in answer.meters]
    resources = [
        types.Resource(one.id, one.source, one.project_id, one.user_id, one.metadata_text) for one in answer.resources
    ]
    return transform.Answer(
        meters, resources, answer.origin, answer.meter, answer.resource, answer.time, answer.volume
    )
