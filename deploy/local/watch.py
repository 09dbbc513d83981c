"""Follows the rounds of a task and shows them: phases, and how far the hospitals' long jobs are."""

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.local.hub import Hub
from deploy.local.layout import Layout
from deploy.local.supervisor import Supervisor
from tier_local.report import PROGRESS_FILE, Progress, Stage

CLOSED_PHASES = ("final", "rejected", "aborted")
LOOK_EVERY_S = 0.5
_PROGRESS_MILESTONE = 0.5


@dataclass(frozen=True)
class InnerProgress:
    """How far one network's inner job is."""

    network: str
    stage: str
    done: int
    total: int
    unit: str


@dataclass
class RoundWatcher:
    """Shows the open round: live on a terminal, as plain lines elsewhere."""

    hub: Hub
    layout: Layout
    supervisor: Supervisor
    console: Console
    _said: set[object] = field(default_factory=set)
    _phase_since_unix_s: float = 0.0

    def follow(self, task: int, round_number: int, timeout_s: float) -> Mapping[str, Any]:
        """Wait until a round is closed; give its resource.

        Raises:
            LauncherError: a daemon died, or the round was not closed in time.
        """
        path = f"/v1/tasks/{task}/rounds/{round_number}"
        latest: dict[str, Any] = {}

        with Live(console=self.console, transient=True, auto_refresh=False) as live:

            def closed() -> bool:
                latest.update(self.hub.find(path) or {})
                if latest:
                    self._show(latest, live)
                return latest.get("phase") in CLOSED_PHASES

            self.supervisor.wait_for(closed, f"round {round_number} to close", timeout_s, poll_s=LOOK_EVERY_S)
        return latest

    def _show(self, resource: Mapping[str, Any], live: Live) -> None:
        number, phase = resource["round"], resource["phase"]
        if self._first_time((number, phase)):
            self._phase_since_unix_s = time.time()
            self.console.print(f"round {number}: [bold]{phase}[/bold]{what_happened(resource)}")
        progress = inner_progress(self.layout, self._phase_since_unix_s)
        if self.console.is_terminal:
            live.update(_progress_table(progress), refresh=True)
            return
        for job in progress:
            share = job.done / job.total if job.total else 0.0
            reached = share // _PROGRESS_MILESTONE * _PROGRESS_MILESTONE
            if reached and self._first_time((number, phase, job.network, job.stage, reached)):
                self.console.print(f"  {job.network}: {job.stage} {job.done} of {job.total} {job.unit}")

    def _first_time(self, what: object) -> bool:
        first = what not in self._said
        self._said.add(what)
        return first


def inner_progress(layout: Layout, since_unix_s: float) -> list[InnerProgress]:
    """The newest inner job of every network that was at work after ``since_unix_s``."""
    jobs = []
    for folder in sorted(layout.network("").iterdir()):
        # In a deployed federation only the hospitals know how far they are.
        written = _written(layout.federation(folder.name).glob(f"*/{PROGRESS_FILE}"), since_unix_s)
        if not written:
            written = _written((folder / "state").rglob(PROGRESS_FILE), since_unix_s)[-1:]
        if written:
            jobs.append(_sum_of(folder.name, written))
    return jobs


def _written(files: Iterable[Path], since_unix_s: float) -> list[Progress]:
    """What the files say that were written since, the newest last; a job may take its own away meanwhile."""
    found = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            written_unix_s = file.stat().st_mtime
            if written_unix_s >= since_unix_s:
                found.append((written_unix_s, file.read_bytes()))
    return [Progress.model_validate_json(data) for _, data in sorted(found)]


def _sum_of(network: str, parts: Sequence[Progress]) -> InnerProgress:
    # The slowest say what the job is doing.
    stage = min((part.stage for part in parts), key=list(Stage).index)
    slowest = [part for part in parts if part.stage is stage]
    done, total = sum(part.done for part in slowest), sum(part.total for part in slowest)
    return InnerProgress(network, stage, done, total, parts[0].unit)


def what_happened(resource: Mapping[str, Any]) -> str:
    """What there is to say of a round beside its phase."""
    match resource["phase"]:
        case "training":
            return f" by {len(resource['proposers'])} proposers until all have proposed"
        case "committing":
            return f": {len(resource['proposals'])} proposals to score"
        case "attesting":
            accepted = sum(proposal["standing"] == "accepted" for proposal in resource["proposals"])
            return f": {accepted} of {len(resource['proposals'])} proposals accepted"
        case "final":
            return f": next parent {resource['aggregate_digest'][:18]}…"
        case "rejected":
            return f": {_counts(resource)}; the parent is kept"
        case "aborted":
            return f": too few messages in time ({_counts(resource)}); the parent is kept"
    return ""


def _counts(resource: Mapping[str, Any]) -> str:
    votes = resource["votes"]
    came_in = {
        "proposals": len(resource["proposals"]),
        "commits": sum(vote["committed"] for vote in votes),
        "reveals": sum(vote["revealed"] for vote in votes),
        "attestations": len(resource["attestations"]),
    }
    return ", ".join(f"{count} {what}" for what, count in came_in.items())


def _progress_table(progress: list[InnerProgress]) -> Table:
    table = Table.grid(padding=(0, 2))
    for job in progress:
        filled = round(20 * job.done / job.total) if job.total else 0
        table.add_row(
            f"  {job.network}",
            job.stage,
            "━" * filled + "╌" * (20 - filled),
            f"{job.done}/{job.total} {job.unit}",
        )
    return table
