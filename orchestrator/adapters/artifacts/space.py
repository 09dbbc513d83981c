"""How much room a folder of artifacts has."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain.artifacts import StorageFull


class Space:
    """Refuses what would exceed a quota, or use up what must stay free of the disk."""

    CHECK_EVERY_BYTES = 8 << 20
    """An upload asks again after so many bytes: others write at the same time."""

    def __init__(self, folder: Path, quota_bytes: int | None, reserve_bytes: int) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._reserve_bytes = reserve_bytes

    def require(self, more_bytes: int) -> None:
        """Refuse ``more_bytes`` beside what is in the folder, unfinished uploads included.

        Raises:
            StorageFull: there is no room for them.
        """
        if self._quota_bytes is not None:
            used_bytes = sum(_file_sizes(self._folder))
            if used_bytes + more_bytes > self._quota_bytes:
                raise StorageFull(
                    f"the artifact store holds {used_bytes} of at most {self._quota_bytes} bytes; nothing "
                    "was stored. `collegium artifacts sweep` removes what nothing names"
                )
        if self._reserve_bytes and self._folder.exists():
            free_bytes = shutil.disk_usage(self._folder).free
            if free_bytes - more_bytes < self._reserve_bytes:
                raise StorageFull(
                    f"{free_bytes} bytes are free on the artifact store's disk, and {self._reserve_bytes} "
                    "must stay free; nothing was stored"
                )


def _file_sizes(folder: Path) -> Iterator[int]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _file_sizes(Path(entry.path))
                else:
                    yield entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
