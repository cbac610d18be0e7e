"""What componentize-py makes the component of."""

import nephometer.export
from tariff import Tariff

Component, Transform, Stateful = nephometer.export.stateful(Tariff)
