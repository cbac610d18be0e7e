"""Helper library for transformers and publishers in Python.

Write a class as `Transformer` describes it, and export it in a module of its own with
`nephometer.export.stateful` or `nephometer.export.stateless`. Write a publisher as `Publisher`
describes it, and export it with `nephometer.export_http.publisher` (over HTTP) or
`nephometer.export_publisher.publisher` (without network). The rest of the library:

* `rows` iterates over the rows of a batch, each with its meter and its resource;
* `AnswerBuilder` builds the answer and numbers new meters and resources by their content;
* `PerEntry` computes a value once for each meter or resource;
* `OptionReader` reads the options and collects all errors, each with its place; `UrlOptions` reads
  those of a publisher;
* `nephometer.http` sends requests, and turns responses into results;
* `Complaint` writes one log line for all rows of a batch with the same problem;
* `log` writes to the component's log.

Everything but the modules of exports works in any Python, so components are tested with unittest,
without a host. A component has no files and no clock, and modules cannot be imported once it runs:
import everything at the top of a module.
"""

from nephometer import log
from nephometer.answer import Answer, AnswerBuilder, Derived
from nephometer.batch import NO_ORIGIN, Batch, Meter, Resource, Row, rows
from nephometer.complaint import Complaint
from nephometer.dictionary import PerEntry
from nephometer.options import OptionErrors, OptionReader
from nephometer.publisher import Delivery, Publisher, RetryLater
from nephometer.transformer import (
    UNCHANGED,
    Broken,
    Description,
    Keep,
    Rejected,
    Settings,
    StateError,
    Transformer,
)
from nephometer.url import UrlOptions

__all__ = [
    "NO_ORIGIN",
    "UNCHANGED",
    "Answer",
    "AnswerBuilder",
    "Batch",
    "Broken",
    "Complaint",
    "Delivery",
    "Derived",
    "Description",
    "Keep",
    "Meter",
    "OptionErrors",
    "OptionReader",
    "PerEntry",
    "Publisher",
    "Rejected",
    "Resource",
    "RetryLater",
    "Row",
    "Settings",
    "StateError",
    "Transformer",
    "UrlOptions",
    "log",
    "rows",
]
