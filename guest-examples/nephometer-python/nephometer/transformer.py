"""What a transformer is made of."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from nephometer.answer import Answer
from nephometer.batch import Batch
from nephometer.options import OptionReader


@dataclass
class Description:
    """What a component tells about itself, whatever its options are."""

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
    """What a configured component wants to be given: all meters and no metadata, if left out."""

    # Globs of meter names; rows of others pass by, uncopied.
    meters: list[str] = field(default_factory=list)
    # Paths into the metadata.
    metadata: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)


class _Unchanged:
    pass


# All rows pass as they are.
UNCHANGED = _Unchanged()


@dataclass
class Keep:
    """These rows pass as they are, the others are absorbed: row numbers, ascending."""

    rows: list[int]


class Rejected(Exception):
    """This input cannot be worked on; the next one may. It is about a whole batch."""


class Broken(Exception):
    """No input can be worked on until someone acts."""


class StateError(Exception):
    """The state cannot be saved, or is none that this component reads."""


class Transformer(Protocol):
    """Batch in, batch out. A stateless one has no flush, save and restore.

    Any other exception than those named here ends the instance; its text is logged.
    """

    description: Description
    settings: Settings

    def __init__(self, options: OptionReader):
        """Raises `OptionErrors`, by `options.check()`."""

    def transform(self, batch: Batch) -> "_Unchanged | Keep | Answer":
        """What becomes of a batch. Raises `Rejected` or `Broken`."""

    def flush(self, now: int) -> Answer | None:
        """Called after all batches of a tick. `now` is the only clock there is."""

    def save(self) -> bytes:
        """The whole state, in the format of `description.state_version`."""

    def restore(self, version: int, state: bytes):
        """Takes up what an earlier instance saved, before any batch. Raises `StateError`."""
