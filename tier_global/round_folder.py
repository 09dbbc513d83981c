"""A node's folder of one round: adapters by digest, files of the inner jobs, a lock for each stage.

Files are complete or absent: they are written beside their place and moved there. Folders of earlier
rounds of the same task are removed when a new round's work begins; a task has one open round at a time.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.manifest import adapter_digest
from tier_global.clock import Clock
from tier_global.errors import NodeRefusal
from tier_global.phases import Stage

_LOCK_POLL_S = 0.2


class RoundFolder:
    """The files of one (task, round) under the node's state folder."""

    def __init__(self, state_folder: Path, task: int, round_number: int) -> None:
        self._rounds = state_folder / "rounds"
        self._task = task
        self._round = round_number
        self.path = self._rounds / f"{task}-{round_number}"
        self._adapters = self.path / "adapters"
        self._adapters.mkdir(mode=0o700, parents=True, exist_ok=True)

    def forget_earlier_rounds(self) -> None:
        """Remove the folders of this task's earlier rounds."""
        for folder in self._rounds.glob(f"{self._task}-*"):
            _, _, number = folder.name.partition("-")
            if number.isdecimal() and int(number) < self._round:
                shutil.rmtree(folder, ignore_errors=True)

    def write(self, name: str, data: bytes) -> Path:
        """Put a file into the round's folder, durably and in one step."""
        return _write(self.path / name, data)

    def read(self, name: str) -> bytes | None:
        """A file of the round's folder, or None."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def keep_adapter(self, data: bytes) -> Path:
        """Store an adapter under its digest, in place of a copy whose bytes went bad."""
        digest = adapter_digest(data)
        path = self.adapter_path(digest)
        return path if self.adapter(digest) is not None else _write(path, data)

    def adapter_path(self, digest: str) -> Path:
        """Where the adapter with ``digest`` lies, or would lie."""
        return self._adapters / f"{digest}.safetensors"

    def adapter(self, digest: str) -> bytes | None:
        """The adapter with ``digest``, or None when it is not here or its bytes went bad."""
        try:
            data = self.adapter_path(digest).read_bytes()
        except FileNotFoundError:
            return None
        return data if adapter_digest(data) == digest else None

    @contextmanager
    def work_folder(self, stage: Stage) -> Iterator[Path]:
        """A fresh folder for one inner job, removed afterwards, as is what a killed one left behind."""
        prefix = f"{stage}-"
        for stale in self.path.glob(f"{prefix}*"):
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def sole_worker(self, stage: Stage, deadline_unix_s: float, clock: Clock) -> Iterator[None]:
        """Be the only process that does this stage of this round; wait for another one until the deadline.

        The operating system lets go of the lock when its holder dies, however it dies.

        Raises:
            NodeRefusal: another process still held the lock at the deadline.
        """
        with (self.path / f"{stage}.lock").open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if clock.now_unix_s() >= deadline_unix_s:
                        raise NodeRefusal(
                            "busy", "the same work is still running from an earlier request"
                        ) from None
                    clock.sleep(_LOCK_POLL_S)
            yield


def _write(path: Path, data: bytes) -> Path:
    descriptor, temporary = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
