"""What componentize-py makes the component of."""

import nephometer.export
from transformer import {{Name}}

Component, Transform, Stateful = nephometer.export.stateful({{Name}})
