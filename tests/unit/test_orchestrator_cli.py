"""The ``collegium`` command: envelopes, exit codes, other packages' commands, and what it does not import."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from alembic.script import ScriptDirectory
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands import plugins
from orchestrator.commands.output import CommandError, ExitCode
from orchestrator.commands.waiting import wait_for

runner = CliRunner()

example = typer.Typer()
node_commands = typer.Typer()


@example.command()
def only(number: int = 1) -> None:
    """An app of one command."""
    typer.echo(f"number {number}")


@node_commands.command("sign")
def sign() -> None:
    """Another package's node command."""
    typer.echo("signed")


@node_commands.command("admit")
def other_admit() -> None:
    """Would hide the hub's own."""
    typer.echo("hidden")


@pytest.fixture
def other_packages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    loaded: list[str] = []

    class Recorded(EntryPoint):
        def load(self) -> object:
            loaded.append(self.name)
            return super().load()

    monkeypatch.setitem(sys.modules, "commands_of_tests", sys.modules[__name__])
    entries = (
        Recorded("example", "commands_of_tests:example", plugins.GROUP),
        Recorded("node", "commands_of_tests:node_commands", plugins.GROUP),
        Recorded("absent", "package_that_is_absent.cli:app", plugins.GROUP),
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    return loaded


def test_help_lists_other_packages_without_loading_them(other_packages: list[str]) -> None:
    shown = runner.invoke(app, ["--help"])
    assert shown.exit_code == 0
    for name in ("serve", "worker", "deploy-contracts", "example", "absent"):
        assert name in shown.stdout
    assert other_packages == []


def test_a_command_of_another_package_runs(other_packages: list[str]) -> None:
    done = runner.invoke(app, ["example", "--number", "3"])
    assert (done.exit_code, done.stdout) == (0, "number 3\n")
    assert other_packages == ["example"]


def test_commands_of_both_stand_side_by_side(other_packages: list[str]) -> None:
    assert runner.invoke(app, ["node", "sign"]).stdout == "signed\n"
    shown = runner.invoke(app, ["node", "--help"]).stdout
    assert "sign" in shown
    assert "admit" in shown
    own = runner.invoke(app, ["node", "admit", "--help"])
    assert "--group" in own.stdout


def test_a_package_that_is_not_installed(other_packages: list[str]) -> None:
    done = runner.invoke(app, ["absent"])
    assert done.exit_code == ExitCode.FAILED
    assert "not installed" in done.stderr


def test_an_unknown_command_is_bad_usage(other_packages: list[str]) -> None:
    assert runner.invoke(app, ["nothing"]).exit_code == ExitCode.BAD_INPUT
    assert runner.invoke(app, ["node", "nothing"]).exit_code == ExitCode.BAD_INPUT


def test_migrate_and_bootstrap_answer_envelopes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLEGIUM_DATABASE_URL", f"sqlite:///{tmp_path}/deep/hub.sqlite3")
    monkeypatch.setenv("COLLEGIUM_TOKEN_FOLDER", str(tmp_path / "tokens"))
    migrated = runner.invoke(app, ["migrate", "--json"])
    assert migrated.exit_code == 0, migrated.output
    head = ScriptDirectory("orchestrator/migrations").get_current_head()
    assert json.loads(migrated.stdout) == {"ok": True, "data": {"revision": head}}
    assert runner.invoke(app, ["migrate"]).exit_code == 0
    exported = tmp_path / "audit.jsonl"
    assert runner.invoke(app, ["audit", "export", "--from-database", "--out", str(exported)]).exit_code == 0
    (row,) = map(json.loads, exported.read_text().splitlines())
    assert (row["operation"], row["role"], row["outcome"]) == ("migrate", "host", "done"), (
        "once: it changed once"
    )
    made = runner.invoke(app, ["tokens", "bootstrap", "--json"])
    assert made.exit_code == 0, made.output
    token = (tmp_path / "tokens" / "admin").read_text().strip()
    assert len(token) > 40
    assert token not in made.output
    assert (tmp_path / "tokens" / "admin").stat().st_mode & 0o777 == 0o600


def test_words_go_to_stderr_and_nothing_to_stdout_without_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLEGIUM_DATABASE_URL", f"sqlite:///{tmp_path}/hub.sqlite3")
    migrated = runner.invoke(app, ["migrate"])
    assert migrated.stdout == ""
    assert "revision" in migrated.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["deploy-contracts", "--out", "x"], "bad_settings", "COLLEGIUM_RPC_URL"),
        (
            ["rounds", "watch", "--task", "1", "--url", "http://127.0.0.1:9", "--token-file", "no"],
            "bad_token_file",
            "no",
        ),
        (
            [
                *("task", "create", "--spec", "no", "--genesis", "no", "--config", "no", "--pool", "1"),
                *("--url", "http://127.0.0.1:9", "--token-file", __file__),
            ],
            "bad_file",
            "cannot be read",
        ),
    ],
)
def test_bad_input_is_said(
    arguments: list[str], code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLLEGIUM_RPC_URL", raising=False)
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == ExitCode.BAD_INPUT, done.output
    envelope = json.loads(done.stdout)
    assert (envelope["ok"], envelope["error"]["code"]) == (False, code)
    assert words in envelope["error"]["message"]
    assert words in done.stderr


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("collegium_x")
    done = runner.invoke(
        app,
        ["node", "list", "--url", "http://127.0.0.1:9", "--token-file", str(tmp_path / "token"), "--json"],
    )
    assert done.exit_code == ExitCode.FAILED
    assert json.loads(done.stdout)["error"]["code"] == "unreachable"
    assert "collegium_x" not in done.output


def test_daemons_without_their_settings_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLLEGIUM_MODE", "development")
    monkeypatch.setenv("COLLEGIUM_DEPLOYMENT_FILE", str(tmp_path / "none.json"))
    monkeypatch.setenv("COLLEGIUM_DATABASE_URL", f"sqlite:///{tmp_path}/hub.sqlite3")

    def said(command: str) -> str:
        done = runner.invoke(app, [command])
        assert done.exit_code == ExitCode.BAD_INPUT
        return done.stderr

    assert "collegium migrate" in said("worker")
    assert "COLLEGIUM_DEPLOYMENT_FILE" in said("serve")
    assert runner.invoke(app, ["migrate"]).exit_code == 0
    assert "COLLEGIUM_DEPLOYMENT_FILE" in said("worker")


def test_waiting_ends() -> None:
    with pytest.raises(CommandError) as error:
        wait_for(lambda: None, "nothing", timeout_s=0.0)
    assert error.value.exit_code == ExitCode.TIMED_OUT
    assert wait_for(lambda: 5, "five", timeout_s=0.0) == 5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from orchestrator.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'web3', 'flwr', 'torch', 'sqlalchemy', 'fastapi', 'numpy', 'httpx', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
