"""What a benchmark sees of an inner round from outside: when things happen, and the server's memory."""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench._hub import resident_bytes
from tests.integration.federation import Federation
from tier_local.controller import WORK_FOLDER
from tier_local.exchange import OUTCOME_FILE

_LOOK_SECONDS = 0.01


class _Watch:
    """Looks again and again in a thread of its own."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def look(self) -> None:
        """Look once."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self.look()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


class MemoryWatch(_Watch):
    """The most memory that the server's processes held together at any look; they may come and go."""

    def __init__(self, federation: Federation) -> None:
        super().__init__()
        self.peak_bytes = 0
        self.peak_while_aggregating_bytes = 0
        """While the job's process asks the sites, takes their answers and folds them."""
        self._server = federation.kits["server"].folder
        self._processes = lambda: federation.processes_of("server")
        self._known: Sequence[int] = ()
        self._next_search_s = 0.0

    def look(self) -> None:
        """Add the processes' memory up; search for new ones ten times a second."""
        if time.monotonic() >= self._next_search_s:
            self._known = self._processes()
            self._next_search_s = time.monotonic() + 0.1
        held_bytes = sum(map(_resident_bytes, self._known))
        self.peak_bytes = max(self.peak_bytes, held_bytes)
        if any(self._server.glob(f"*/{WORK_FOLDER}")):
            self.peak_while_aggregating_bytes = max(self.peak_while_aggregating_bytes, held_bytes)


def _resident_bytes(pid: int) -> int:
    try:
        return resident_bytes(pid)
    except (OSError, IndexError, ValueError):  # it has ended
        return 0


class RoundWatch(_Watch):
    """When the steps of one round in a federation began, by what its processes write."""

    def __init__(self, federation: Federation) -> None:
        super().__init__()
        self._server = federation.kits["server"].folder
        self._sites = [federation.site_file(site) for site in federation.sites]
        self._jobs_before = set(self._job_folders())
        for site in self._sites:
            site.progress_file.unlink(missing_ok=True)
            site.process_file.unlink(missing_ok=True)
        self._began_s = time.monotonic()
        self._moments_s: dict[str, float] = {}

    def look(self) -> None:
        """Note what is true for the first time."""
        progress = [_read(site.progress_file) for site in self._sites]
        at_steps = [each for each in progress if each.get("stage") == "training"]
        steps_done = [each for each in at_steps if each["done"] == each["total"]]
        job = sorted(set(self._job_folders()) - self._jobs_before)
        self._note("deployed", bool(job))
        self._note("sites started", all(site.process_file.exists() for site in self._sites))
        self._note("task there", all(progress))
        self._note("first step done", len(at_steps) == len(self._sites))
        self._note("last step done", len(steps_done) == len(self._sites))
        self._note("folded", any((folder / OUTCOME_FILE).exists() for folder in job))

    def ended(self) -> None:
        """The node has its answer."""
        self._note("ended", True)

    @property
    def wall_s(self) -> float:
        """From the asking to the answer."""
        return self._moments_s["ended"]

    @property
    def steps_s(self) -> float:
        """From the first step's end to the last step's end, at the slowest site."""
        return self._moments_s["last step done"] - self._moments_s["first step done"]

    def parts_s(self) -> dict[str, float]:
        """How long each part took, in order."""
        names = {
            "deployed": "command, login, submission, schedule, deployment",
            "sites started": "job processes",
            "task there": "task",
            "first step done": "imports, model, first step",
            "last step done": "other steps",
            "folded": "answers, fold",
            "ended": "end of the job, result",
        }
        parts, before_s = {}, 0.0
        for moment, name in names.items():
            # What came and went between two looks is in the next part.
            if moment not in self._moments_s:
                continue
            parts[name] = self._moments_s[moment] - before_s
            before_s = self._moments_s[moment]
        return parts

    def _note(self, moment: str, is_true: bool) -> None:
        if is_true and moment not in self._moments_s:
            self._moments_s[moment] = time.monotonic() - self._began_s

    def _job_folders(self) -> list[Path]:
        """The server's folders of jobs that run."""
        return [folder for folder in self._server.iterdir() if (folder / "meta.json").exists()]


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found
