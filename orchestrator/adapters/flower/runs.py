"""Submits and follows Flower runs with the ``flwr`` command, which is Flower's public interface for services.

Each call is a process of its own (about two seconds of CPU), so callers follow runs sparingly.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.domain.ports import FlowerError, FlowerRunNotFound, RunStatus

_ENDED: dict[str, RunStatus] = {
    "finished:completed": "completed",
    "finished:failed": "failed",
    "finished:stopped": "stopped",
}
_ALIVE: dict[str, RunStatus] = {"pending": "pending", "starting": "pending", "running": "running"}
_NOT_FOUND = "Run ID not found"
_QUOTED_CHARACTERS = 300


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
            raise FlowerError(f"flwr run names no run: {_quote(json.dumps(answer))}")
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
        raise FlowerError(f"flwr list gives no status of run {run_id}: {_quote(json.dumps(answer))}")

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("flwr")), *arguments, "--format", "json"]
        try:
            # A session of its own, so that Ctrl-C in a terminal does not cut a submission in half.
            done = subprocess.run(
                command,
                capture_output=True,
                timeout=self.timeout_s,
                check=False,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise FlowerError(f"flwr {arguments[0]} gave no answer in {self.timeout_s:.0f} s") from error
        except OSError as error:
            raise FlowerError(f"flwr cannot be started: {error.strerror}") from error
        return _answer(arguments[0], done)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }


def _answer(subcommand: str, done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    text = done.stdout.decode(errors="replace")
    start = text.find("{")
    try:
        # Some notes may precede the JSON.
        answer = json.loads(text[start:]) if start >= 0 else None
    except json.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        said = _quote(text + done.stderr.decode(errors="replace"))
        raise FlowerError(f"flwr {subcommand} ended with code {done.returncode}: {said}")
    if answer.get("success") is not True:
        raise FlowerError(f"flwr {subcommand} failed: {_quote(str(answer.get('error-message', text)))}")
    return answer


def _quote(text: str) -> str:
    return " ".join(text.split())[:_QUOTED_CHARACTERS]
