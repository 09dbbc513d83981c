"""Inner rounds in a provisioned federation: the same bytes, no code, once, and without the slow.

One federation for all tests but those of POC: server and two sites live across the rounds, as in hospitals.
"""

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.network_policy import NetworkPolicy
from tests.integration.federation import (
    SITES,
    Federation,
    allow_code_at_the_server,
    provision,
    with_code,
)
from tests.integration.flower_rig import free_port
from tests.integration.local_world import LocalWorld, make_world, run, start
from tier_local.deployment_cli import app
from tier_local.egress import Departure, check_log, read_rows
from tier_local.errors import BadInput
from tier_local.exchange import JobFile
from tier_local.job_folder import write_job_folder
from tier_local.kit import Kit
from tier_local.participant import AlreadyRunning, running_process, serve
from tier_local.policy import read_policy
from tier_local.provision import approve, authority_fingerprint, install, read_request, request

DEADLINE_SECONDS = 120.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LocalWorld:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def federation(world: LocalWorld) -> Iterator[Federation]:
    federation = provision(world)
    allow_code_at_the_server(federation.kits["server"])
    for name in ("server", "hospital-1", "hospital-2"):
        federation.start(name)
    try:
        wait_until(federation.server_listens, "the server listens")
        wait_until(lambda: federation.connected_sites() == list(SITES), "both sites are connected")
        yield federation
    finally:
        federation.stop()
    for name in federation.kits:
        assert federation.processes_of(name) == []


