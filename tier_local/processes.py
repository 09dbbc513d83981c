"""Process trees that leave no orphan, whatever kills whom.

A tree is everything that a supervisor starts, directly or not. Its processes are found by a mark in
their environment and not by parenthood, because daemons start sessions of their own and orphans get
other parents. Beside the supervisor runs a guardian, a small process of this module, that holds one end
of a pipe: when the supervisor dies, however it dies, the pipe closes, and the guardian ends the tree
and removes its scratch folder. A tree may stand inside another: marks add up, and whoever ends the
outer tree ends the inner one, its supervisor and its guardian included.

Linux only (/proc and pidfd). Not covered: a process that overwrites its own environment block, and
both supervisor and guardian killed in the same moment by someone who spares the rest.

Usage:

    with ProcessTree.guard(exit_with_parent=parent_pid) as tree:
        daemon = tree.start(["some", "daemon"])
        …
    # here nothing of the tree lives
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MARK_VARIABLE = "COLLEGIUM_PROCESS_TREES"
"""Environment variable: the identities of all trees that a process belongs to, joined by colons."""

_PROC = Path("/proc")
_POLL_SECONDS = 0.02
_KILL_SECONDS = 10.0
"""How long killed processes may take to vanish before that is an error."""


class ProcessesRemain(RuntimeError):
    """Processes of a tree are still there after they were killed."""


class ParentGone(RuntimeError):
    """The process that was to be followed into its death has died already."""


class ProcessTree:
    """Everything that carries one mark; made by ``guard``, ended by ``stop`` or by leaving a ``with``."""

    def __init__(self, identity: str, guardian: subprocess.Popen[bytes], lifeline: int) -> None:
        """Use ``guard``. ``lifeline`` is the pipe's write end: the guardian acts when it closes."""
        self.identity = identity
        self._guardian = guardian
        self._lifeline = lifeline
        self._grace_seconds = 0.0

    @classmethod
    def guard(
        cls,
        *,
        grace_seconds: float = 0.0,
        exit_with_parent: int | None = None,
        scratch_folder: Path | None = None,
    ) -> Self:
        """A new tree with its guardian; the calling process is the supervisor.

        Args:
            grace_seconds: between SIGTERM and SIGKILL when the tree ends; 0 kills at once.
            exit_with_parent: id of the process that started the supervisor; when it dies, the guardian
                ends the tree and kills the supervisor.
            scratch_folder: removed with the tree when the supervisor did not end it itself.

        Raises:
            ParentGone: the parent has died already; nothing was started.
        """
        identity = uuid.uuid4().hex
        watched, lifeline = os.pipe()
        command = [sys.executable, "-I", __file__, "--tree", identity, "--lifeline", str(watched)]
        command += ["--grace-seconds", str(grace_seconds), "--supervisor", str(os.getpid())]
        if scratch_folder is not None:
            command += ["--scratch-folder", str(scratch_folder)]
        inherited = [watched]
        try:
            if exit_with_parent is not None:
                inherited.append(_open_parent(exit_with_parent))
                command += ["--parent", str(inherited[-1])]
            # In a session of its own: Ctrl-C in a terminal reaches the supervisor, and not the guardian.
            guardian = subprocess.Popen(
                command, pass_fds=inherited, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        tree = cls(identity, guardian, lifeline)
        tree._grace_seconds = grace_seconds
        return tree

    @property
    def guarded(self) -> bool:
        """Whether the guardian lives; a supervisor that finds it dead should end the tree and itself."""
        return self._guardian.poll() is None

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """``base`` (this process's environment by default) with the tree's mark added."""
        environment = dict(os.environ if base is None else base)
        marks = [mark for mark in environment.get(MARK_VARIABLE, "").split(":") if mark]
        if self.identity not in marks:
            marks.append(self.identity)
        environment[MARK_VARIABLE] = ":".join(marks)
        return environment

    def mark_children(self) -> None:
        """Put the mark into this process's own environment, for libraries that start processes themselves."""
        os.environ[MARK_VARIABLE] = self.environment()[MARK_VARIABLE]

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, **popen: Any
    ) -> subprocess.Popen[bytes]:
        """``subprocess.Popen`` with the tree's mark."""
        return subprocess.Popen(command, env=self.environment(env), **popen)

    def members(self) -> list[int]:
        """Process ids of the tree, without this process; zombies do not count."""
        return [pid for pid in _marked(self.identity) if pid != os.getpid()]

    def stop(self) -> None:
        """End every process of the tree, then the guardian. Does nothing the second time.

        Raises:
            ProcessesRemain: some outlived SIGKILL by ten seconds.
        """
        if self._lifeline < 0:
            return
        end_tree(self.identity, self._grace_seconds, spare=(os.getpid(), self._guardian.pid))
        # Only now: had this process died on the way, the guardian would have finished the work.
        self._guardian.kill()
        self._guardian.wait()
        os.close(self._lifeline)
        self._lifeline = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def follow_parent(pid: int) -> None:
    """From now on, die with the process ``pid`` that started this one.

    For the first second of a program, while it imports and before it guards a tree: a thread waits for the
    parent's end and kills this process. Once there is a guardian, it sees that and ends the tree.

    Raises:
        ParentGone: the parent has died already.
    """
    parent = _open_parent(pid)
    threading.Thread(target=_die_with, args=(parent,), name="follow-parent", daemon=True).start()


