"""Tokens, a node's sign-in and watching at the command line, against a real server.

Each answers one envelope, with the exit code that says what became of it, and shows no secret.
"""

import json
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands.output import ExitCode
from orchestrator.domain.identity import Principal
from tests.integration.orchestrator_double_rig import DEPLOYMENT, Rig
from tests.integration.orchestrator_rig import NETWORKS
from tests.integration.orchestrator_server import serving
from tier_global import sign_in as node_side
from tier_global.bundle import installed_bundle

NODE = NETWORKS[0]
DEADLINE_S = 60.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    (tmp_path / "hub").mkdir()
    rig = Rig(tmp_path / "hub")
    yield rig
    rig.close()


@pytest.fixture
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLLEGIUM_URL", "COLLEGIUM_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


class Terminal:
    """Runs commands, and knows every secret that none of them may show."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.secrets: list[str] = []

    def token_file(self, name: str, secret: str) -> Path:
        file = self.folder / name
        file.write_text(secret)
        self.secrets.append(secret)
        return file

    def written(self, file: Path) -> str:
        """The secret that a command has written into a file of its own."""
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        secret = file.read_text().strip()
        self.secrets.append(secret)
        return secret

    def say(self, *arguments: str) -> tuple[int, Any]:
        """The exit code, and the data or the error's code of the one envelope on stdout."""
        done = CliRunner().invoke(app, [*arguments, "--json"])
        envelope = json.loads(done.stdout)
        assert set(envelope) == ({"ok", "data"} if envelope["ok"] else {"ok", "error"})
        assert envelope["ok"] == (done.exit_code == ExitCode.DONE)
        assert len(done.stdout.splitlines()) == 1
        if arguments[0] != "node" or not envelope["ok"]:
            assert done.stderr.strip(), "people are told something too"
        for secret in [*self.secrets, *self._written()]:
            assert secret not in done.output
        return done.exit_code, envelope["data"] if envelope["ok"] else envelope["error"]["code"]

    def as_holder(self, file: Path, *arguments: str) -> tuple[int, Any]:
        return self.say(*arguments, "--url", self.url, "--token-file", str(file))

    def _written(self) -> list[str]:
        return [file.read_text().strip() for file in self.folder.glob("*.token")]


@pytest.fixture
def terminal(url: str, tmp_path: Path) -> Terminal:
    return Terminal(url, tmp_path)


def bearer(client: Any) -> str:
    return str(client.headers["Authorization"]).removeprefix("Bearer ")


def status_of(url: str, secret: str) -> int:
    return httpx.get(f"{url}/v1/tasks", headers={"Authorization": f"Bearer {secret}"}).status_code


def test_a_token_from_its_making_to_its_end(rig: Rig, terminal: Terminal, tmp_path: Path) -> None:
    admin = terminal.token_file("admin", bearer(rig.admin))
    out = tmp_path / "export.token"
    create = ("tokens", "create", "--name", "export", "--role", "auditor", "--days", "7", "--out", str(out))
    code, made = terminal.as_holder(admin, *create, "--operation", "list_tasks", "--operation", "list_nodes")
    assert (code, made["role"], made["operations"]) == (
        ExitCode.DONE,
        "auditor",
        ["list_nodes", "list_tasks"],
    )
    assert (made["file"], "secret" in made) == (str(out), False)
    assert made["expires_unix_s"] - made["created_unix_s"] == 7 * 86_400
    secret = terminal.written(out)
    assert status_of(terminal.url, secret) == 200

    code, listed = terminal.as_holder(admin, "tokens", "list")
    assert code == ExitCode.DONE
    assert {item["name"] for item in listed["items"]} >= {"admin", "auditor", "conductor", "export"}
    assert all("secret" not in item for item in listed["items"])

    rotated = tmp_path / "rotated.token"
    rotate = ("tokens", "rotate", "--out", str(rotated))
    code, again = terminal.as_holder(admin, *rotate, "--token", str(made["token"]))
    assert (code, again["token"]) == (ExitCode.DONE, made["token"])
    new_secret = terminal.written(rotated)
    assert (status_of(terminal.url, secret), status_of(terminal.url, new_secret)) == (401, 200)

    assert terminal.as_holder(admin, "tokens", "revoke", "--token", str(made["token"])) == (
        ExitCode.DONE,
        {"token": made["token"]},
    )
    assert status_of(terminal.url, new_secret) == 401
    assert terminal.as_holder(rotated, "tokens", "list") == (ExitCode.REFUSED, "unauthenticated")


