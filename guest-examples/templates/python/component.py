"""The module that componentize-py builds the component from."""

import nephometer.export
from transformer import Scaler

Component, Dictionary, Transform, Stateful = nephometer.export.stateful(Scaler)
