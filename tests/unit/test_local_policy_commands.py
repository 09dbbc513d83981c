"""``collegium local policy`` and ``collegium local egress``: what they say, and their exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from contracts.digests import ZERO_DIGEST
from contracts.network_policy import NetworkPolicy
from tests.unit.local_policies import FLOOR, PARENT_DIGEST, Hospital, make_tensors
from tier_local.cli import main
from tier_local.deployment_cli import app
from tier_local.egress import LOG_FILE
from tier_local.guard import Answer
from tier_local.policy import PrivacyFloor, read_policy
from tier_local.policy_words import departures_of_a_year
from tier_local.privacy import epsilon_of, mu_squared


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    (tmp_path / "records").mkdir()
    hospital = Hospital(tmp_path).permit()
    (tmp_path / "task.json").write_bytes(hospital.spec.canonical_bytes())
    return hospital


@pytest.fixture
def left(hospital: Hospital) -> Hospital:
    """A hospital that has trained once under a floor."""
    hospital.permit(privacy=FLOOR)
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)
    guard.let_out(make_tensors(1), Answer(adapter=make_tensors(2)))
    return hospital


# policy


@pytest.mark.parametrize("command", ["check", "explain"])
def test_a_policy_that_permits_the_task_is_fine(hospital: Hospital, command: str) -> None:
    done = run("policy", command, hospital.policy_file, "--spec", hospital.folder / "task.json")
    assert done.exit_code == 0, done.output
    assert read_policy(hospital.policy_file).digest in done.stdout


@pytest.mark.parametrize("command", ["check", "explain"])
def test_what_refuses_a_task_is_named_all_of_it(hospital: Hospital, command: str) -> None:
    hospital.permit(tasks=[PARENT_DIGEST], base_models=[PARENT_DIGEST])
    (hospital.folder / "STOP").touch()
    done = run("policy", command, hospital.policy_file, "--spec", hospital.folder / "task.json", "--json")
    assert done.exit_code == 3
    envelope = json.loads(done.stdout)
    assert envelope["error"]["code"] == "refused"
    assert envelope["error"]["rules"] == ["kill_switch", "tasks", "base_models"]
    assert hospital.spec.digest in done.stderr


def test_an_unusable_policy_is_bad_input(hospital: Hospital) -> None:
    hospital.permit(unheard_of=1)
    done = run("policy", "check", hospital.policy_file, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["rule"] == "policy_file"
    assert "unheard_of" in done.stderr


def test_a_spec_that_is_none_is_bad_input(hospital: Hospital) -> None:
    assert run("policy", "check", hospital.policy_file, "--spec", hospital.policy_file).exit_code == 2
    assert run("policy", "check", hospital.policy_file, "--spec", hospital.folder / "no").exit_code == 2


def test_every_limit_is_said_in_words(hospital: Hospital) -> None:
    open_words = run("policy", "explain", hospital.policy_file).stdout
    assert "no limit" in open_words
    assert "without noise" in open_words
    window = {"days": ["monday"], "begins": "20:00", "ends": "06:00"}
    hospital.permit(
        privacy=FLOOR, hours={"time_zone": "Europe/Berlin", "windows": [window]}, least_records=77
    )
    words = run("policy", "explain", hospital.policy_file).stdout
    for said in ("20:00 to 06:00 (Europe/Berlin)", "at least 77", "(4.89, 1e-06)-private", "10 departures"):
        assert said in words


def test_the_departures_of_a_year_are_as_many_as_the_budget_bears() -> None:
    for noise_multiplier in (0.5, 2.0, 30.0):
        floor = PrivacyFloor.model_validate(FLOOR | {"noise_multiplier": noise_multiplier})
        departures = departures_of_a_year(floor)
        spent = [epsilon_of((departures + more) * mu_squared(floor), floor.delta) for more in (0, 1)]
        assert spent[0] <= floor.most_epsilon_per_year < spent[1]


# egress


def test_what_left_is_listed_and_verified(left: Hospital) -> None:
    shown = run("egress", "show", left.state)
    assert shown.exit_code == 0
    for said in ("began 10 steps", "to the server of aurora: adapter of", "ε of the year 4.89", "2 rows"):
        assert said in shown.stdout
    rows = json.loads(run("egress", "show", left.state, "--json").stdout)["data"]
    assert [row["number"] for row in rows["rows"]] == [1, 2]
    verified = json.loads(run("egress", "verify", left.state, "--json").stdout)
    assert verified == {"ok": True, "data": {"rows": 2, "head": rows["head"]}}


def test_an_edited_row_is_found(left: Hospital) -> None:
    log = left.state / LOG_FILE
    log.write_text(log.read_text().replace("aurora", "nobody"))
    done = run("egress", "verify", left.state, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["tampering"] == [{"kind": "edited", "first": 2, "last": 2}]


def test_a_dropped_row_and_a_broken_line_are_found(left: Hospital) -> None:
    log = left.state / LOG_FILE
    whole = log.read_text()
    log.write_text(whole.splitlines(keepends=True)[0])
    assert run("egress", "verify", left.state).exit_code == 1
    log.write_text(whole + "rubbish\n")
    assert run("egress", "verify", left.state).exit_code == 1


def test_no_log_is_bad_input(hospital: Hospital) -> None:
    for command in ("show", "verify"):
        assert run("egress", command, hospital.state).exit_code == 2


# python -m tier_local


def network_file(hospital: Hospital, **site: object) -> Path:
    file = hospital.folder / "network.json"
    site = {"name": "hospital-1", "data_folder": "records", **site}
    file.write_text(json.dumps({"name": "aurora", "sites": [site], "model_cache": "models"}))
    return file


def test_the_networks_policy_names_each_sites_digest(hospital: Hospital) -> None:
    out = hospital.folder / "out"
    network = network_file(hospital, policy_file="policy.json", state_folder="state")
    assert main(["network-policy", "--network", str(network), "--out", str(out)]) == 0
    assert json.loads((out / "network-policy.json").read_bytes()) == {
        "schema": "collegium.network-policy/1",
        "sites": {"hospital-1": read_policy(hospital.policy_file).digest},
    }


def test_without_policies_the_networks_policy_is_none(hospital: Hospital) -> None:
    out = hospital.folder / "out"
    assert main(["network-policy", "--network", str(network_file(hospital)), "--out", str(out)]) == 0
    assert NetworkPolicy.parse((out / "network-policy.json").read_bytes()).digest == ZERO_DIGEST


def test_a_policy_without_a_state_folder_is_bad_input(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    network = network_file(hospital, policy_file="policy.json")
    assert main(["network-policy", "--network", str(network), "--out", str(hospital.folder / "out")]) == 2
    assert "together" in capsys.readouterr().err


def test_work_under_another_policy_than_the_approved_one_is_refused(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    network = network_file(hospital, policy_file="policy.json", state_folder="state")
    out = hospital.folder / "out"
    arguments = ["train", "--spec", str(hospital.folder / "task.json"), "--network", str(network)]
    arguments += ["--parent", str(hospital.folder / "parent"), "--out", str(out)]
    assert main([*arguments, "--policy-digest", PARENT_DIGEST]) == 3
    assert "policy rule approved: " in capsys.readouterr().err
    assert json.loads((out / "refusal.json").read_bytes()) == {"rule": "approved", "site": None}
