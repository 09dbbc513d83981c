"""Styles, scripts and browser libraries from our own origin: known names only, compressed once."""

import gzip
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orchestrator.dashboard import pages
from orchestrator.dashboard.html_route import HtmlRoute
from orchestrator.domain.errors import NotFound

_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"

router = APIRouter(prefix="/static", route_class=HtmlRoute, include_in_schema=False)


@router.get("/vendor/{name}")
def read_vendor_file(name: str, request: Request) -> Response:
    """A browser library."""
    if name not in pages.VENDOR_FILES or not pages.vendor_path(name).is_file():
        raise NotFound("there is no such file")
    return _file(pages.vendor_path(name), request)


@router.get("/{name}")
def read_static_file(name: str, request: Request) -> Response:
    """One of the dashboard's own files."""
    if name not in _own_files():
        raise NotFound("there is no such file")
    return _file(pages.STATIC_FOLDER / name, request)


def _file(path: Path, request: Request) -> Response:
    # An address with the content's hash may be kept for ever; one without is asked for again.
    headers = {
        "Cache-Control": _FOR_EVER if "v" in request.query_params else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            _compressed(path), headers={**headers, "Content-Encoding": "gzip"}, media_type=_media(path)
        )
    return Response(path.read_bytes(), headers=headers, media_type=_media(path))


def _media(path: Path) -> str:
    return _MEDIA_TYPES[path.suffix]


@cache
def _compressed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)


@cache
def _own_files() -> frozenset[str]:
    return frozenset(path.name for path in pages.STATIC_FOLDER.iterdir() if path.suffix in _MEDIA_TYPES)
