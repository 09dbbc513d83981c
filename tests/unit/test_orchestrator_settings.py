"""Settings come from the environment, and errors name the variable."""

from pathlib import Path

import pytest

from contracts.errors import ContractViolation
from orchestrator.settings import SettingsError, load_settings


def test_errors_name_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLLEGIUM_PORT", "lots")
    with pytest.raises(SettingsError, match="COLLEGIUM_PORT"):
        load_settings()
    monkeypatch.setenv("COLLEGIUM_PORT", "0")
    for name in ("RPC_URL", "RELAYER_KEY_FILE", "COUNCIL_KEY_FILE"):
        monkeypatch.delenv(f"COLLEGIUM_{name}", raising=False)
    settings = load_settings()
    for ask, name in (
        (settings.chain_rpc_url, "COLLEGIUM_RPC_URL"),
        (settings.relayer_key, "COLLEGIUM_RELAYER_KEY_FILE"),
        (settings.council_key, "COLLEGIUM_COUNCIL_KEY_FILE"),
    ):
        with pytest.raises(SettingsError, match=name):
            ask()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUDIT_EPOCH_MINUTES", "0"),
        ("AUDIT_EPOCH_MINUTES", "10081"),
        ("AUDIT_EPOCH_ROWS", "0"),
        ("AUDIT_EPOCH_ROWS", "1048577"),
    ],
)
def test_an_epoch_of_the_audit_log_has_bounds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"COLLEGIUM_{name}", value)
    with pytest.raises(SettingsError, match=f"COLLEGIUM_{name}"):
        load_settings()


def test_a_limit_has_a_share_for_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLEGIUM_API_PROCESSES", "3")
    assert load_settings().app_options().limits.processes == 3
    monkeypatch.setenv("COLLEGIUM_SIGN_IN_LIMIT", "2/minute")
    with pytest.raises(SettingsError, match="2/minute is less than one for each of 3 processes"):
        load_settings().app_options()
    monkeypatch.setenv("COLLEGIUM_API_PROCESSES", "0")
    with pytest.raises(SettingsError, match="COLLEGIUM_API_PROCESSES"):
        load_settings()


def test_deployment_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    monkeypatch.setenv("COLLEGIUM_DEPLOYMENT_FILE", str(file))
    with pytest.raises(SettingsError, match="deploy-contracts"):
        load_settings().deployment()
    file.write_text("{}")
    with pytest.raises(ContractViolation):
        load_settings().deployment()
