"""Startup kits: whose they are, what they allow, and what preflight finds missing. Certificates made here."""

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from tests.unit.local_policies import policy_fields
from tier_local.deployment_cli import app
from tier_local.errors import BadInput
from tier_local.exchange import SiteFile
from tier_local.kit import Kit, Role
from tier_local.participant import running_process
from tier_local.preflight import Check, Needs, checks

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FILES = {
    Role.SERVER: ("fed_server.json", "server"),
    Role.SITE: ("fed_client.json", "client"),
    Role.ADMIN: ("fed_admin.json", "client"),
}
RESOURCES = {
    "class_allow_list": ["nvflare.app_common.np.np_trainer.NPTrainer"],
    "allow_log_streaming": True,
    "servers": [{"admin_timeout": 10.0}],
    "snapshot_persistor": {"args": {"storage": {"args": {"root_dir": "/shared/snapshots"}}}},
    "components": [
        {"id": "job_scheduler", "path": "x", "args": {"max_jobs": 4}},
        {"id": "job_manager", "path": "x", "args": {"uri_root": "/shared/jobs"}},
        {"id": "site_log_streamer", "path": "x", "args": {}},
        {"id": "process_launcher", "path": "x", "args": {}},
    ],
}


def make_kit(folder: Path, role: Role, port: int = 8102, days: int = 100, host: str = "localhost") -> Kit:
    """A kit as NVFlare packages it, with a certificate that signs itself."""
    startup_file, credential = FILES[role]
    startup = folder / "startup"
    startup.mkdir(parents=True)
    (folder / "local").mkdir()
    (folder / "local" / "resources.json.default").write_text(json.dumps(RESOURCES))
    startup.joinpath(startup_file).write_text(
        json.dumps(
            {"admin": {"host": host, "port": port}}
            if role is Role.ADMIN
            else {"servers": [{"service": {"target": f"{host}:{port}"}}]}
        )
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "hospital-1"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "aurora"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=300))
        .not_valid_after(NOW + timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    startup.joinpath(f"{credential}.crt").write_bytes(pem)
    startup.joinpath("rootCA.pem").write_bytes(pem)
    startup.joinpath(f"{credential}.key").write_bytes(_pem(key))
    return Kit.at(folder)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def by_name(found: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in found}


@pytest.fixture
def site(tmp_path: Path) -> Kit:
    kit = make_kit(tmp_path / "kit", Role.SITE)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.jsonl", "heldout.jsonl"):
        (data / name).write_text("{}\n")
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    policy_file = tmp_path / "policy" / "policy.json"
    policy_file.parent.mkdir(mode=0o700)
    policy_file.write_text(json.dumps(policy_fields(tmp_path)))
    policy_file.chmod(0o600)
    kit.set_up_site(
        SiteFile(
            site=kit.name,
            data_folder=data,
            model_cache=tmp_path / "models",
            threads=2,
            progress_file=kit.folder / "progress.json",
            process_file=kit.folder / "process",
            policy_file=policy_file,
            state_folder=kit.folder / "state",
        )
    )
    return kit


def test_a_kits_holder_is_the_one_in_its_certificate(site: Kit, tmp_path: Path) -> None:
    assert (site.name, site.role, site.server_address()) == ("hospital-1", Role.SITE, ("localhost", 8102))
    assert site.certificate().organization == "aurora"
    with pytest.raises(BadInput, match="is no startup kit"):
        Kit.at(tmp_path)


@pytest.mark.parametrize("role", list(Role))
def test_nobody_may_bring_code_or_run_commands(tmp_path: Path, role: Role) -> None:
    kit = make_kit(tmp_path / "kit", role)
    kit.set_up()
    permissions = json.loads((kit.folder / "local" / "authorization.json").read_bytes())["permissions"]
    for rights in permissions.values():
        assert {right: rights[right] for right in ("byoc", "shell_commands", "operate")} == {
            "byoc": "none",
            "shell_commands": "none",
            "operate": "none",
        }


def test_a_site_runs_our_executor_alone_and_keeps_its_logs(site: Kit) -> None:
    site.set_up()
    resources = json.loads((site.folder / "local" / "resources.json").read_bytes())
    assert resources["class_allow_list"] == ["tier_local.executor.HospitalExecutor"]
    assert resources["allow_log_streaming"] is False
    paths = {component["id"]: component["path"] for component in resources["components"]}
    assert "site_log_streamer" not in paths
    assert paths["process_launcher"] == "tier_local.launchers.SiteJobLauncher"


def test_a_server_runs_our_controller_alone_and_keeps_its_jobs(tmp_path: Path) -> None:
    kit = make_kit(tmp_path / "kit", Role.SERVER)
    kit.set_up()
    resources = json.loads((kit.folder / "local" / "resources.json").read_bytes())
    assert resources["class_allow_list"] == ["tier_local.controller.InnerRoundController"]
    assert "/shared" not in json.dumps(resources)
    paths = {component["id"]: component["path"] for component in resources["components"]}
    assert paths["process_launcher"] == "tier_local.launchers.ServerJobLauncher"
    assert paths["job_scheduler"] == "tier_local.scheduler.InnerJobScheduler"


def test_preflight_of_a_site_names_what_is_missing(site: Kit, tmp_path: Path) -> None:
    found = by_name(checks(site, Needs(free_bytes=1 << 62, gpus=99, base_models=("tiny", "large")), NOW))
    assert {name for name, check in found.items() if not check.ok} == {"port", "disk", "model", "gpu"}
    assert "no server answers at localhost:8102" in found["port"].detail
    assert "the base model large is not in" in found["model"].detail
    assert found["certificate"].detail == "valid until 2026-09-09, 100 days"
    (tmp_path / "data" / "heldout.jsonl").unlink()
    assert "heldout.jsonl is missing" in by_name(checks(site, Needs(), NOW))["records"].detail


def test_preflight_looks_at_the_policy(site: Kit, tmp_path: Path) -> None:
    policy_file = tmp_path / "policy" / "policy.json"
    assert by_name(checks(site, Needs(), NOW))["policy"].ok
    (tmp_path / "policy" / "STOP").touch()
    assert not by_name(checks(site, Needs(), NOW))["policy"].ok
    (tmp_path / "policy" / "STOP").unlink()
    policy_file.write_text(json.dumps(policy_fields(tmp_path, site="hospital-2")))
    assert "is the policy of hospital-2" in by_name(checks(site, Needs(), NOW))["policy"].detail
    policy_file.unlink()
    assert not by_name(checks(site, Needs(), NOW))["policy"].ok
    site_file = SiteFile.at(site.site_files_folder, site.name)
    site.set_up_site(site_file.model_copy(update={"policy_file": None, "state_folder": None}))
    assert "was given no policy" in by_name(checks(site, Needs(), NOW))["policy"].detail


def test_a_site_is_not_set_up_by_half(tmp_path: Path) -> None:
    run = CliRunner()
    for option in ("--data-folder", "--model-cache", "--policy-file", "--state-folder"):
        half = run.invoke(
            app, ["install", "x.signed.zip", "--kit", str(tmp_path), "--fingerprint", "f", option, "y"]
        )
        assert half.exit_code == 2
        assert "--policy-file and --state-folder together" in half.stderr
    made = run.invoke(
        app,
        [
            *("provision", "--folder", str(tmp_path / "fed"), "--network", "aurora", "--server-port", "8102"),
            *("--model-cache", "models", "--site", "hospital-1=a", "--site", "hospital-2=b"),
            *("--policy", "hospital-1=p.json"),
        ],
    )
    assert made.exit_code == 2
    assert "hospital-2: every site has a --site and a --policy" in made.stderr
    assert not (tmp_path / "fed").exists()


def test_certificates_that_end_or_do_not_fit_are_named(tmp_path: Path, site: Kit) -> None:
    soon = make_kit(tmp_path / "soon", Role.SERVER, days=9)
    assert by_name(checks(soon, Needs(), NOW))["certificate"].detail.startswith(
        "valid until 2026-06-10, 9 days;"
    )
    ended = by_name(checks(soon, Needs(), NOW + timedelta(days=10)))["certificate"]
    assert (ended.ok, ended.detail.partition(";")[0]) == (False, "the certificate ended on 2026-06-10")
    site.key_file.write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    assert "not that of the key" in by_name(checks(site, Needs(), NOW))["certificate"].detail
    site.certificate_file.unlink()
    assert "cannot read the certificate" in by_name(checks(site, Needs(), NOW))["certificate"].detail


def test_a_server_needs_its_port_and_its_name(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = by_name(checks(make_kit(tmp_path / "a", Role.SERVER, port), Needs(), NOW))
        assert not found["port"].ok
        assert f"port {port} cannot be listened at" in found["port"].detail
    found = by_name(checks(make_kit(tmp_path / "b", Role.SERVER, host="fl.invalid"), Needs(), NOW))
    assert "fl.invalid is not known here" in found["name"].detail


def test_the_commands_answer_in_envelopes_and_exit_codes(site: Kit, tmp_path: Path) -> None:
    run = CliRunner()
    shown = run.invoke(app, ["status", str(site.folder), "--json"])
    data = json.loads(shown.stdout)["data"]
    assert (shown.exit_code, data["process"], data["server"]) == (0, None, "localhost:8102")
    assert running_process(site) is None
    missing = run.invoke(app, ["preflight", str(site.folder), "--json"])
    assert missing.exit_code == 1
    assert json.loads(missing.stdout)["ok"] is False
    none = run.invoke(app, ["status", str(tmp_path), "--json"])
    assert (none.exit_code, json.loads(none.stdout)["error"]["code"]) == (2, "bad_input")
    admin = make_kit(tmp_path / "admin", Role.ADMIN)
    refused = run.invoke(app, ["start", str(admin.folder)])
    assert refused.exit_code == 2
    assert "only a server and a site are started" in refused.stderr
    asked = ["request", "--kit", str(tmp_path / "new"), "--network", "aurora", "--role", "site", "--name"]
    for name in ("Hospital 1", "server", "a/b"):
        bad = run.invoke(app, [*asked, name])
        assert bad.exit_code == 2
        assert f"a site cannot be named {name!r}" in bad.stderr
    assert not (tmp_path / "new").exists()
    assert run.invoke(app, ["stop", str(site.folder)]).exit_code == 0
    doctor = run.invoke(app, ["doctor", str(site.folder)])
    assert doctor.exit_code == 1
    assert "MISSING process: nobody serves this kit" in doctor.stdout