def runs(pid: int) -> bool:
    """Whether a process with this id lives; one that is dead and not yet waited for (a zombie) does not."""
    try:
        status = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return False
    # pid (name) state …: the name may hold anything, so the state is looked for behind its end.
    return status[status.rindex(b")") + 2 :][:1] not in (b"Z", b"X")


def end_tree(identity: str, grace_seconds: float, spare: Sequence[int]) -> None:
    """SIGTERM to all that carry the mark, SIGKILL to what is left after the grace, until nothing is left.

    Raises:
        ProcessesRemain: some outlived SIGKILL by ten seconds.
    """
    grace_end = time.monotonic() + grace_seconds
    asked: list[int] = []
    # In a loop: a process may have been started after the search, or have been unreadable for a moment.
    while _left(identity, spare) and time.monotonic() < grace_end:
        asked += _signal_marked(identity, signal.SIGTERM, (*spare, *asked))
        time.sleep(_POLL_SECONDS)
    end = time.monotonic() + _KILL_SECONDS
    # In a loop: a process that is starting another one may do so between the search and its death.
    while left := _left(identity, spare):
        if time.monotonic() > end:
            raise ProcessesRemain(f"processes {left} outlived SIGKILL")
        _signal_marked(identity, signal.SIGKILL, spare)
        time.sleep(_POLL_SECONDS)


def _left(identity: str, spare: Sequence[int]) -> list[int]:
    return [pid for pid in _marked(identity) if pid not in spare]


def _signal_marked(identity: str, signal_number: int, spare: Sequence[int]) -> list[int]:
    """Signal all that carry the mark; their numbers."""
    signalled = []
    for pid in _left(identity, spare):
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                # Looked at again with the handle in hand: the number may belong to someone else by now.
                if _carries(pid, identity):
                    signal.pidfd_send_signal(handle, signal_number)
                    signalled.append(pid)
            finally:
                os.close(handle)
    return signalled


def _marked(identity: str) -> list[int]:
    return [int(e.name) for e in _PROC.iterdir() if e.name.isdigit() and _carries(int(e.name), identity)]


def _carries(pid: int, identity: str) -> bool:
    try:
        # A zombie's environment is empty, so the dead that wait for their parent do not count.
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:  # it ended meanwhile, or belongs to another user, and then it is not ours
        return False
    prefix = MARK_VARIABLE.encode() + b"="
    marks = [v.removeprefix(prefix) for v in environment.split(b"\0") if v.startswith(prefix)]
    return any(identity.encode() in mark.split(b":") for mark in marks)


def _open_parent(pid: int) -> int:
    """A pidfd of this process's parent, which is said to be ``pid``. Raises ParentGone if it is not."""
    gone = ParentGone(f"the process {pid} that asked for this one is gone")
    if os.getppid() != pid:  # an orphan gets another parent
        raise gone
    try:
        parent = os.pidfd_open(pid)
    except ProcessLookupError:
        raise gone from None
    # Again with the handle in hand: the number may have gone to somebody else.
    if os.getppid() != pid:
        os.close(parent)
        raise gone
    return parent


def _die_with(parent: int) -> None:
    waits = select.poll()
    waits.register(parent, select.POLLIN)
    waits.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_an_end(lifeline: int, parent: int | None) -> bool:
    """Wait until the supervisor is gone or the parent is; True when it was the parent."""
    waits = select.poll()
    waits.register(lifeline, select.POLLIN | select.POLLHUP)
    if parent is not None:
        waits.register(parent, select.POLLIN)
    ended = {descriptor for descriptor, _ in waits.poll()}
    return lifeline not in ended


def _guard(arguments: argparse.Namespace) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    if _wait_for_an_end(arguments.lifeline, arguments.parent):
        with contextlib.suppress(ProcessLookupError):
            os.kill(arguments.supervisor, signal.SIGKILL)
    end_tree(arguments.tree, arguments.grace_seconds, spare=(os.getpid(),))
    if arguments.scratch_folder is not None:
        shutil.rmtree(arguments.scratch_folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the guardian of a process tree")
    parser.add_argument("--tree", required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--supervisor", type=int, required=True)
    parser.add_argument("--grace-seconds", type=float, required=True)
    parser.add_argument("--parent", type=int, help="a pidfd")
    parser.add_argument("--scratch-folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    _guard(_arguments())
