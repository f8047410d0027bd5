"""A bounded dictionary in two generations: when the young one is full, the old one is dropped whole.

What is asked for again moves to the young one, so what nobody asks for is gone after two generations. There
is no list to put in order at each hit.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# One entry takes no more than this part of a generation.
LEAST_ENTRIES: Final = 8


class Cost(NamedTuple):
    """What an entry takes."""

    octets: int
    files: int  # open files


class Generations(Generic[K, V]):
    """Values by key, bounded in octets and in open files."""

    __slots__ = ("_costs", "_files", "_limit", "_octets", "_old", "_old_costs", "young")

    def __init__(self, octets: int, files: int) -> None:
        self._limit = Cost(octets // 2, files // 2)  # of one generation; 0 octets: nothing is kept
        self.young: dict[K, V] = {}  # to be read only: the first place to look
        self._old: dict[K, V] = {}
        self._costs: dict[K, Cost] = {}
        self._octets = 0  # of the young generation, as are the files
        self._files = 0

    def __repr__(self) -> str:
        return f"<Generations {len(self.young)}+{len(self._old)}, {self._octets} octets young>"

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._limit.octets > 0

    def get(self, key: K) -> V | None:
        """The value of `key`, if it is kept."""
        value = self.young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value, self._old_costs[key])
        return value

    def put(self, key: K, value: V, cost: Cost) -> None:
        """Keep `value`, unless it alone would push out too much of what else is kept."""
        self.drop(key)
        if cost.octets * LEAST_ENTRIES > self._limit.octets or cost.files > self._limit.files:
            return
        octets, files = self._octets + cost.octets, self._files + cost.files
        if octets > self._limit.octets or files > self._limit.files:
            self._old, self._old_costs = self.young, self._costs
            self.young, self._costs = {}, {}
            octets, files = cost
        self.young[key] = value
        self._costs[key] = cost
        self._octets, self._files = octets, files

    def drop(self, key: K) -> None:
        """Forget the value of `key`."""
        self._old.pop(key, None)
        if self.young.pop(key, None) is not None:
            cost = self._costs.pop(key)
            self._octets -= cost.octets
            self._files -= cost.files

    def clear(self) -> None:
        """Forget everything, and begin again."""
        self.young, self._old, self._costs, self._old_costs = {}, {}, {}, {}
        self._octets = self._files = 0

    def stop(self) -> None:
        """Forget everything, and keep nothing from now on."""
        self.__init__(0, 0)  # type: ignore[misc]  # made anew, as an empty one
