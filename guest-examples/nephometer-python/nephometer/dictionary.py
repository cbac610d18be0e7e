"""The dictionary of an instance: what the numbers in batches and answers stand for.

An instance of a component has one dictionary. It holds the meters and resources of the host, which
`nephometer.export` adds (in tests, `nephometer.testing`), and those of the component, which
`AnswerBuilder` numbers. Authors do not need this module.
"""

import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any

# The first number of the component's own entries; the host's are below.
FIRST_OWN = 0x80000000

# Numbering starts again beyond these limits. The contract allows 10,000 meters, 50,000 resources and
# 64 MiB of text, so that one more answer fits.
_MAX_METERS = 8_000
_MAX_RESOURCES = 25_000
_MAX_BYTES = 16 << 20


class OwnEntries:
    """Meters or resources of the component, numbered by their content."""

    def __init__(self):
        self._numbers: dict[Hashable, int] = {}
        self._fresh: list[tuple[int, tuple]] = []
        # The size of their texts.
        self.bytes = 0

    def __len__(self):
        return len(self._numbers)

    def number(self, content: tuple) -> int:
        """The number of an entry with this content, a new one if there is none."""
        number = self._numbers.get(content)
        if number is None:
            number = FIRST_OWN + len(self._numbers)
            self._numbers[content] = number
            self._fresh.append((number, content))
            self.bytes += sum(len(text.encode()) for text in content if text)
        return number

    def take_fresh(self) -> list[tuple[int, tuple]]:
        """Takes the numbers and contents of entries that the host does not have; they count as sent."""
        fresh, self._fresh = self._fresh, []
        return fresh


class Dictionary:
    """The entries of the host, as lists indexed by number, and those of the component."""

    def __init__(self):
        # None where a number is not in use.
        self.meters: list = []
        self.resources: list = []
        self.own_meters = OwnEntries()
        self.own_resources = OwnEntries()
        self._caches = weakref.WeakValueDictionary()

    def learn(
        self,
        forgotten_meters: Iterable[int],
        forgotten_resources: Iterable[int],
        meters: Iterable[tuple],
        resources: Iterable[tuple],
    ):
        """Removes entries by number, then adds pairs of a number and an entry."""
        self._forget(self.meters, forgotten_meters)
        self._forget(self.resources, forgotten_resources)
        _enter(self.meters, meters)
        _enter(self.resources, resources)

    def _forget(self, entries: list, numbers: Iterable[int]):
        for number in numbers:
            for cache in self._caches.values():
                cache.pop(entries[number], None)
            entries[number] = None

    def keep_current(self, cache: dict):
        """Removes entries from a cache when they are forgotten."""
        self._caches[id(cache)] = cache

    def begin(self):
        """Called before each batch and flush: starts numbering again if there are too many entries.

        The host then replaces its entries. It must not be called within an answer, which would then
        refer to unknown numbers.
        """
        texts = self.own_meters.bytes + self.own_resources.bytes
        if len(self.own_meters) > _MAX_METERS or len(self.own_resources) > _MAX_RESOURCES or texts > _MAX_BYTES:
            self.own_meters = OwnEntries()
            self.own_resources = OwnEntries()


def _enter(entries: list, added: Iterable[tuple]):
    for number, entry in added:
        if number >= len(entries):
            entries.extend([None] * (number + 1 - len(entries)))
        entries[number] = entry


DICTIONARY = Dictionary()


class PerEntry(dict):
    """A value for each meter or resource, computed when it is first needed.

        self.prices_of = PerEntry(lambda resource: self.prices.get(resource.project_id))
        ...
        prices = self.prices_of[row.resource]

    An entry that the host no longer uses is removed, and its number may then stand for another one.
    Therefore the key is the entry and not its number.
    """

    def __init__(self, compute: Callable[[Any], Any]):
        super().__init__()
        self._compute = compute
        DICTIONARY.keep_current(self)

    def __missing__(self, entry):
        value = self[entry] = self._compute(entry)
        return value
