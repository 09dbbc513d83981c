"""One behaviour for conductors' runs: the double of the other tests, and ``flwr`` with a real SuperLink."""

import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.adapters.flower import FlowerCommandRuns
from orchestrator.domain.ports import FlowerError, FlowerRunNotFound, FlowerRuns, RunStatus
from tests.integration.flower_rig import FlowerRig
from tests.integration.orchestrator_double_rig import FlowerDouble

DEADLINE_S = 90.0

APP_TOML = """
[project]
name = "round-of-nothing"
version = "1.0.0"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "tests"
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "round_of_nothing:server"
clientapp = "round_of_nothing:client"

[tool.flwr.app.config]
task = 0
round = 0
"""
APP_CODE = """
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

server = ServerApp()
client = ClientApp()


@server.main()
def main(grid, context):
    if context.run_config["round"] == 13:
        raise RuntimeError("an unlucky round")
"""


@dataclass
class Setting:
    """Runs, and a way to let them end."""

    runs: FlowerRuns
    end: Callable[[str, RunStatus], None]

    def status_at_the_end(self, run_id: str) -> RunStatus:
        deadline_s = time.monotonic() + DEADLINE_S
        while (status := self.runs.status(run_id)) in ("pending", "running"):
            assert time.monotonic() < deadline_s, status
        return status


@pytest.fixture(scope="module")
def command_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowerCommandRuns]:
    folder = tmp_path_factory.mktemp("flower")
    app = folder / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text(APP_TOML)
    (app / "round_of_nothing.py").write_text(APP_CODE)
    with FlowerRig.running(folder, {}) as rig:
        home = folder / "home"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink.hub]\naddress = "127.0.0.1:{rig.port}"\ninsecure = true\n'
        )
        yield FlowerCommandRuns(app, home, "hub", timeout_s=60)


@pytest.fixture(params=["double", "flwr"])
def setting(request: pytest.FixtureRequest) -> Setting:
    if request.param == "flwr":
        runs: FlowerCommandRuns = request.getfixturevalue("command_runs")
        return Setting(runs, lambda *_: None)
    double = FlowerDouble()

    def end(run_id: str, status: RunStatus) -> None:
        double.statuses[run_id] = status

    return Setting(double, end)


def test_a_run_from_its_start_to_its_end(setting: Setting) -> None:
    good, bad = setting.runs.submit(1, 2), setting.runs.submit(1, 13)
    assert good != bad
    setting.end(good, "completed")
    setting.end(bad, "failed")
    assert setting.status_at_the_end(good) == "completed"
    assert setting.status_at_the_end(bad) == "failed"


def test_a_run_that_does_not_exist(setting: Setting) -> None:
    with pytest.raises(FlowerRunNotFound):
        setting.runs.status("12345")


def test_a_superlink_that_is_not_there(tmp_path: Path, command_runs: FlowerCommandRuns) -> None:
    (tmp_path / "config.toml").write_text('[superlink.hub]\naddress = "127.0.0.1:9"\ninsecure = true\n')
    runs = FlowerCommandRuns(command_runs.app_folder, tmp_path, "hub", timeout_s=60)
    with pytest.raises(FlowerError, match="flwr run"):
        runs.submit(1, 1)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo not json", "ended with code 0: not json"),
        ('echo \'{"success": false, "error-message": "no app"}\'; exit 1', "no app"),
        ("echo '{\"success\": true}'", "names no run"),
        ("exec sleep 30", "gave no answer"),
    ],
)
def test_answers_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    command = tmp_path / "flwr"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(FlowerError, match=words):
        FlowerCommandRuns(tmp_path, tmp_path, "hub", timeout_s=1.0).submit(1, 1)


def test_a_command_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(FlowerError, match="cannot be started"):
        FlowerCommandRuns(tmp_path, tmp_path, "hub").submit(1, 1)
