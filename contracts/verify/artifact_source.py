"""Where artifacts come from: a folder of files named by digest, or an orchestrator's address.

A source gives bytes as it finds them; whether they have the digest is for the checks to say. Large artifacts
are mapped, not copied: memory stays flat however many a round has.
"""

import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import IO, Protocol

import httpx

from contracts.manifest import Buffer
from contracts.verify.errors import ArtifactSourceFailed
from contracts.verify.plain_http import HEADERS, plain_chunks

MAPPED_FROM_BYTES = 1 << 20
_MOST_SILENCE_S = 20.0


class ArtifactSource(Protocol):
    """Reads artifacts by digest."""

    def read(self, digest: str, *, most_bytes: int) -> Buffer | None:
        """The artifact stored under ``digest``, or None if there is none.

        At most one byte more than ``most_bytes`` is given, so that what is too large shows as such.

        Raises:
            ArtifactSourceFailed: the source cannot be read, or not in time.
        """


class FolderSource:
    """A folder laid out as FOLDER/<first two hex digits>/<64 hex digits>.

    Large files are mapped and must not shrink meanwhile: an artifact store never changes what it has stored.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ArtifactSourceFailed(f"{folder} is not a folder")
        self._folder = folder

    def read(self, digest: str, *, most_bytes: int) -> Buffer | None:
        """As ``ArtifactSource.read``."""
        name = digest.removeprefix("0x")
        try:
            with (self._folder / name[:2] / name).open("rb") as file:
                return _read_or_map(file, most_bytes)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ArtifactSourceFailed(f"artifact {digest} cannot be read: {error}") from error


class HttpSource:
    """An orchestrator's ``GET /v1/artifacts/{digest}``, with a bearer token if it asks for one.

    ``timeout_s`` is for one whole artifact, however slowly it comes.
    """

    def __init__(self, base_url: str, *, token: str | None = None, timeout_s: float = 600.0) -> None:
        headers = HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        self._timeout_s = timeout_s
        try:
            self._client = httpx.Client(
                base_url=base_url, headers=headers, timeout=min(timeout_s, _MOST_SILENCE_S)
            )
        except (httpx.InvalidURL, ValueError, OSError) as error:
            raise ArtifactSourceFailed(f"no artifacts can be read from there: {error}") from error

    def read(self, digest: str, *, most_bytes: int) -> Buffer | None:
        """As ``ArtifactSource.read``."""
        give_up = time.monotonic() + self._timeout_s
        try:
            with (
                tempfile.TemporaryFile() as file,
                self._client.stream("GET", f"/v1/artifacts/{digest}") as response,
            ):
                if response.status_code == httpx.codes.NOT_FOUND:
                    return None
                if response.status_code != httpx.codes.OK:
                    raise ArtifactSourceFailed(
                        f"the artifact source answered {response.status_code} for {digest}"
                    )
                received_bytes = 0
                for chunk in plain_chunks(response):
                    received_bytes += file.write(chunk)
                    if received_bytes > most_bytes:
                        break
                    if time.monotonic() > give_up:
                        raise ArtifactSourceFailed(
                            f"artifact {digest} did not come within {self._timeout_s:g} s"
                        )
                file.flush()
                return _read_or_map(file, most_bytes)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise ArtifactSourceFailed(f"the artifact source failed: {error}") from error


def open_source(location: str, *, token: str | None = None) -> ArtifactSource:
    """The source at ``location``: an http(s) address, or a folder.

    Raises:
        ArtifactSourceFailed: it is neither.
    """
    if location.startswith(("http://", "https://")):
        return HttpSource(location, token=token)
    return FolderSource(Path(location))


def _read_or_map(file: IO[bytes], most_bytes: int) -> Buffer:
    size_bytes = min(file.seek(0, os.SEEK_END), most_bytes + 1)
    if size_bytes >= MAPPED_FROM_BYTES:
        return memoryview(mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_READ))
    file.seek(0)
    return file.read(size_bytes)
