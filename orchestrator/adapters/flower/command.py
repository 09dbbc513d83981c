"""The ``flwr`` command, which is Flower's public interface for services.

Each call is a process of its own (about two seconds of CPU).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.domain.ports import FlowerError

_QUOTED_CHARACTERS = 300


def run_flwr(home: Path, timeout_s: float, *arguments: str) -> dict[str, Any]:
    """What ``flwr`` answers, run beside this interpreter with FLWR_HOME ``home``. Raises FlowerError."""
    command = [str(Path(sys.executable).with_name("flwr")), *arguments, "--format", "json"]
    try:
        # A session of its own, so that Ctrl-C in a terminal does not cut a submission in half.
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            env=_environment(home),
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise FlowerError(f"flwr {arguments[0]} gave no answer in {timeout_s:.0f} s") from error
    except OSError as error:
        raise FlowerError(f"flwr cannot be started: {error.strerror}") from error
    return _answer(arguments[0], done)


def _environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "FLWR_HOME": str(home),
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
        said = quote(text + done.stderr.decode(errors="replace"))
        raise FlowerError(f"flwr {subcommand} ended with code {done.returncode}: {said}")
    if answer.get("success") is not True:
        raise FlowerError(f"flwr {subcommand} failed: {quote(str(answer.get('error-message', text)))}")
    return answer


def quote(text: str) -> str:
    """The beginning of what a command said, on one line."""
    return " ".join(text.split())[:_QUOTED_CHARACTERS]
