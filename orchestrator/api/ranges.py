"""Byte ranges (RFC 9110, section 14): one range of a download, one piece of an upload."""

import re
from dataclasses import dataclass

from fastapi import Request

from orchestrator.domain.artifacts import UploadPiece, WrongPieceLength
from orchestrator.domain.errors import Unacceptable

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_PIECE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")


class InvalidContentRange(Unacceptable):
    """``Content-Range`` does not say which bytes of how many the body has."""

    code = "invalid_content_range"


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``stop`` of an artifact; nothing where it begins at its end."""

    start: int
    stop: int


def asked_span(request: Request, tag: str, size_bytes: int) -> Span | None:
    """The one range that is asked for; None for the whole, also where several are asked for.

    A range that cannot be satisfied is empty. ``If-Range`` of another version asks for the whole.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if match is None or request.headers.get("If-Range", tag) != tag or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return Span(max(0, size_bytes - int(match[2])), size_bytes)
    start = int(match[1])
    last = size_bytes - 1 if match[2] == "" else int(match[2])
    if match[2] != "" and last < start:
        return None
    return Span(min(start, size_bytes), min(last + 1, size_bytes))


def sent_piece(request: Request) -> UploadPiece | None:
    """The piece that the body is, by ``Content-Range``; None when it is the whole.

    Raises:
        InvalidContentRange: it cannot be read.
        WrongPieceLength: ``Content-Length`` says otherwise.
    """
    header = request.headers.get("Content-Range")
    if header is None:
        return None
    match = _PIECE.fullmatch(header.strip())
    if match is None:
        raise InvalidContentRange(
            "Content-Range is `bytes FIRST-LAST/TOTAL`, or `bytes */TOTAL` to ask how far"
        )
    total_bytes = int(match[3])
    piece = (
        UploadPiece(None, total_bytes, total_bytes)
        if match[1] is None
        else UploadPiece(int(match[1]), int(match[2]) + 1, total_bytes)
    )
    if piece.begins_at is not None and not piece.begins_at < piece.ends_before <= total_bytes:
        raise InvalidContentRange("Content-Range names no bytes of an artifact of that size")
    length_bytes = content_length(request)
    if length_bytes is not None and length_bytes != piece.most_bytes:
        raise WrongPieceLength("Content-Length and Content-Range do not agree")
    return piece


def content_length(request: Request) -> int | None:
    """How long the body says that it is."""
    text = request.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None