@pytest.fixture(scope="module")
def simulated(world: LocalWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    done = run(*world.job("train", out))
    assert (done.returncode, done.stderr) == (0, "")
    return out


def arguments(federation: Federation, out: Path, purpose: str, network_file: Path | None = None) -> list[str]:
    found = federation.world.job("train", out, "--purpose", purpose)
    found[found.index("--network") + 1] = str(network_file or federation.network_file("deployed.json"))
    return found


def report_in(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return report


def test_a_deployed_round_gives_the_bytes_of_a_simulated_one(
    federation: Federation, simulated: Path, tmp_path: Path
) -> None:
    done = run(*arguments(federation, tmp_path, "round-1"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "adapter.safetensors").read_bytes() == (simulated / "adapter.safetensors").read_bytes()
    deployed, there = report_in(tmp_path), report_in(simulated)
    assert deployed | {"seconds": 0} == there | {"seconds": 0}
    assert deployed["sites_left_out"] == {}


def test_a_poc_round_leaves_nothing_and_gives_the_same_bytes(
    world: LocalWorld, simulated: Path, tmp_path: Path
) -> None:
    """Killed in the middle and asked again."""
    network, temporary = tmp_path / "poc.json", tmp_path / "tmp"
    network.write_text(json.dumps(json.loads(world.network_file.read_bytes()) | {"environment": "poc"}))
    temporary.mkdir()
    command = world.job("train", tmp_path / "out")
    command[command.index("--network") + 1] = str(network)
    mark = f"POC-{uuid.uuid4().hex}"
    killed = start(command, TMPDIR=str(temporary), TEST_POC=mark)
    wait_until(lambda: _stage(tmp_path / "out") == "training", "the federation works")
    assert len(_marked(mark)) >= 1 + 2 * 3  # this command, and a server and two sites with a job each
    killed.kill()
    killed.wait()
    wait_until(lambda: not _marked(mark), "no process is left")
    wait_until(lambda: not list(temporary.iterdir()), "no file is left")

    done = start(command, TMPDIR=str(temporary), TEST_POC=mark)
    assert done.wait(DEADLINE_SECONDS) == 0, done.stderr and done.stderr.read()
    assert (_marked(mark), list(temporary.iterdir())) == ([], [])
    here = tmp_path / "out"
    assert (here / "adapter.safetensors").read_bytes() == (simulated / "adapter.safetensors").read_bytes()
    assert report_in(here) | {"seconds": 0} == report_in(simulated) | {"seconds": 0}


def _stage(out: Path) -> str | None:
    progress = out / "progress.json"
    return str(json.loads(progress.read_bytes())["stage"]) if progress.exists() else None


def _marked(mark: str) -> list[int]:
    """All processes of a command that was started with this mark."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if f"TEST_POC={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def test_a_round_is_picked_up_after_a_crash_and_not_run_twice(
    federation: Federation, simulated: Path, tmp_path: Path
) -> None:
    with federation.session() as session:
        jobs_before = len(session.list_jobs())
    first = start(arguments(federation, tmp_path / "first", "round-2"))
    progress = tmp_path / "first" / "progress.json"
    wait_until(
        lambda: progress.exists() and json.loads(progress.read_bytes())["stage"] == "training", "it runs"
    )
    first.kill()
    first.wait()
    again = run(*arguments(federation, tmp_path / "again", "round-2"))
    assert (again.returncode, again.stderr) == (0, "")
    adapter = (tmp_path / "again" / "adapter.safetensors").read_bytes()
    assert adapter == (simulated / "adapter.safetensors").read_bytes()
    # It is done now: who asks a third time gets the same at once.
    assert run(*arguments(federation, tmp_path / "third", "round-2")).returncode == 0
    assert (tmp_path / "third" / "adapter.safetensors").read_bytes() == adapter
    with federation.session() as session:
        jobs = session.list_jobs()
    assert len(jobs) == jobs_before + 1


def test_a_job_that_brings_code_is_refused_by_the_sites(federation: Federation, tmp_path: Path) -> None:
    marker = tmp_path / "was-here"
    status, detail = _submit(federation, with_code(_job(federation, tmp_path), marker))
    assert status != "FINISHED:COMPLETED"
    for site in ("hospital-1", "hospital-2"):
        assert re.search(f"{site}: [A-Z_: ]*BYOC not permitted", detail)
    assert not marker.exists()


def test_a_frozen_site_is_left_out_and_named(federation: Federation, tmp_path: Path) -> None:
    network = federation.network_file("patient.json", least_sites=1, answer_seconds=40)
    process_file = federation.kits["hospital-2"].folder / "process"
    process_file.unlink(missing_ok=True)
    job = start(arguments(federation, tmp_path / "without", "round-3", network))
    wait_until(process_file.exists, "hospital-2 works")
    frozen = federation.processes_of("hospital-2")
    try:
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        assert job.wait(DEADLINE_SECONDS) == 0, job.stderr and job.stderr.read()
        # It is still frozen: the next round does not even begin with it.
        again = run(*arguments(federation, tmp_path / "again", "round-3-again", network))
    finally:
        for process in frozen:
            os.kill(process, signal.SIGCONT)
    report = report_in(tmp_path / "without")
    assert (report["sites"], report["sites_left_out"]) == (1, {"hospital-2": "no answer"})

    assert (again.returncode, again.stderr) == (0, "")
    assert report_in(tmp_path / "again") | {"seconds": 0} == report | {"seconds": 0}


def test_a_site_whose_work_dies_is_left_out_of_the_one_job(federation: Federation, tmp_path: Path) -> None:
    """NVFlare would end the job, which the other site can do alone."""
    network = federation.network_file("patient.json", least_sites=1, answer_seconds=30)
    with federation.session() as session:
        jobs_before = len(session.list_jobs())
    process_file = federation.site_file("hospital-2").process_file
    process_file.unlink(missing_ok=True)
    job = start(arguments(federation, tmp_path, "round-7", network))
    wait_until(lambda: process_file.exists() and process_file.read_text(), "hospital-2 works")
    os.kill(int(process_file.read_text()), signal.SIGKILL)
    assert job.wait(DEADLINE_SECONDS) == 0, job.stderr and job.stderr.read()
    report = report_in(tmp_path)
    assert (report["sites"], report["sites_left_out"]) == (1, {"hospital-2": "no answer"})
    with federation.session() as session:
        assert len(session.list_jobs()) == jobs_before + 1


def test_a_deployed_site_keeps_its_own_policy(federation: Federation, tmp_path: Path) -> None:
    """Refused by a rule, refused without a policy, and permitted again under what the network approved."""
    federation.change_policy("hospital-2", least_records=25)
    refused = run(*arguments(federation, tmp_path / "refused", "round-4"))
    said = "site hospital-2: policy rule least_records: there are fewer records than the policy demands"
    assert (refused.returncode, refused.stderr) == (3, f"tier_local: {said}\n")
    refusal = json.loads((tmp_path / "refused" / "refusal.json").read_bytes())
    assert refusal == {"rule": "least_records", "site": "hospital-2"}
    assert _last_departure(federation, "hospital-2").parts[0].what == "refusal"

    site, folder = federation.site_file("hospital-2"), federation.kits["hospital-2"].site_files_folder
    site.model_copy(update={"policy_file": None, "state_folder": None}).write(folder / "hospital-2.json")
    try:
        without = run(*arguments(federation, tmp_path / "without", "round-4"))
    finally:
        site.write(folder / "hospital-2.json")
    assert without.returncode == 3
    assert without.stderr.startswith("tier_local: site hospital-2: policy rule policy_file: ")

    federation.change_policy("hospital-2")
    digests = {name: read_policy(federation.policy_file(name)).digest for name in SITES}
    network = federation.network_file(
        "approved.json", sites=[{"name": name, "policy_digest": digests[name]} for name in SITES]
    )
    approved = ("--policy-digest", NetworkPolicy(sites=digests).digest)
    # For the same purpose: what was refused before is asked again.
    done = run(*arguments(federation, tmp_path / "done", "round-4", network), *approved)
    assert (done.returncode, done.stderr) == (0, "")
    departure = _last_departure(federation, "hospital-2")
    assert (departure.recipient, departure.parts[0].what) == ("the server of aurora", "adapter")
    assert departure.policy_digest == digests["hospital-2"]

    federation.change_policy("hospital-2", least_records=2)
    try:
        changed = run(*arguments(federation, tmp_path / "changed", "round-6", network), *approved)
    finally:
        federation.change_policy("hospital-2")
    assert changed.returncode == 3
    assert changed.stderr.startswith("tier_local: site hospital-2: policy rule approved: ")


def _last_departure(federation: Federation, site: str) -> Departure:
    state_folder = federation.site_file(site).state_folder
    assert state_folder is not None
    rows = read_rows(state_folder)
    assert check_log(state_folder, rows) == ()
    departure = rows[-1].entry
    assert isinstance(departure, Departure)
    return departure


def test_preflight_finds_the_server_and_its_certificate(federation: Federation) -> None:
    for name in ("server", "hospital-1", "admin"):
        done = CliRunner().invoke(app, ["preflight", str(federation.kits[name].folder), "--free-mib", "1"])
        assert done.exit_code == 0, done.output
    assert "its certificate is the network's" in done.output
    shown = CliRunner().invoke(app, ["status", str(federation.kits["server"].folder), "--json"])
    assert json.loads(shown.stdout)["data"]["process"] == federation.processes["server"].pid


def test_a_server_that_is_not_there_is_one_sentence(world: LocalWorld, tmp_path: Path) -> None:
    """The admin's kit of a federation whose server was never started."""
    folder = tmp_path / "other"
    made = CliRunner().invoke(
        app,
        [
            *("provision", "--folder", str(folder), "--network", "boreas", "--server-port", str(free_port())),
            *("--site", f"hospital-1={world.hospital(1)}", "--model-cache", str(world.model_cache)),
            *("--policy", f"hospital-1={tmp_path / 'policy.json'}"),
        ],
    )
    assert made.exit_code == 0, made.output
    network = tmp_path / "network.json"
    fields = {"name": "boreas", "environment": "production", "sites": [{"name": "hospital-1"}]}
    network.write_text(json.dumps(fields | {"admin_kit": str(folder / "admin")}))
    command = world.job("train", tmp_path / "out")
    command[command.index("--network") + 1] = str(network)
    done = run(*command)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "does not answer" in done.stderr


def test_a_job_is_aborted_at_its_deadline(federation: Federation, tmp_path: Path) -> None:
    done = run(*arguments(federation, tmp_path, "round-5"), "--deadline-unix-s", str(time.time() + 8))
    assert done.returncode == 4
    assert "the deadline passed" in done.stderr
    with federation.session() as session:
        wait_until(
            lambda: all(job["status"].startswith("FINISHED") for job in session.list_jobs()), "all jobs end"
        )


def test_a_kit_is_served_once(federation: Federation) -> None:
    kit = federation.kits["hospital-1"]
    assert running_process(kit) == federation.processes["hospital-1"].pid
    with pytest.raises(AlreadyRunning, match="runs already, as process"):
        serve(kit)
    with pytest.raises(BadInput, match="only a server and a site are started"):
        serve(federation.admin)


def test_a_certificate_is_renewed_with_a_new_key(federation: Federation, world: LocalWorld) -> None:
    kit = federation.kits["hospital-1"]
    folder = world.folder / "federation"
    before, key = kit.certificate(), kit.key_file.read_bytes()
    asked = request(kit.folder / "request", "aurora", kit.name, kit.role)
    fingerprint = read_request(asked).public_key_sha256
    answer = folder / "renewed.signed.zip"
    with pytest.raises(BadInput, match="ask the requester again"):
        approve(folder / "authority", asked, "00" * 32, answer)
    approve(folder / "authority", asked, fingerprint, answer, days=400)
    authority = authority_fingerprint(folder / "authority")
    with pytest.raises(BadInput, match="nvflare package"):
        install(kit.folder / "request", answer, "SHA256:" + "00:" * 31 + "00", kit.folder)
    renewed = install(kit.folder / "request", answer, authority, kit.folder).certificate()
    assert renewed.valid_until > before.valid_until
    assert kit.key_file.read_bytes() != key
    assert renewed.matches(kit.key_file)
    assert not before.matches(kit.key_file)
    assert Kit.at(kit.folder) == kit
    again = CliRunner().invoke(
        app, ["renew", str(kit.folder), "--authority", str(folder / "authority"), "--days", "500", "--json"]
    )
    assert again.exit_code == 0, again.output
    assert kit.certificate().valid_until > renewed.valid_until
    assert kit.certificate().matches(kit.key_file)


def _job(federation: Federation, folder: Path) -> Path:
    job = JobFile(
        kind="train",
        spec_file="spec.json",
        parent_digest=federation.world.spec.genesis_digest,
        sites=("hospital-1", "hospital-2"),
        least_sites=2,
        answer_by_unix_s=None,
        adapters={},
    )
    return write_job_folder(folder, job, federation.world.spec_file.read_bytes(), {})


def _submit(federation: Federation, job: Path) -> tuple[str, str]:
    """Submit as the network's own admin; the final status and what the server says of the deployment."""
    with federation.session() as session:
        job_id = session.submit_job(str(job))
        wait_until(lambda: session.get_job_status(job_id).startswith("FINISHED"), "the job is over")
        # NVFlare writes it after the status.
        wait_until(lambda: "job_deploy_detail" in session.get_job_meta(job_id), "what sites said of it")
        meta = session.get_job_meta(job_id)
        return str(meta["status"]), json.dumps(meta)
