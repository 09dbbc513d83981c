"""Artifacts to and from the hub; what breaks off goes on where it stopped."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.client.errors import HubRefused, HubUnreachable, WrongBytes
from orchestrator.client.session import TRIES, Session

PIECES_FROM_BYTES = 8 << 20
"""Larger files are sent in a way that can go on after a broken connection."""
_CHUNK_BYTES = 1 << 20
_NOTICED_WITHIN_S = 30.0
_ASK_AGAIN_S = 0.2


def upload(session: Session, digest: str, file: Path) -> None:
    """Store a file's bytes under their digest. Raises HubError, OSError."""
    total_bytes = file.stat().st_size
    if total_bytes < PIECES_FROM_BYTES:
        session.send("PUT", _path(digest), content=file.read_bytes(), tries=TRIES)
        return
    reached, failures = -1, 0
    while (offset_bytes := _offset(session, digest, total_bytes)) < total_bytes:
        headers = {
            "Content-Range": f"bytes {offset_bytes}-{total_bytes - 1}/{total_bytes}",
            "Content-Length": str(total_bytes - offset_bytes),
        }
        try:
            session.send("PUT", _path(digest), content=_chunks(file, offset_bytes), headers=headers)
            return
        except HubUnreachable:
            # Again, as long as attempts get further than those before.
            failures = 0 if offset_bytes > reached else failures + 1
            reached = max(reached, offset_bytes)
            if failures >= TRIES:
                raise


def download(session: Session, digest: str, file: Path) -> None:
    """Write an artifact to a file, which appears when it is whole and right.

    Raises:
        HubError: it is not there for this token, or the hub does not answer.
        WrongBytes: the hub gave other bytes.
        OSError: the file cannot be written.
    """
    part = file.with_name(f"{file.name}.part")
    failures = 0
    with part.open("wb") as written:
        while True:
            begun_at = written.tell()
            try:
                headers = {"Range": f"bytes={begun_at}-"} if begun_at else {}
                with session.stream("GET", _path(digest), headers=headers) as response:
                    if begun_at and response.status_code != 206:
                        written.seek(0)
                        written.truncate()
                    for chunk in response.iter_bytes(_CHUNK_BYTES):
                        written.write(chunk)
                break
            except HubUnreachable:
                failures = 0 if written.tell() > begun_at else failures + 1
                if failures >= TRIES:
                    raise
    with part.open("rb") as whole:
        found = "0x" + hashlib.file_digest(whole, "sha256").hexdigest()
    if found != digest:
        part.unlink()
        raise WrongBytes(f"the orchestrator gave bytes with the digest {found}, not {digest}")
    os.replace(part, file)


def _offset(session: Session, digest: str, total_bytes: int) -> int:
    """How much of it the hub has."""
    headers = {"Content-Range": f"bytes */{total_bytes}"}
    deadline_s = time.monotonic() + _NOTICED_WITHIN_S
    while True:
        try:
            answer = session.send("PUT", _path(digest), headers=headers, tries=TRIES)
            return int(answer.headers["Upload-Offset"])
        except HubRefused as error:
            # The hub has not noticed yet that the connection of the piece before is gone.
            if error.code != "upload_under_way" or time.monotonic() >= deadline_s:
                raise
            time.sleep(_ASK_AGAIN_S)


def _chunks(file: Path, start: int) -> Iterator[bytes]:
    with file.open("rb") as opened:
        opened.seek(start)
        while chunk := opened.read(_CHUNK_BYTES):
            yield chunk


def _path(digest: str) -> str:
    return f"/v1/artifacts/{digest}"
