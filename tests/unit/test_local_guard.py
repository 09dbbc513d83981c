"""The guard of a site's process: when it asks the policy, what it writes, what it lets out."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.digests import sha256_digest
from contracts.errors import InvalidTaskSpec
from contracts.task import TaskSpec
from tests.unit.local_policies import (
    FLOOR,
    MANIFEST,
    NOON_UNIX_S,
    Hospital,
    make_spec,
    make_tensors,
    policy_fields,
    unix_s,
)
from tier_local import resources
from tier_local.egress import LOG_FILE, Departure, EgressRow, Part, Work, check_log, read_rows
from tier_local.errors import BadInput, ExitCode, InnerRoundError, JobFailed, Refused
from tier_local.exchange import failure_in, failure_meta, refused_rule_in
from tier_local.guard import CLOCK_TOLERANCE_S, Answer, OpenGuard, PolicyGuard, guard_of
from tier_local.policy import Resources, read_policy
from tier_local.rules import Rule
from tier_local.scoring import StratumSums

PARENT = make_tensors(1)
DAY_S = 86_400


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    (tmp_path / "records").mkdir()
    return Hospital(tmp_path).permit()


def answer(seed: int = 2) -> Answer:
    return Answer(adapter=make_tensors(seed), figures={"records": 24, "first": 1.5, "last": 0.5})


def sums() -> Answer:
    counts = np.array([3, 4])
    return Answer(sums={"parent": StratumSums(np.array([1.5, np.nan]), counts, counts)})


def train(hospital: Hospital, seed: int = 2, records: int = 24) -> Answer:
    """A whole job; what left."""
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(records)
    guard.keep_going()
    return guard.let_out(PARENT, answer(seed))


def evaluate(hospital: Hospital) -> Answer:
    guard = hospital.guard("evaluate")
    guard.admit(hospital.spec)
    guard.begin(8)
    return guard.let_out(PARENT, sums())


def refused(call: Any, *arguments: Any) -> Rule:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    assert str(caught.value) == f"policy rule {caught.value.rule.value}: {caught.value.rule.sentence}"
    return caught.value.rule


def rows(hospital: Hospital) -> tuple[EgressRow, ...]:
    found = read_rows(hospital.state)
    assert check_log(hospital.state, found) == ()
    return found


# The way of a job that is permitted


def test_without_a_floor_what_was_trained_leaves_as_it_is_and_is_written_down(hospital: Hospital) -> None:
    left = train(hospital)
    assert MANIFEST.encode(left.adapter or {}) == MANIFEST.encode(make_tensors(2))
    assert left.figures == answer().figures
    work, departure = (row.entry for row in rows(hospital))
    assert isinstance(work, Work)
    assert (work.steps, work.task_digest) == (10, hospital.spec.digest)
    assert isinstance(departure, Departure)
    data = MANIFEST.encode(make_tensors(2))
    assert departure.parts[0] == Part(what="adapter", size_bytes=len(data), digest=sha256_digest(data))
    assert departure.parts[1].what == "figures"
    assert (departure.recipient, departure.release) == ("the server of aurora", None)


def test_an_evaluation_is_written_down_too(hospital: Hospital) -> None:
    evaluate(hospital)
    (departure,) = (row.entry for row in rows(hospital))
    assert isinstance(departure, Departure)
    assert [part.what for part in departure.parts] == ["sums"]


def test_the_row_comes_before_the_bytes(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)
    (hospital.state / LOG_FILE).unlink()
    assert refused(guard.let_out, PARENT, answer()) is Rule.EGRESS_LOG


def test_a_site_without_a_policy_has_no_guard_and_one_with_it_does(hospital: Hospital) -> None:
    errand = hospital.errand()
    for is_embedded in (False, True):
        guard = guard_of(errand, hospital.policy_file, hospital.state, is_embedded=is_embedded)
        assert isinstance(guard, PolicyGuard)
    assert isinstance(guard_of(errand, None, None, is_embedded=True), OpenGuard)


def test_a_deployed_site_without_a_policy_refuses_everything(hospital: Hospital) -> None:
    guard = guard_of(hospital.errand(), None, None, is_embedded=False)
    assert refused(guard.admit, hospital.spec) is Rule.POLICY_FILE
    assert refused(guard.let_out, PARENT, answer()) is Rule.POLICY_FILE
    assert "/srv" not in str(guard.words_for(BadInput("/srv/records line 7")))
    hospital.policy_file.unlink()
    assert refused(hospital.guard().admit, hospital.spec) is Rule.POLICY_FILE


# Every rule, where it applies


def work_limits(**limits: Any) -> dict[str, Any]:
    return {"work": policy_fields(Path("/"))["work"] | limits}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"site": "hospital-2"}, Rule.SITE),
        ({"tasks": ["0x" + "ee" * 32]}, Rule.TASKS),
        ({"base_models": ["0x" + "ee" * 32]}, Rule.BASE_MODELS),
        ({"data_sets": [{"folder": "/elsewhere", "uses": ["train"]}]}, Rule.DATA_SETS),
        (work_limits(most_steps_per_round=9), Rule.STEPS_PER_ROUND),
        (work_limits(most_steps_per_day=9), Rule.STEPS_PER_DAY),
        (work_limits(most_steps_per_task=9), Rule.STEPS_PER_TASK),
        (
            {
                "hours": {
                    "time_zone": "UTC",
                    "windows": [{"days": ["sunday"], "begins": "00:00", "ends": "00:01"}],
                }
            },
            Rule.HOURS,
        ),
        ({"privacy": FLOOR | {"most_epsilon_per_year": 1.0}}, Rule.PRIVACY_BUDGET),
        ({"unheard_of": 1}, Rule.POLICY_FILE),
    ],
)
def test_before_records_are_opened(hospital: Hospital, changes: dict[str, Any], rule: Rule) -> None:
    hospital.permit(**changes)
    assert refused(hospital.guard().admit, hospital.spec) is rule


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"least_records": 25}, Rule.LEAST_RECORDS),
        (work_limits(most_epochs_per_round=1.66), Rule.EPOCHS_PER_ROUND),
    ],
)
def test_with_the_records_counted(hospital: Hospital, changes: dict[str, Any], rule: Rule) -> None:
    hospital.permit(**changes)
    guard = hospital.guard()
    guard.admit(hospital.spec)
    assert refused(guard.begin, 24) is rule
    assert not (hospital.state / LOG_FILE).read_bytes(), "no step was begun"


def test_epochs_count_what_a_step_really_takes(hospital: Hospital) -> None:
    hospital.permit(**work_limits(most_epochs_per_round=10))
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(2)  # batches of 2 at most: 10 steps are 10 epochs


@pytest.mark.parametrize(
    "changes",
    [{"tasks": ["0x" + "ee" * 32]}, {"least_records": 25}, {"site": "hospital-2"}, {"unheard_of": 1}],
)
def test_a_policy_that_was_tightened_meanwhile_holds_the_answer_back(
    hospital: Hospital, changes: dict[str, Any]
) -> None:
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)
    hospital.permit(**changes)
    refused(guard.let_out, PARENT, answer())
    assert [row.entry.kind for row in rows(hospital)] == ["work"], "nothing has left"


@pytest.mark.parametrize("moment", ["admit", "begin", "keep_going", "let_out"])
def test_the_kill_switch_works_at_every_moment(hospital: Hospital, moment: str) -> None:
    guard = hospital.guard()
    steps: dict[str, Any] = {
        "admit": lambda: guard.admit(hospital.spec),
        "begin": lambda: guard.begin(24),
        "keep_going": guard.keep_going,
        "let_out": lambda: guard.let_out(PARENT, answer()),
    }
    for name, step in steps.items():
        if name == moment:
            (hospital.folder / "STOP").touch()
            assert refused(step) is Rule.KILL_SWITCH
            return
        step()


def test_hours_that_end_stop_the_work(hospital: Hospital) -> None:
    window = {"days": ["monday"], "begins": "08:00", "ends": "10:00"}
    hospital.permit(hours={"time_zone": "UTC", "windows": [window]})
    hospital.now_unix_s = unix_s("2026-06-01 09:59")
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)
    hospital.now_unix_s = unix_s("2026-06-01 10:00")
    assert refused(guard.keep_going) is Rule.HOURS
    assert refused(guard.let_out, PARENT, answer()) is Rule.HOURS


def test_a_policy_that_is_not_the_approved_one_is_refused(hospital: Hospital) -> None:
    approved = read_policy(hospital.policy_file).digest
    hospital.guard(approved_policy_digest=approved).admit(hospital.spec)
    hospital.permit(least_records=2)
    assert refused(hospital.guard(approved_policy_digest=approved).admit, hospital.spec) is Rule.APPROVED
    hospital.permit()
    (hospital.folder / "STOP").touch()
    stopped = hospital.guard(approved_policy_digest=approved)
    assert refused(stopped.admit, hospital.spec) is Rule.KILL_SWITCH, "stopping changes no digest"


# Budgets


def test_steps_of_a_day_are_counted_from_what_was_begun(hospital: Hospital) -> None:
    hospital.permit(**work_limits(most_steps_per_day=25))
    for _ in range(2):
        guard = hospital.guard()
        guard.admit(hospital.spec)
        guard.begin(24)  # and then the process dies
    assert refused(hospital.guard().admit, hospital.spec) is Rule.STEPS_PER_DAY
    hospital.now_unix_s += DAY_S
    hospital.guard().admit(hospital.spec)


def test_steps_of_a_task_are_counted_for_ever_and_of_others_not_at_all(hospital: Hospital) -> None:
    hospital.permit(**work_limits(most_steps_per_task=25))
    train(hospital)
    train(hospital)
    hospital.now_unix_s += 1000 * DAY_S
    assert refused(hospital.guard().admit, hospital.spec) is Rule.STEPS_PER_TASK
    hospital.guard().admit(make_spec(seed=2))


def test_two_jobs_at_once_do_not_spend_the_same_steps(hospital: Hospital) -> None:
    hospital.permit(**work_limits(most_steps_per_day=15))
    one, other = hospital.guard(), hospital.guard()
    one.admit(hospital.spec)
    other.admit(hospital.spec)
    one.begin(24)
    assert refused(other.begin, 24) is Rule.STEPS_PER_DAY


def test_an_evaluation_takes_no_steps(hospital: Hospital) -> None:
    hospital.permit(**work_limits(most_steps_per_round=1, most_steps_per_day=1, most_epochs_per_round=0.1))
    evaluate(hospital)


def test_a_clock_that_goes_back_stops_the_work(hospital: Hospital) -> None:
    train(hospital)
    hospital.now_unix_s = NOON_UNIX_S - CLOCK_TOLERANCE_S
    train(hospital, seed=3)
    assert {row.entry.time_unix_s for row in rows(hospital)} == {NOON_UNIX_S}, "rows never go back"
    hospital.now_unix_s -= 1
    assert refused(hospital.guard().admit, hospital.spec) is Rule.CLOCK
    assert refused(hospital.guard("evaluate").admit, hospital.spec) is Rule.CLOCK


# Privacy


def test_a_floor_is_applied_before_anything_leaves(hospital: Hospital) -> None:
    hospital.permit(privacy=FLOOR)
    left = train(hospital)
    assert left.figures == {}
    assert left.adapter is not None
    assert all((left.adapter[name] != answer().adapter[name]).any() for name in PARENT)  # type: ignore[index]
    MANIFEST.check(dict(left.adapter))
    departure = rows(hospital)[-1].entry
    assert isinstance(departure, Departure)
    assert [part.what for part in departure.parts] == ["adapter"]
    assert departure.parts[0].digest == sha256_digest(MANIFEST.encode(left.adapter)), "of what leaves"
    assert departure.release is not None
    assert departure.release.mu_squared == 1.0
    assert departure.release.epsilon_of_year == pytest.approx(4.89, abs=0.01)


def test_exact_figures_leave_as_they_are(hospital: Hospital) -> None:
    hospital.permit(privacy=FLOOR | {"figures": "exact"})
    assert train(hospital).figures == answer().figures
    assert evaluate(hospital).sums


def test_withheld_figures_refuse_an_evaluation(hospital: Hospital) -> None:
    hospital.permit(privacy=FLOOR)
    assert refused(hospital.guard("evaluate").admit, hospital.spec) is Rule.FIGURES


def test_the_budget_of_the_year_ends(hospital: Hospital) -> None:
    hospital.permit(privacy=FLOOR)  # ε of 10 departures is 19.4
    for seed in range(10):
        train(hospital, seed)
    next_round = "0x" + "33" * 32
    for moment in (hospital.now_unix_s, unix_s("2027-01-01 00:00")):  # a New Year brings nothing
        hospital.now_unix_s = moment
        guard = hospital.guard(parent_digest=next_round)
        assert refused(guard.admit, hospital.spec) is Rule.PRIVACY_BUDGET
    train(hospital, 9)  # the same bytes as before
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)
    assert refused(guard.let_out, PARENT, answer(10)) is Rule.PRIVACY_BUDGET
    hospital.now_unix_s = NOON_UNIX_S + 365 * DAY_S
    train(hospital, 11)


def test_the_same_bytes_again_cost_nothing(hospital: Hospital) -> None:
    hospital.permit(privacy=FLOOR | {"most_epsilon_per_year": 10.0})
    first = train(hospital)
    again = train(hospital)
    assert all(np.array_equal(first.adapter[n], again.adapter[n]) for n in PARENT)  # type: ignore[index]
    spent = [row.entry.release.mu_squared for row in rows(hospital) if isinstance(row.entry, Departure)]  # type: ignore[union-attr]
    assert spent == [1.0, 0.0]


def test_a_process_that_dies_at_the_door_has_paid_and_pays_once(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    hospital.permit(privacy=FLOOR)
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)

    def dies(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("tier_local.egress.write_whole", dies)
    with pytest.raises(Killed):
        guard.let_out(PARENT, answer())
    monkeypatch.undo()
    train(hospital)
    spent = [row.entry.release.mu_squared for row in rows(hospital) if isinstance(row.entry, Departure)]  # type: ignore[union-attr]
    assert spent == [1.0, 0.0]


def test_a_tightened_budget_holds_back_what_was_trained_under_a_looser_one(hospital: Hospital) -> None:
    hospital.permit(privacy=FLOOR)
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)
    hospital.permit(privacy=FLOOR | {"most_epsilon_per_year": 4.0})
    assert refused(guard.let_out, PARENT, answer()) is Rule.PRIVACY_BUDGET


def test_a_floor_that_came_meanwhile_is_applied(hospital: Hospital) -> None:
    guard = hospital.guard()
    guard.admit(hospital.spec)
    guard.begin(24)
    hospital.permit(privacy=FLOOR)
    left = guard.let_out(PARENT, answer())
    assert left.figures == {}
    assert (left.adapter["layer.a"] != answer().adapter["layer.a"]).any()  # type: ignore[index]


# What is said of a failure


def test_a_refusal_says_the_rule_and_is_a_departure(hospital: Hospital) -> None:
    hospital.permit(least_records=1000, logs_may_leave=False)
    guard = hospital.guard()
    guard.admit(hospital.spec)
    with pytest.raises(Refused) as caught:
        guard.begin(24)
    said = guard.words_for(caught.value)
    assert str(said) == "policy rule least_records: there are fewer records than the policy demands"
    assert "24" in (hospital.state / "site.log").read_text()
    assert "24" not in str(said)
    (departure,) = (row.entry for row in rows(hospital))
    assert isinstance(departure, Departure)
    assert [part.what for part in departure.parts] == ["refusal"]
    meta = failure_meta(said)
    assert failure_in(meta) == (ExitCode.REFUSED, str(said))
    assert refused_rule_in(meta) is Rule.LEAST_RECORDS


@pytest.mark.parametrize(
    ("error", "kind"),
    [(BadInput("/srv/records/train.jsonl line 7: text: empty"), BadInput), (JobFailed("x"), JobFailed)],
)
def test_words_leave_only_where_logs_may(
    hospital: Hospital, error: InnerRoundError, kind: type[InnerRoundError]
) -> None:
    guard = hospital.guard()
    assert guard.words_for(error) is error
    hospital.permit(logs_may_leave=False)
    said = guard.words_for(error)
    assert type(said) is kind
    assert str(error) not in str(said)
    assert str(error) in (hospital.state / "site.log").read_text()


def test_without_a_policy_no_words_leave(hospital: Hospital) -> None:
    hospital.policy_file.unlink()
    said = hospital.guard().words_for(BadInput("/srv/records line 7"))
    assert "/srv" not in str(said)


def test_without_an_egress_log_only_that_is_said(hospital: Hospital) -> None:
    train(hospital)
    (hospital.state / LOG_FILE).write_text("{}\n")
    said = hospital.guard().words_for(BadInput("/srv/records line 7"))
    assert isinstance(said, Refused)
    assert said.rule is Rule.EGRESS_LOG


def test_every_rule_has_one_sentence_without_figures() -> None:
    for rule in Rule:
        assert rule.sentence
        assert not any(character.isdigit() for character in rule.sentence.replace("24 hours", ""))


# A job that tries to loosen it


def test_what_a_job_brings_cannot_name_another_policy(hospital: Hospital) -> None:
    fields = make_spec().model_dump(mode="json", by_alias=True) | {"policy": {"tasks": "any"}}
    with pytest.raises(InvalidTaskSpec):
        TaskSpec.parse(json.dumps(fields).encode())


def test_a_spec_that_was_swapped_after_the_admission_is_not_worked_on(hospital: Hospital) -> None:
    guard = hospital.guard()
    assert refused(guard.begin, 24) is Rule.TASKS
    assert refused(guard.let_out, PARENT, answer()) is Rule.TASKS


# Memory


LIMITED = """
import sys
sys.path.insert(0, {repository!r})
from tier_local.policy import Resources
from tier_local.resources import limit_memory, refusal_of
import torch
limit_memory(Resources(most_memory_bytes={most}, gpu_memory_share=None))
torch.ones(1024, 1024)
try:
    torch.ones(1 << 29)
