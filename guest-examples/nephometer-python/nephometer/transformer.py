"""The interface of a transformer: what it describes, returns and raises."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from nephometer.answer import Answer, Derived
from nephometer.batch import Batch
from nephometer.options import OptionReader


@dataclass
class Description:
    """What a component reports about itself, whatever its options are."""

    name: str
    version: str
    summary: str
    # JSON Schema (2020-12) of the options.
    options_schema: dict[str, Any] = field(default_factory=dict)
    # Version of the format that `save` writes; 0 if it keeps no state.
    state_version: int = 0
    facts: dict[str, str] = field(default_factory=dict)


@dataclass
class Settings:
    """What a configured component requires: all meters and no metadata, if left out."""

    # Globs of meter names; rows of other meters bypass the component.
    meters: list[str] = field(default_factory=list)
    # Paths into the metadata.
    metadata: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    # Texts that a publisher gets with each row: "none", "samples" (JSON with Ceilometer's keys) or
    # "messages" (signed metering messages).
    texts: str = "none"


class _Unchanged:
    pass


# All rows, as they are.
UNCHANGED = _Unchanged()


@dataclass
class Keep:
    """These rows, as they are: row numbers, ascending. All others are dropped."""

    rows: list[int]


class Rejected(Exception):
    """This batch cannot be transformed, this envelope never delivered; the next one may.

    Samples of a batch are dropped, an envelope becomes a dead letter.
    """


class Broken(Exception):
    """Nothing can be transformed or delivered until an operator acts."""


class StateError(Exception):
    """The state cannot be saved or restored."""


class Transformer(Protocol):
    """Transforms batches of samples. One without state has no flush, save and restore.

    Any other exception than those named here ends the instance; its text is logged.
    """

    description: Description
    settings: Settings

    def __init__(self, options: OptionReader):
        """Raises `OptionErrors`, by `options.check()`."""

    def transform(self, batch: Batch) -> "_Unchanged | Keep | Derived | Answer":
        """What replaces a batch. Raises `Rejected` or `Broken`."""

    def flush(self, now: int) -> Answer | None:
        """Called after all batches of a polling cycle. `now` is its time, the only clock."""

    def save(self) -> bytes:
        """The whole state, in the format of `description.state_version`."""

    def restore(self, version: int, state: bytes):
        """Restores what an earlier instance saved, before any batch. Raises `StateError`."""
