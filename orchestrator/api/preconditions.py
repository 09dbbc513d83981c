"""Conditional requests (RFC 9110, 13): ``ETag`` and ``If-None-Match`` on reads, ``If-Match`` on edits."""

import re
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Request, Response

from orchestrator.domain.errors import Unacceptable

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]{0,100})"')
_TAG_CHARACTERS = 32
_MOST_HEADER_CHARACTERS = 2_000


class InvalidEntityTag(Unacceptable):
    """A header holds something else than entity tags."""

    code = "invalid_entity_tag"


def entity_tag(version: str) -> str:
    """A version as the ``ETag`` header has it."""
    return f'"{version}"'


def conditional(request: Request, response: Response) -> Response:
    """The answer to a read, with an ``ETag``; 304 without a body where the caller has it already.

    Raises:
        InvalidEntityTag: ``If-None-Match`` cannot be read.
    """
    if request.method != "GET" or response.status_code != HTTPStatus.OK:
        return response
    if "etag" not in response.headers:
        if not response.headers.get("Content-Type", "").startswith("application/json"):
            return response
        response.headers["ETag"] = entity_tag(sha256(response.body).hexdigest()[:_TAG_CHARACTERS])
    if not is_known(request, response.headers["ETag"]):
        return response
    kept = {name: response.headers[name] for name in ("ETag", "Cache-Control") if name in response.headers}
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)


def is_known(request: Request, tag: str) -> bool:
    """Whether ``If-None-Match`` names the tag. Raises InvalidEntityTag."""
    given = request.headers.get("If-None-Match")
    if given is None:
        return False
    known = _tags("If-None-Match", given)
    return known is None or tag.strip('"') in {version for _, version in known}


def _expected(
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=_MOST_HEADER_CHARACTERS,
            description="`ETag` of what you read; 412 when it was changed since",
        ),
    ] = None,
) -> frozenset[str] | None:
    """The versions that an edit may meet; None for any."""
    tags = None if if_match is None else _tags("If-Match", if_match)
    # A weak tag never matches here: what it names may differ.
    return None if tags is None else frozenset(version for is_weak, version in tags if not is_weak)


ExpectedVersions = Annotated[frozenset[str] | None, Depends(_expected)]


def _tags(header: str, value: str) -> list[tuple[bool, str]] | None:
    """The tags as (weak, version); None for ``*``, which stands for any."""
    if value.strip() == "*":
        return None
    found = [_TAG.fullmatch(part.strip()) for part in value[:_MOST_HEADER_CHARACTERS].split(",")]
    tags = [(match[1] is not None, match[2]) for match in found if match is not None]
    if len(tags) < len(found):
        raise InvalidEntityTag(f'{header} holds entity tags, "…", separated by commas, or *')
    return tags
