"""The interface of a publisher: what it describes, gets and raises."""

from dataclasses import dataclass
from typing import Protocol

from nephometer.batch import Batch
from nephometer.transformer import Description, Settings
from nephometer.url import UrlOptions


class RetryLater(Exception):
    """A failure that may pass: the envelope is kept and sent again, with the same id."""

    def __init__(self, reason: str, after_ms: int | None = None):
        """`after_ms` is the delay that the receiver requested, in milliseconds; the host chooses if it is None."""
        super().__init__(reason)
        self.after_ms = after_ms


@dataclass
class Delivery:
    """One envelope."""

    # The same on every attempt, so that a receiver can drop repetitions.
    id: str
    # 1 on the first attempt.
    attempt: int
    # The samples; `rows` iterates over them. The entries belong to this delivery alone.
    batch: Batch
    # One JSON text per row, if the settings ask for them.
    texts: list[str]


class Publisher(Protocol):
    """Sends envelopes of samples. The host queues, keeps the order and retries; a publisher does none of these.

    Any other exception than those named here ends the instance; its text is logged.
    """

    description: Description
    settings: Settings

    def __init__(self, options: UrlOptions):
        """Raises `OptionErrors`, by `options.check()`."""

    def publish(self, delivery: Delivery):
        """Sends one envelope. To return acknowledges it: the receiver has it.

        Raises `RetryLater`, `Rejected` (this envelope can never be delivered) or `Broken` (none can,
        until an operator acts).
        """
