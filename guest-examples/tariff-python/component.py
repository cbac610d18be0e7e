"""The module that componentize-py builds the component from."""

import nephometer.export
from tariff import Tariff

Component, Dictionary, Transform, Stateful = nephometer.export.stateful(Tariff)
