"""What the exports of all worlds share. It works in a component only."""

import json

from componentize_py_types import Err
from wit_world.exports import component
from wit_world.imports import log as host_log

from nephometer import log
from nephometer.batch import Meter, Resource
from nephometer.options import OptionErrors

_LEVELS = {level.name.lower(): level for level in host_log.Level}
_TEXTS = {form.name.lower(): form for form in component.TextForm}

log.send_to(lambda level, message: host_log.write(_LEVELS[level], message))

# One instance of a component serves one place in a pipeline: there is one transformer or publisher.
configured = None


def component_of(made_of, read):
    """The class Component of a transformer or publisher; `read` makes its reader of options."""

    class Component:
        def describe(self):
            one = made_of.description
            schema = json.dumps(one.options_schema) if one.options_schema else ""
            facts = list(one.facts.items())
            return component.Description(one.name, one.version, one.summary, schema, one.state_version, facts)

        @logged
        def configure(self, options):
            global configured
            try:
                made = made_of(read(json.loads(options)))
            except OptionErrors as errors:
                raise Err([component.OptionError(*error) for error in errors.errors]) from None
            configured = made
            one = made.settings
            return component.Settings(one.meters, one.metadata, _TEXTS[one.texts], list(one.facts.items()))

    return Component


def logged(call):
    """Logs an exception before it ends the instance. Without a traceback, because it would quote missing sources."""

    def logging(*arguments):
        try:
            return call(*arguments)
        except Err:
            raise
        except Exception as error:
            place = error.__traceback__
            while place.tb_next:
                place = place.tb_next
            code = place.tb_frame.f_code
            log.error(f"{type(error).__name__}: {error}, in {code.co_name} at {code.co_filename}:{place.tb_lineno}")
            raise

    return logging


def meter(one) -> Meter:
    return Meter(one.name, one.unit, one.type.name.lower())


def resource(one) -> Resource:
    return Resource(one.id, one.source, one.project_id, one.user_id, one.metadata)
