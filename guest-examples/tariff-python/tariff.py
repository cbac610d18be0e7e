"""`tariff`: what processor time costs, by project and hour of the day.

Every `cpu` sample of type delta becomes a gauge `cost`, priced by its project and the UTC hour of
its time. A sample of a project without prices is left out: the host counts it as absorbed, the log
names it. Everything else passes. At the end of a tick there is a `cost.total` per project, the sum
of its costs ever since. The state is JSON, the same as that of the other languages.
"""

import json
import math

from nephometer import (
    UNCHANGED,
    AnswerBuilder,
    Complaint,
    Description,
    Meter,
    Resource,
    Settings,
    StateError,
    rows,
)
from prices import read_prices
from schema import SCHEMA

STATE_VERSION = 1
HOUR = 3_600_000_000_000  # nanoseconds


class Tariff:
    description = Description("tariff", "0.1.0", "what processor time costs", SCHEMA, STATE_VERSION)
    settings = Settings(meters=["cpu"])

    def __init__(self, options):
        self.currency = options.text("currency")
        self.prices = read_prices(options.object("prices"))
        options.check()
        self.totals = {}

    def transform(self, batch):
        meant = [meter.name == "cpu" and meter.type == "delta" for meter in batch.meters]
        if not any(meant):
            return UNCHANGED
        refused = Complaint("warn", "refusing samples that have no cost")
        answer = AnswerBuilder(batch)
        cost_meter = answer.meter(Meter("cost", self.currency, "gauge"))
        for row in rows(batch):
            if not meant[row.meter_index]:
                answer.keep(row)
                continue
            project = row.resource.project_id
            prices = self.prices.get(project)
            if prices is None:
                refused.add(row, f'project "{project}" has no prices' if project else "it has no project")
                continue
            cost = row.volume / HOUR * prices[row.time // HOUR % 24]
            # One cost that is not finite would refuse the whole answer, and a total only grows.
            if not 0 <= cost < math.inf:
                refused.add(row, f"its volume is {row.volume:g}")
                continue
            if project not in self.totals:
                self.totals[project] = Total(row.resource.source)
            self.totals[project].add(cost)
            answer.derive(row, cost_meter, cost)
        refused.write()
        return answer.finish()

    def flush(self, now):
        if not self.totals:
            return None
        answer = AnswerBuilder()
        meter = answer.meter(Meter("cost.total", self.currency, "cumulative"))
        for project, total in sorted(self.totals.items()):
            resource = answer.resource(Resource(project, total.source, project))
            answer.create(meter, resource, now, total.value())
        return answer.finish()

    def save(self):
        # A list: JavaScript's objects put names that look like numbers first.
        totals = [[project, one.source, one.sum, one.rest] for project, one in sorted(self.totals.items())]
        return json.dumps({"currency": self.currency, "totals": totals}).encode()

    def restore(self, version, state):
        if version != STATE_VERSION:
            raise StateError(f"state of version {version}; this component reads {STATE_VERSION}")
        try:
            state = json.loads(state)
            totals = {project: Total(*fields) for project, *fields in state["totals"]}
            currency = state["currency"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StateError("the state is damaged") from None
        if currency != self.currency:
            raise StateError(f"the totals are in {currency}, the options say {self.currency}")
        self.totals = totals


class Total:
    """A sum that does not lose what is small beside it (Neumaier's): `rest` is what rounding left out."""

    def __init__(self, source, total=0.0, rest=0.0):
        self.source = source
        self.sum = float(total)
        self.rest = float(rest)

    def add(self, cost):
        total = self.sum + cost
        large, small = (self.sum, cost) if self.sum >= cost else (cost, self.sum)
        self.rest += (large - total) + small
        self.sum = total

    def value(self):
        return self.sum + self.rest
