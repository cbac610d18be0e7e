"""What componentize-py makes the component of."""

import nephometer.export
from transformer import Scaler

Component, Dictionary, Transform, Stateful = nephometer.export.stateful(Scaler)
