"""A hospital's policy file: what is read, what is refused to be read, and what it permits when."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.digests import ZERO_DIGEST
from tests.unit.local_policies import policy_fields
from tier_local.errors import ExitCode, Refused
from tier_local.policy import (
    MOST_POLICY_BYTES,
    Hours,
    Policy,
    Wish,
    read_policy,
    refusals,
    require_not_stopped,
)
from tier_local.rules import Rule

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "policy.md"
OTHER_DIGEST = "0x" + "ee" * 32
MONDAY_NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "policy.json", policy_fields(tmp_path))


def write(file: Path, fields: dict[str, Any] | str) -> Path:
    file.write_text(fields if isinstance(fields, str) else json.dumps(fields))
    file.chmod(0o600)
    return file


def refused(file: Path) -> str:
    """Why the policy cannot be used."""
    with pytest.raises(Refused) as caught:
        read_policy(file)
    assert caught.value.rule is Rule.POLICY_FILE
    assert caught.value.exit_code is ExitCode.REFUSED
    assert str(file) not in str(caught.value), "what leaves names no path"
    return caught.value.detail


def policy_of(tmp_path: Path, **changes: Any) -> Policy:
    return read_policy(write(tmp_path / "policy.json", policy_fields(tmp_path, **changes)))


def wish(**changes: Any) -> Wish:
    fields: dict[str, Any] = {
        "use": "train",
        "task_digest": ZERO_DIGEST,
        "base_model_digest": ZERO_DIGEST,
        "steps": 10,
        "data_folder": None,
    }
    return Wish(**(fields | changes))


def rules(policy: Policy, of: Wish, now_unix_s: float = MONDAY_NOON) -> list[Rule]:
    return [refusal.rule for refusal in refusals(policy, of, now_unix_s)]


# Reading


def test_the_documents_example_is_a_policy(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    policy = read_policy(write(tmp_path / "policy.json", example))
    assert policy.model_dump(mode="json", by_alias=True) == json.loads(example)


def test_the_document_names_every_field_and_rule() -> None:
    words = DOCUMENT.read_text()
    assert [
        name for name in Policy.model_fields if name != "schema_version" and f"`{name}" not in words
    ] == []
    assert [rule.value for rule in Rule if f"`{rule.value}`" not in words] == []


def test_the_digest_is_of_what_it_says_and_not_of_how_it_is_written(tmp_path: Path) -> None:
    fields = policy_fields(tmp_path)
    one = read_policy(write(tmp_path / "one.json", json.dumps(fields)))
    other = read_policy(write(tmp_path / "other.json", json.dumps(dict(reversed(fields.items())), indent=4)))
    assert one.digest == other.digest
    assert policy_of(tmp_path, least_records=2).digest != one.digest


@pytest.mark.parametrize("name", sorted(policy_fields(Path("/"))))
def test_a_missing_field_permits_nothing(tmp_path: Path, name: str) -> None:
    fields = policy_fields(tmp_path)
    del fields[name]
    assert name in refused(write(tmp_path / "policy.json", fields))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"unheard_of": True}, "unheard_of"),
        ({"schema": "collegium.policy/2"}, "schema"),
        ({"least_records": 0}, "least_records"),
        ({"least_records": True}, "least_records"),
        ({"least_records": 1.5}, "least_records"),
        ({"least_records": "5"}, "least_records"),
        ({"least_records": 10**4000}, "least_records"),
        ({"tasks": []}, "tasks"),
        ({"tasks": ["0x00"]}, "tasks"),
        ({"tasks": "some"}, "tasks"),
        ({"logs_may_leave": "no"}, "logs_may_leave"),
        ({"logs_may_leave": 0}, "logs_may_leave"),
        ({"kill_switch_file": "../STOP"}, "kill_switch_file"),
        ({"kill_switch_file": ".."}, "kill_switch_file"),
        ({"data_sets": [{"folder": "records", "uses": ["train"]}]}, "data_sets"),
        ({"data_sets": [{"folder": "/a/../b", "uses": ["train"]}]}, "data_sets"),
        ({"data_sets": [{"folder": "/a", "uses": ["sell"]}]}, "data_sets"),
        ({"data_sets": [{"folder": "/a", "uses": ["train"]}] * 2}, "data_sets"),
        ({"hours": {"time_zone": "Mars/Olympus", "windows": []}}, "time_zone"),
        ({"hours": {"time_zone": "../../etc/passwd", "windows": []}}, "time_zone"),
        ({"hours": {"time_zone": "UTC", "windows": []}}, "windows"),
        ({"resources": {"most_memory_bytes": 1, "gpu_memory_share": None}}, "most_memory_bytes"),
        ({"resources": {"most_memory_bytes": None, "gpu_memory_share": 1.1}}, "gpu_memory_share"),
    ],
)
def test_what_is_not_the_schema_permits_nothing(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    assert field in refused(write(tmp_path / "policy.json", policy_fields(tmp_path, **changes)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "0", "-1", "1" + "0" * 5000])
def test_no_number_loosens_the_floor(tmp_path: Path, number: str) -> None:
    for name in ("clip_norm", "noise_multiplier", "delta", "most_epsilon_per_year"):
        floor = {
            "clip_norm": 1,
            "noise_multiplier": 1,
            "delta": 1e-6,
            "most_epsilon_per_year": 1,
            "figures": "exact",
        }
        text = json.dumps(policy_fields(tmp_path, privacy=floor | {name: "NUMBER"}))
        refused(write(tmp_path / "policy.json", text.replace('"NUMBER"', number)))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '"any"', "[" * 100_000, "\ufeff{}", '{"schema": "\\ud800"}']
)
def test_what_is_no_json_object_permits_nothing(tmp_path: Path, text: str) -> None:
    refused(write(tmp_path / "policy.json", text))


def test_bytes_that_are_no_text_permit_nothing(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    refused(file)


def test_a_field_that_appears_twice_permits_nothing(file: Path) -> None:
    file.write_text(file.read_text().replace('"least_records": 1', '"least_records": 9, "least_records": 1'))
    assert "twice" in refused(file)


def test_a_policy_has_a_largest_size(file: Path) -> None:
    file.write_text(file.read_text() + " " * MOST_POLICY_BYTES)
    assert "at most" in refused(file)


def test_no_policy_permits_nothing(tmp_path: Path) -> None:
    refused(tmp_path / "policy.json")
    refused(tmp_path / "no folder" / "policy.json")


def test_a_link_permits_nothing(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file)
    refused(link)


def test_a_pipe_or_folder_permits_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", mode=0o600)
    assert "plain file" in refused(tmp_path / "pipe")
    (tmp_path / "folder").mkdir(mode=0o700)
    refused(tmp_path / "folder")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_permits_nothing(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert "others can write" in refused(file)


def test_a_folder_that_others_can_write_permits_nothing(tmp_path: Path, file: Path) -> None:
    tmp_path.chmod(0o777)
    try:
        assert "others can write to the folder" in refused(file)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_permits_nothing(file: Path) -> None:
    os.chown(file, 12345, -1)
    assert "another user" in refused(file)


# The kill switch


def test_the_kill_switch_is_looked_for_each_time(tmp_path: Path, file: Path) -> None:
    policy = read_policy(file)
    require_not_stopped(file, policy)
    (tmp_path / "STOP").touch()
    with pytest.raises(Refused) as caught:
        require_not_stopped(file, policy)
    assert caught.value.rule is Rule.KILL_SWITCH
    (tmp_path / "STOP").unlink()
    require_not_stopped(file, policy)


def test_a_dangling_link_is_a_kill_switch_too(tmp_path: Path, file: Path) -> None:
    (tmp_path / "STOP").symlink_to(tmp_path / "nothing")
    with pytest.raises(Refused):
        require_not_stopped(file, read_policy(file))


# The rules of the text


def test_an_open_policy_refuses_nothing(tmp_path: Path) -> None:
    assert rules(policy_of(tmp_path), wish(data_folder=tmp_path / "records")) == []


def test_each_rule_refuses_by_itself(tmp_path: Path) -> None:
    work = policy_fields(tmp_path)["work"] | {"most_steps_per_round": 9}
    for changes, rule in [
        ({"tasks": [OTHER_DIGEST]}, Rule.TASKS),
        ({"base_models": [OTHER_DIGEST]}, Rule.BASE_MODELS),
        ({"data_sets": [{"folder": "/elsewhere", "uses": ["train"]}]}, Rule.DATA_SETS),
        ({"work": work}, Rule.STEPS_PER_ROUND),
        ({"hours": night()}, Rule.HOURS),
    ]:
        assert rules(policy_of(tmp_path, **changes), wish(data_folder=tmp_path / "records")) == [rule]


def test_what_is_listed_is_permitted(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, tasks=[OTHER_DIGEST, ZERO_DIGEST], base_models=[ZERO_DIGEST])
    assert rules(policy, wish()) == []


def test_a_use_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, data_sets=[{"folder": str(tmp_path), "uses": ["train"]}])
    assert rules(policy, wish()) == []
    assert rules(policy, wish(use="evaluate")) == [Rule.DATA_SETS]


def test_a_link_to_another_folder_is_another_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    policy = policy_of(tmp_path)
    assert rules(policy, wish(data_folder=tmp_path / "link")) == [Rule.DATA_SETS]


def test_withheld_figures_leave_nothing_to_evaluate(tmp_path: Path) -> None:
    floor = {"clip_norm": 1.0, "noise_multiplier": 1.0, "delta": 1e-6, "most_epsilon_per_year": 1.0}
    assert rules(policy_of(tmp_path, privacy=floor | {"figures": "withheld"}), wish(use="evaluate")) == [
        Rule.FIGURES
    ]
    assert rules(policy_of(tmp_path, privacy=floor | {"figures": "exact"}), wish(use="evaluate")) == []


# Hours


def night(zone: str = "Europe/Berlin") -> dict[str, Any]:
    return {"time_zone": zone, "windows": [{"days": ["monday"], "begins": "20:00", "ends": "06:00"}]}


def permitted(hours: dict[str, Any], *moment: int) -> bool:
    here = Hours.model_validate_json(json.dumps(hours))
    return here.permit(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ((2026, 6, 1, 17, 59), False),  # Monday 19:59 in Berlin, in summer
        ((2026, 6, 1, 18, 0), True),
        ((2026, 6, 2, 3, 59), True),
        ((2026, 6, 2, 4, 0), False),
        ((2026, 6, 2, 18, 0), False),  # Tuesday's evening
        ((2026, 1, 5, 18, 30), False),  # 19:30 in winter
        ((2026, 1, 5, 19, 0), True),
        ((2025, 12, 29, 23, 30), True),  # from Monday into the last Tuesday of a year
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(moment: tuple[int, ...], open_: bool) -> None:
    assert permitted(night(), *moment) is open_


def test_equal_times_are_a_whole_day() -> None:
    day = {"time_zone": "UTC", "windows": [{"days": ["sunday"], "begins": "00:00", "ends": "00:00"}]}
    assert [permitted(day, 2026, 6, 6, 23, 59), permitted(day, 2026, 6, 7, 0, 0)] == [False, True]
    assert [permitted(day, 2026, 6, 7, 23, 59), permitted(day, 2026, 6, 8, 0, 0)] == [True, False]


def test_the_hour_that_does_not_exist_and_the_one_that_comes_twice() -> None:
    hours = {
        "time_zone": "Europe/Berlin",
        "windows": [{"days": ["sunday"], "begins": "02:00", "ends": "03:00"}],
    }
    # On 2026-03-29 the clock goes from 02:00 to 03:00; on 2026-10-25 it shows 02:30 twice.
    assert [permitted(hours, 2026, 3, 29, 0, 59), permitted(hours, 2026, 3, 29, 1, 0)] == [False, False]
    assert [permitted(hours, 2026, 10, 25, 0, 30), permitted(hours, 2026, 10, 25, 1, 30)] == [True, True]
