"""Keyset pagination: ``limit`` and ``cursor`` in, ``items`` and ``next_cursor`` out.

A cursor is opaque to callers. It names its list and the last item's key, is not secret, and is checked as any
other input: what no page of this list has given is refused.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic_core import from_json

from orchestrator.domain.errors import Unacceptable
from orchestrator.domain.pages import Key

MOST_ITEMS = 200
_USUAL_ITEMS = 50
_MOST_CURSOR_CHARACTERS = 400
_MOST_KEY_CHARACTERS = 100


class InvalidCursor(Unacceptable):
    """The cursor was not given by this list."""

    code = "invalid_cursor"


@dataclass(frozen=True)
class Listing:
    """A list's name, with what it is narrowed down to, and the types of its keys' parts."""

    name: str
    key_types: tuple[type[int] | type[str], ...]

    def cursor(self, key: Key | None) -> str | None:
        """The cursor for the page after a key."""
        if key is None:
            return None
        text = json.dumps([self.name, *key], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    def key(self, cursor: str) -> Key:
        """The key in a cursor. Raises InvalidCursor."""
        found = _decoded(cursor)
        if isinstance(found, list) and found[:1] == [self.name]:
            key = tuple(found[1:])
            # Only one text stands for a key, so that an altered cursor is noticed.
            if self._fits(key) and self.cursor(key) == cursor:
                return key
        raise InvalidCursor("the cursor is not one that this list has given; begin without a cursor")

    def _fits(self, key: tuple[Any, ...]) -> bool:
        return len(key) == len(self.key_types) and all(
            type(part) is kind and _is_harmless(part) for part, kind in zip(key, self.key_types, strict=True)
        )


@dataclass(frozen=True)
class Paging:
    """What of a list is asked for."""

    limit: int
    cursor: str | None

    def after(self, listing: Listing) -> Key | None:
        """The key that the page begins after; None for the first page. Raises InvalidCursor."""
        return None if self.cursor is None else listing.key(self.cursor)


def _paging(
    limit: Annotated[
        int, Query(ge=1, le=MOST_ITEMS, description="how many items at most", examples=[_USUAL_ITEMS])
    ] = _USUAL_ITEMS,
    cursor: Annotated[
        str | None,
        Query(max_length=_MOST_CURSOR_CHARACTERS, description="`next_cursor` of the page before this one"),
    ] = None,
) -> Paging:
    return Paging(limit, cursor)


PagingOfRequest = Annotated[Paging, Depends(_paging)]


def _decoded(cursor: str) -> Any:
    try:
        return from_json(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return None


def _is_harmless(part: int | str) -> bool:
    if isinstance(part, str):
        return len(part) <= _MOST_KEY_CHARACTERS and part.isprintable()
    return 0 <= part < 1 << 63
