"""`tariff`: the cost of processor time, by project and hour of the day.

Every `cpu` sample of type delta becomes a gauge `cost`, priced by its project and the UTC hour of
its time. A sample of a project without prices is dropped and logged; the host counts it as absorbed.
All other samples pass. Each flush emits a `cost.total` per project, the sum of all its costs. The
state is JSON, in the same format as in the other languages.
"""

import json
import math

from nephometer import (
    UNCHANGED,
    AnswerBuilder,
    Complaint,
    Description,
    Meter,
    PerEntry,
    Resource,
    Settings,
    StateError,
    rows,
)
from prices import read_prices
from schema import SCHEMA

STATE_VERSION = 1
HOUR = 3_600_000_000_000  # nanoseconds
PER_HOUR = float(HOUR)
INFINITE = math.inf


class Tariff:
    description = Description("tariff", "0.1.0", "cost of processor time", SCHEMA, STATE_VERSION)
    settings = Settings(meters=["cpu"])

    def __init__(self, options):
        self.currency = options.text("currency")
        self.prices = read_prices(options.object("prices"))
        options.check()
        self.rates = PerEntry(self.rate_of)
        self.totals = {}

    def transform(self, batch):
        priced = [meter is not None and meter.name == "cpu" and meter.type == "delta" for meter in batch.meters]
        if not any(priced):
            return UNCHANGED
        refused = Complaint("warn", "dropping samples without a cost")
        answer = AnswerBuilder(batch)
        cost_meter = answer.meter(Meter("cost", self.currency, "gauge"))
        rates = self.rates
        begin = end = 0
        for row in rows(batch):
            if not priced[row.meter_number]:
                answer.keep(row)
                continue
            rate = rates[row.resource]
            if rate is None:
                project = row.resource.project_id
                refused.add(row, f'project "{project}" has no prices' if project else "no project")
                continue
            # Most rows have the hour of the row before, and dividing such large integers is slow.
            if not begin <= row.time < end:
                begin = row.time // HOUR * HOUR
                end = begin + HOUR
                hour = begin // HOUR % 24
            cost = row.volume / PER_HOUR * rate.prices[hour]
            # A cost that is not finite would invalidate the whole answer, and totals never decrease.
            if not 0 <= cost < INFINITE:
                refused.add(row, f"volume is {row.volume:g}")
                continue
            total = rate.total
            if total is None:
                total = rate.total = self.total_of(row.resource)
            total.add(cost)
            answer.derive(row, cost_meter, cost)
        refused.write()
        return answer.finish()

    def rate_of(self, resource):
        prices = self.prices.get(resource.project_id)
        return None if prices is None else Rate(prices)

    def total_of(self, resource):
        return self.totals.setdefault(resource.project_id, Total(resource.source))

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
        # A list, because JavaScript's objects put keys that look like numbers first.
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
            raise StateError(f"the totals are in {currency}, the options specify {self.currency}")
        self.totals = totals


class Rate:
    """The prices of a resource by hour, and after its first cost the total of its project."""

    __slots__ = ("prices", "total")

    def __init__(self, prices):
        self.prices = prices
        self.total = None


class Total:
    """A compensated sum (Neumaier): `rest` holds the rounding errors, so small costs are not lost."""

    def __init__(self, source, total=0.0, rest=0.0):
        self.source = source
        self.sum = float(total)
        self.rest = float(rest)

    def add(self, cost):
        old = self.sum
        self.sum = total = old + cost
        self.rest += (old - total) + cost if old >= cost else (cost - total) + old

    def value(self):
        return self.sum + self.rest