def test_whoever_asks_replaces_its_own_token(rig: Rig, terminal: Terminal, tmp_path: Path) -> None:
    auditor = terminal.token_file("auditor", bearer(rig.auditor))
    code, _ = terminal.as_holder(auditor, "tokens", "rotate", "--out", str(auditor))
    assert code == ExitCode.DONE
    assert status_of(terminal.url, bearer(rig.auditor)) == 401
    assert status_of(terminal.url, terminal.written(auditor)) == 200
    assert terminal.as_holder(auditor, "tokens", "list")[0] == ExitCode.DONE


def test_what_is_refused_leaves_no_file(rig: Rig, terminal: Terminal, tmp_path: Path) -> None:
    auditor, admin = (
        terminal.token_file("auditor", bearer(rig.auditor)),
        terminal.token_file("admin", bearer(rig.admin)),
    )
    out = tmp_path / "new.token"
    create = ("tokens", "create", "--name", "x", "--out", str(out), "--role")
    assert terminal.as_holder(auditor, *create, "admin") == (ExitCode.REFUSED, "not_allowed")
    assert terminal.as_holder(admin, *create, "emperor") == (ExitCode.BAD_INPUT, "invalid_request")
    assert terminal.as_holder(admin, *create, "operator") == (ExitCode.BAD_INPUT, "unacceptable")
    assert terminal.as_holder(admin, "tokens", "revoke", "--token", "99")[0] == ExitCode.BAD_INPUT
    assert not out.exists()
    (tmp_path / "file").write_text("no folder")
    nowhere = ("tokens", "rotate", "--token", "1", "--out", str(tmp_path / "file" / "token"))
    assert terminal.as_holder(admin, *nowhere) == (ExitCode.BAD_INPUT, "bad_file")
    assert status_of(terminal.url, bearer(rig.admin)) == 200, "nothing was replaced that could not be kept"
    assert terminal.as_holder(tmp_path / "none", "tokens", "list") == (ExitCode.BAD_INPUT, "bad_token_file")


def test_a_round_is_watched_to_its_end(rig: Rig, terminal: Terminal) -> None:
    rig.start_task()
    auditor = terminal.token_file("auditor", bearer(rig.auditor))
    watch = ("rounds", "watch", "--task", "1", "--url", terminal.url, "--token-file", str(auditor))
    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(CliRunner().invoke, app, [*watch, "--round", "1", "--json"])
        followers = rig.app.state.services.feed
        deadline_s = time.monotonic() + DEADLINE_S
        while followers.followers == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        rig.play_round(1)
        done = watching.result(DEADLINE_S)
    assert done.exit_code == ExitCode.DONE, done.output
    assert json.loads(done.stdout)["data"]["rounds"][0]["phase"] == "final"
    assert [line.split(",")[0] for line in done.stderr.splitlines()][-2:] == [
        "round 1: final",
        "1 rounds are final",
    ]
    rig.round_in("training", 2)
    rig.post("/v1/tasks/1/pause", {})
    rig.round_in("aborted", 2)
    assert terminal.as_holder(auditor, "rounds", "watch", "--task", "1", "--round", "2") == (
        ExitCode.FAILED,
        "not_final",
    )
    assert terminal.as_holder(auditor, "rounds", "watch", "--task", "9")[0] == ExitCode.BAD_INPUT