except (MemoryError, RuntimeError) as error:
    print(refusal_of(error).rule.value)
"""


def test_torch_meets_the_memory_limit() -> None:
    script = LIMITED.format(repository=str(Path(__file__).parent.parent.parent), most=1 << 31)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("memory\n", 0), done.stderr


def test_numpy_meets_the_memory_limit_and_gpus_are_hidden() -> None:
    script = (
        f"import sys, os; sys.path.insert(0, {str(Path(__file__).parent.parent.parent)!r})\n"
        "from tier_local.policy import Resources\n"
        "from tier_local.resources import limit_memory, refusal_of\n"
        "import numpy\n"
        "limit_memory(Resources(most_memory_bytes=1 << 29, gpu_memory_share=None))\n"
        "try:\n    numpy.ones(1 << 27)\n"
        "except MemoryError as error:\n"
        "    print(refusal_of(error).rule.value, repr(os.environ['CUDA_VISIBLE_DEVICES']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("memory ''\n", 0), done.stderr


def test_without_a_limit_nothing_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resources.limit_memory(Resources(most_memory_bytes=None, gpu_memory_share=0.5))
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize("available", [False, True])
def test_the_gpus_share_is_told_to_torch_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, available: bool
) -> None:
    import torch

    told: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
    resources.limit_gpu(Resources(most_memory_bytes=None, gpu_memory_share=0.25))
    resources.limit_gpu(Resources(most_memory_bytes=None, gpu_memory_share=None))
    assert told == ([0.25] if available else [])


def test_other_errors_are_no_refusals() -> None:
    import torch

    assert resources.refusal_of(RuntimeError("shapes do not fit")) is None
    found = resources.refusal_of(torch.OutOfMemoryError("CUDA out of memory"))
    assert found is not None
    assert found.rule is Rule.GPU
