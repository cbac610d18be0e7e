"""What componentize-py makes the component of."""

import nephometer.export
from tariff import Tariff

Component, Dictionary, Transform, Stateful = nephometer.export.stateful(Tariff)
