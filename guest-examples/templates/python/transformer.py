"""`{{name}}`: multiplies every volume by the option `factor`.

The rows are counted; the count is returned after each polling cycle, and is the state that a reload keeps.
"""

import json

from nephometer import AnswerBuilder, Description, Meter, Resource, Settings, StateError, rows

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "factor": {"description": "What every volume is multiplied by.", "type": "number", "default": 1}
    },
}


class Scaler:
    description = Description("{{name}}", "0.1.0", "scales volumes", SCHEMA, state_version=1)
    # All meters; Settings(meters=[...]) may name some.
    settings = Settings()

    def __init__(self, options):
        factor = options.number("factor")
        if factor == 0:
            options.refuse("factor", "is 0, which would make all volumes 0")
        options.check()
        self.factor = 1 if factor is None else factor
        self.rows = 0

    def transform(self, batch):
        answer = AnswerBuilder(batch)
        for row in rows(batch):
            answer.derive(row, row.meter_number, row.volume * self.factor)
            self.rows += 1
        return answer.finish()

    def flush(self, now):
        answer = AnswerBuilder()
        meter = answer.meter(Meter("{{name}}.rows", "row", "cumulative"))
        resource = answer.resource(Resource("{{name}}", "openstack"))
        answer.create(meter, resource, now, self.rows)
        return answer.finish()

    def save(self):
        return json.dumps({"rows": self.rows}).encode()

    def restore(self, version, state):
        if version != 1:
            raise StateError(f"state of version {version}; this component reads 1")
        self.rows = json.loads(state)["rows"]
