"""Where artifacts come from: a folder of files named by digest, or an orchestrator's address.

A source returns bytes as it finds them; whether they have the digest is for the checks to say. A folder's
large artifacts are memory maps, so that a round of many large adapters needs no memory of its own.
"""

import mmap
import os
from pathlib import Path
from typing import Protocol

import httpx

from contracts.manifest import Buffer
from contracts.verify.errors import ArtifactSourceFailed

MAPPED_FROM_BYTES = 1 << 20


class ArtifactSource(Protocol):
    """Reads artifacts by digest."""

    def read(self, digest: str, *, most_bytes: int) -> Buffer | None:
        """The artifact stored under ``digest``, or None if there is none.

        At most one byte more than ``most_bytes`` is read, so that what is too large shows as such.

        Raises:
            ArtifactSourceFailed: the source cannot be read.
        """


class FolderSource:
    """A folder laid out as FOLDER/<first two hex digits>/<64 hex digits>.

    Files in it must not shrink while they are read: an artifact store never changes what it has stored.
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
                if MAPPED_FROM_BYTES <= os.fstat(file.fileno()).st_size <= most_bytes:
                    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                return file.read(most_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ArtifactSourceFailed(f"artifact {digest} cannot be read: {error.strerror}") from error


class HttpSource:
    """An orchestrator's ``GET /v1/artifacts/{digest}``, with a bearer token if it asks for one."""

    def __init__(self, base_url: str, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=timeout_s)

    def read(self, digest: str, *, most_bytes: int) -> bytes | None:
        """As ``ArtifactSource.read``."""
        received = bytearray()
        try:
            with self._client.stream("GET", f"/v1/artifacts/{digest}") as response:
                if response.status_code == httpx.codes.NOT_FOUND:
                    return None
                if response.status_code != httpx.codes.OK:
                    raise ArtifactSourceFailed(
                        f"the artifact source answered {response.status_code} for {digest}"
                    )
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > most_bytes:
                        break
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ArtifactSourceFailed(f"the artifact source failed: {error}") from error
        return bytes(received[: most_bytes + 1])


def open_source(location: str, *, token: str | None = None) -> ArtifactSource:
    """The source at ``location``: an http(s) address, or a folder.

    Raises:
        ArtifactSourceFailed: it is neither.
    """
    if location.startswith(("http://", "https://")):
        return HttpSource(location, token=token)
    return FolderSource(Path(location))
