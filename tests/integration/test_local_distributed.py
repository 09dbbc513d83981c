"""Kits made the distributed way, by commands: participants keep their keys, and both borders compare."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.integration.flower_rig import free_port
from tests.unit.local_policies import policy_fields
from tier_local.deployment_cli import app
from tier_local.exchange import SiteFile
from tier_local.kit import Kit, Role

NOBODYS = "SHA256:" + ":".join(["00"] * 32)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--json"])


def data_of(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)["data"]
    return found


def words_of(refused: Result) -> str:
    assert refused.exit_code == 2, refused.output
    words: str = json.loads(refused.stdout)["error"]["message"]
    return words


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The authority's folder, and its fingerprint as told over the telephone."""
    folder = tmp_path_factory.mktemp("coordinator") / "authority"
    arguments = ["authority", "--folder", folder, "--network", "aurora", "--server-host", "localhost"]
    made = data_of(command(*arguments, "--server-port", free_port()))
    return folder, str(made["fingerprint"])


def test_a_site_gets_its_kit_from_an_authority_elsewhere(authority: tuple[Path, str], tmp_path: Path) -> None:
    folder, fingerprint = authority
    kit = tmp_path / "kit"
    asked = data_of(
        command("request", "--kit", kit, "--network", "aurora", "--name", "hospital-1", "--role", "site")
    )
    answer = tmp_path / "hospital-1.signed.zip"
    approve = ["approve", asked["request"], "--authority", folder, "--out", answer, "--fingerprint"]
    assert "ask the requester again" in words_of(command(*approve, NOBODYS))
    assert not answer.exists()
    data_of(command(*approve, asked["fingerprint"]))

    policy_file = tmp_path / "policy" / "policy.json"
    policy_file.parent.mkdir(mode=0o700)
    policy_file.write_text(json.dumps(policy_fields(tmp_path)))
    policy_file.chmod(0o600)
    install = [
        "install",
        answer,
        "--kit",
        kit,
        "--data-folder",
        tmp_path,
        "--model-cache",
        tmp_path / "models",
    ]
    install += ["--policy-file", policy_file, "--state-folder", tmp_path / "state", "--fingerprint"]
    assert "nvflare package" in words_of(command(*install, NOBODYS))
    assert not (kit / "startup").exists()
    made = data_of(command(*install, fingerprint))
    assert (made["role"], made["name"]) == (Role.SITE, "hospital-1")
    assert Kit.at(kit).certificate().organization == "aurora"
    assert SiteFile.at(Kit.at(kit).site_files_folder, "hospital-1").policy_file == policy_file


def test_what_is_no_request_is_not_approved(authority: tuple[Path, str], tmp_path: Path) -> None:
    folder, fingerprint = authority
    none = tmp_path / "none.request.zip"
    none.write_bytes(b"not a zip")
    approve = ["approve", none, "--authority", folder, "--fingerprint", fingerprint, "--out"]
    assert "is no request" in words_of(command(*approve, tmp_path / "none.signed.zip"))
    assert "to end with .signed.zip" in words_of(command(*approve, tmp_path / "none.zip"))
    again = ["authority", "--folder", folder, "--network", "aurora", "--server-host", "localhost"]
    assert "holds an authority already" in words_of(command(*again, "--server-port", "8102"))
