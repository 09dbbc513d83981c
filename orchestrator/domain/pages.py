"""Lists that are read page by page: a page begins after a key, never at a position that others can shift."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Shown = TypeVar("Shown")

Key = tuple[int | str, ...]
"""Where an item stands in the order of its list."""

NEWEST = (1 << 63) - 1
"""Where a list that runs backwards by number begins."""


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some items of a list; ``next_key`` is the last one's where more follow, else None."""

    items: tuple[Item, ...]
    next_key: Key | None

    @classmethod
    def of(cls, found: Sequence[Item], limit: int, key: Callable[[Item], Key]) -> "Page[Item]":
        """The page, given one item more than its limit where there is one."""
        items = tuple(found[:limit])
        return cls(items, key(items[-1]) if len(found) > limit and items else None)

    @classmethod
    def within(
        cls, items: Iterable[Item], after: Key | None, limit: int, key: Callable[[Item], Key]
    ) -> "Page[Item]":
        """The page of a list that is at hand as a whole, in the order of its keys."""
        sorted_items = sorted(items, key=key)
        left = [item for item in sorted_items if after is None or key(item) > after]
        return cls.of(left[: limit + 1], limit, key)

    def shown_as(self, show: Callable[[Item], Shown]) -> "Page[Shown]":
        """The same page of other items."""
        return Page(tuple(show(item) for item in self.items), self.next_key)