def test_a_hub_that_is_not_there_and_one_that_takes_too_long(
    rig: Rig, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = terminal.token_file("admin", bearer(rig.admin))
    rig.order_task()
    rig.turn_until(lambda: rig.admin.get("/v1/tasks/1").is_success)
    watch = ("rounds", "watch", "--task", "1", "--timeout-s", "0.5")
    assert terminal.as_holder(admin, *watch) == (ExitCode.TIMED_OUT, "timed_out")
    # No worker turns any more: the chain never hears of it.
    assert terminal.as_holder(admin, "task", "pause", "--task", "1", "--timeout-s", "0.5") == (
        ExitCode.TIMED_OUT,
        "timed_out",
    )
    monkeypatch.setattr("orchestrator.client.session.TRIES", 1)
    terminal.url = "http://127.0.0.1:9"
    assert terminal.as_holder(admin, "tokens", "list") == (ExitCode.FAILED, "unreachable")


@pytest.fixture
def node_config(rig: Rig, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's configuration; the hub calls itself by the address that the node dials."""
    rig.admit_networks()
    rig.worker.run_once()
    services = rig.app.state.services
    rig.app.state.services = replace(services, node_sign_in=replace(services.node_sign_in, public_url=url))
    monkeypatch.setattr(node_side.time, "time", lambda: float(rig.clock.unix_s))
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "deployment.json").write_bytes(DEPLOYMENT.to_json())
    settings = {
        "address": NODE.address,
        "key_file": "node.key",
        "rpc_url": "http://127.0.0.1:9",
        "deployment_file": "deployment.json",
        "state_folder": "state",
        "network_file": "network.json",
        "inner_command": ["true"],
        "allowed_bundles": [installed_bundle()],
    }
    (folder / "node.json").write_text(json.dumps(settings))
    return folder / "node.json"


def write_key(config: Path, key: bytes) -> str:
    file = config.with_name("node.key")
    file.write_text("0x" + key.hex())
    file.chmod(0o600)
    return file.read_text()


def test_a_node_signs_in(rig: Rig, terminal: Terminal, node_config: Path, tmp_path: Path) -> None:
    terminal.secrets.append(write_key(node_config, NODE.key))
    out = tmp_path / "operator.token"
    login = (
        "node",
        "login",
        "--config",
        str(node_config),
        "--orchestrator-url",
        terminal.url,
        "--out",
        str(out),
    )
    assert terminal.say(*login) == (ExitCode.DONE, {"node": NODE.address, "file": str(out)})
    terminal.written(out)
    code, listed = terminal.as_holder(out, "tokens", "list")
    assert code == ExitCode.DONE
    assert {item["node"] for item in listed["items"]} == {NODE.address}

    write_key(node_config, NETWORKS[1].key)
    out.unlink()
    assert terminal.say(*login)[0] == ExitCode.REFUSED
    assert not out.exists()
    node_config.with_name("node.key").chmod(0o644)
    assert terminal.say(*login)[0] == ExitCode.BAD_INPUT
    node_config.write_text("{}")
    assert terminal.say(*login)[0] == ExitCode.BAD_INPUT


def test_a_browser_is_signed_out_at_once(rig: Rig, terminal: Terminal) -> None:
    sessions = rig.app.state.services.sessions
    ends_unix_s = rig.clock.unix_s + 3_600
    secrets = [sessions.open(Principal(name, "auditor", ends_unix_s)) for name in ("ada (SSO)", "bob (SSO)")]
    terminal.secrets += secrets
    admin, auditor = (
        terminal.token_file(name, bearer(client))
        for name, client in (("admin", rig.admin), ("auditor", rig.auditor))
    )
    code, listed = terminal.as_holder(auditor, "sessions", "list")
    assert (code, [item["name"] for item in listed["items"]]) == (ExitCode.DONE, ["ada (SSO)", "bob (SSO)"])
    number = str(listed["items"][0]["session"])
    assert terminal.as_holder(auditor, "sessions", "end", "--session", number)[0] == ExitCode.REFUSED
    assert terminal.as_holder(admin, "sessions", "end", "--session", number)[0] == ExitCode.DONE
    assert [sessions.holder_of(secret) is None for secret in secrets] == [True, False]
    assert terminal.as_holder(admin, "sessions", "end", "--session", number) == (
        ExitCode.BAD_INPUT,
        "not_found",
    )


def test_an_admin_with_a_password_is_removed_at_once(rig: Rig) -> None:
    people, sessions = rig.app.state.services.people, rig.app.state.services.sessions
    people.set_password("ada", "a long enough passphrase")
    ada = people.authenticate("ada", "a long enough passphrase")
    secret = sessions.open(ada.principal, ada.is_current)
    assert rig.auditor.get("/v1/users").json()["items"] == [
        {"name": "ada", "failures": 0, "waits_until_unix_s": 0}
    ]
    assert rig.auditor.delete("/v1/users/ada").status_code == 403
    assert rig.admin.delete("/v1/users/ada").status_code == 204
    assert sessions.holder_of(secret) is None
    assert rig.admin.delete("/v1/users/ada").status_code == 404
    rows = rig.get("/v1/audit?operation=remove_user")["items"]
    assert [row["outcome"] for row in rows] == ["refused", "done", "refused"]
