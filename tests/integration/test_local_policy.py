"""Hospitals' policies in real inner rounds: what a refusal says, and what leaves under a privacy floor."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.digests import sha256_digest
from contracts.network_policy import NetworkPolicy
from tests.integration.local_world import LocalWorld, make_world, run
from tests.unit.local_policies import FLOOR, policy_fields
from tier_local.egress import Departure, Work, check_log, read_rows
from tier_local.policy import read_policy


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> LocalWorld:
    return make_world(tmp_path_factory.mktemp("world"))


def give_policy(world: LocalWorld, number: int, **changes: Any) -> Path:
    """A hospital's policy on its own records, named in the network's file; the hospital's folder."""
    folder = world.folder / "sites" / f"hospital-{number}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fields = policy_fields(
        folder,
        site=f"hospital-{number}",
        data_sets=[{"folder": str(world.hospital(number)), "uses": ["train", "evaluate"]}],
        tasks=[world.spec.digest],
        base_models=[world.spec.base_model.digest],
        logs_may_leave=False,
    )
    (folder / "policy.json").write_text(json.dumps(fields | changes))
    (folder / "policy.json").chmod(0o600)
    network = json.loads(world.network_file.read_bytes())
    site = network["sites"][number - 1]
    site |= {"policy_file": str(folder / "policy.json"), "state_folder": str(folder / "state")}
    world.network_file.write_text(json.dumps(network))
    return folder


def approved_digest(folders: list[Path]) -> str:
    """What the network would approve."""
    policies = [read_policy(folder / "policy.json") for folder in folders]
    return NetworkPolicy(sites={policy.site: policy.digest for policy in policies}).digest


def test_a_hospital_that_refuses_is_named_with_its_rule(world: LocalWorld, tmp_path: Path) -> None:
    folders = [give_policy(world, 1), give_policy(world, 2, least_records=25)]
    out = tmp_path / "out"
    done = run(*world.job("train", out, "--policy-digest", approved_digest(folders)))
    assert done.returncode == 3, done.stderr
    said = "site hospital-2: policy rule least_records: there are fewer records than the policy demands"
    assert done.stderr == f"tier_local: {said}\n"
    assert json.loads((out / "refusal.json").read_bytes()) == {"rule": "least_records", "site": "hospital-2"}
    assert not (out / "adapter.safetensors").exists()
    assert "24 records" in (folders[1] / "state" / "site.log").read_text()
    (refusal,) = (row.entry for row in read_rows(folders[1] / "state"))
    assert isinstance(refusal, Departure)
    assert [part.what for part in refusal.parts] == ["refusal"]


def test_under_a_floor_updates_leave_with_noise_and_again_for_nothing(
    world: LocalWorld, tmp_path: Path
) -> None:
    memory = {"most_memory_bytes": 6 << 30, "gpu_memory_share": None}
    for number in (1, 2):
        give_policy(world, number, privacy=FLOOR, resources=memory)
    folders = [world.folder / "sites" / f"hospital-{number}" for number in (1, 2)]
    for name in ("one", "two"):
        job = world.job("train", tmp_path / name, "--policy-digest", approved_digest(folders))
        done = run(*job)
        assert (done.returncode, done.stderr) == (0, "")
    one, two = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two, "a job that is run again gives the same bytes"
    report = json.loads((tmp_path / "one" / "report.json").read_bytes())
    assert (report["records"], report["first_loss_nats"]) == (0, None), "figures were withheld"
    assert report["adapter_digest"] == sha256_digest(one)
    for folder in folders:
        rows = read_rows(folder / "state")
        assert check_log(folder / "state", rows) == ()
        # A refusal or a departure of the test before may lie in front.
        entries = [row.entry for row in rows][-4:]
        assert [type(entry) for entry in entries] == [Work, Departure, Work, Departure]
        releases = [entry.release for entry in entries if isinstance(entry, Departure)]
        assert [release.mu_squared for release in releases if release is not None] == [1.0, 0.0]
        assert {entry.recipient for entry in entries if isinstance(entry, Departure)} == {
            "the server of aurora"
        }
