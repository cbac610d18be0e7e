"""The exports of the worlds of publishers, which call the publisher. It works in a component only.

componentize-py looks for classes with the names of the exported interfaces in the module that it
builds from:

    Component, Publish = nephometer.export_publisher.publisher(MyPublisher)
"""

from componentize_py_types import Err
from wit_world.exports import publish

from nephometer import bridge
from nephometer.batch import Batch
from nephometer.publisher import Delivery, RetryLater
from nephometer.transformer import Broken, Rejected
from nephometer.url import UrlOptions


def publisher(made_of):
    """The classes Component and Publish of a publisher."""
    return bridge.component_of(made_of, UrlOptions), _Publish


class _Publish:
    @bridge.logged
    def publish(self, what):
        if bridge.configured is None:
            raise Err(publish.Failure_Broken("called before it was configured"))
        try:
            bridge.configured.publish(Delivery(what.id, what.attempt, _native(what.input), what.texts))
        except RetryLater as failure:
            raise Err(publish.Failure_Retryable(publish.Retry(str(failure), failure.after_ms))) from None
        except Rejected as failure:
            raise Err(publish.Failure_Permanent(str(failure))) from None
        except Broken as failure:
            raise Err(publish.Failure_Broken(str(failure))) from None


def _native(batch) -> Batch:
    return Batch(
        [bridge.meter(one) for one in batch.meters],
        [bridge.resource(one) for one in batch.resources],
        batch.meter,
        batch.resource,
        batch.time,
        batch.monotonic,
        batch.volume,
        {one.row: one.value for one in batch.exact},
        batch.removed,
    )
