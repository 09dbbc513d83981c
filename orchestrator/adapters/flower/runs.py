"""Submits and follows Flower runs with the ``flwr`` command; callers follow runs sparingly."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.adapters.flower.command import quote, run_flwr
from orchestrator.domain.ports import FlowerError, FlowerRunNotFound, RunStatus

_ENDED: dict[str, RunStatus] = {
    "finished:completed": "completed",
    "finished:failed": "failed",
    "finished:stopped": "stopped",
}
_ALIVE: dict[str, RunStatus] = {"pending": "pending", "starting": "pending", "running": "running"}
_NOT_FOUND = "Run ID not found"


@dataclass(frozen=True)
class FlowerCommandRuns:
    """``FlowerRuns`` by the ``flwr`` command beside this interpreter.

    ``home`` is FLWR_HOME, whose config.toml names the SuperLink connection; ``app_folder`` holds nothing but
    the conductor's pyproject.toml.
    """

    app_folder: Path
    home: Path
    connection: str
    timeout_s: float = 120.0

    def submit(self, task: int, round_number: int) -> str:
        """Start the conductor of a round; the run's id. Raises FlowerError."""
        run_config = f"task={task} round={round_number}"
        answer = self._flwr("run", str(self.app_folder), self.connection, "--run-config", run_config)
        run_id = answer.get("run-id")
        if not isinstance(run_id, str) or not run_id:
            raise FlowerError(f"flwr run names no run: {quote(json.dumps(answer))}")
        return run_id

    def status(self, run_id: str) -> RunStatus:
        """Where a run stands. Raises FlowerError, FlowerRunNotFound."""
        try:
            answer = self._flwr("list", self.connection, "--run-id", run_id)
        except FlowerError as error:
            if _NOT_FOUND in str(error):
                raise FlowerRunNotFound(f"the SuperLink knows no run {run_id}") from error
            raise
        match answer.get("runs"):
            case [{"status": str(status)}]:
                known = _ENDED.get(status) or _ALIVE.get(status)
                if known is not None:
                    return known
        raise FlowerError(f"flwr list gives no status of run {run_id}: {quote(json.dumps(answer))}")

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        return run_flwr(self.home, self.timeout_s, *arguments)
