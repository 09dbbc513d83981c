"""What must hold of any policy and any history: tighter never permits more, and no window overspends."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.manifest import FloatArray
from tests.unit.local_policies import FLOOR, NOON_UNIX_S, Hospital, make_tensors
from tier_local.budgets import DAY_S, YEAR_S
from tier_local.egress import Departure, EgressRow, Work, check_log, read_rows
from tier_local.errors import Refused
from tier_local.guard import Answer
from tier_local.policy import Hours, Policy, PrivacyFloor, Wish, refusals
from tier_local.privacy import clipped_and_noised, epsilon_of

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
DIGESTS = tuple("0x" + f"{number:064x}" for number in range(4))

digests = st.one_of(st.just("any"), st.lists(st.sampled_from(DIGESTS), min_size=1, max_size=3).map(tuple))
clock_times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
windows = st.builds(
    lambda days, begins, ends: {"days": days, "begins": begins, "ends": ends},
    st.lists(st.sampled_from(DAYS), min_size=1, max_size=7),
    clock_times,
    clock_times,
)
policies = st.builds(
    lambda tasks, base_models, uses, steps, hours: {
        "schema": "collegium.policy/1",
        "site": "hospital-1",
        "tasks": tasks,
        "base_models": base_models,
        "data_sets": [{"folder": "/records", "uses": uses}],
        "work": {
            "most_steps_per_round": steps,
            "most_epochs_per_round": None,
            "most_steps_per_day": None,
            "most_steps_per_task": None,
        },
        "resources": {"most_memory_bytes": None, "gpu_memory_share": None},
        "hours": hours,
        "least_records": 1,
        "privacy": None,
        "logs_may_leave": False,
        "kill_switch_file": "STOP",
    },
    digests,
    digests,
    st.lists(st.sampled_from(["train", "evaluate"]), min_size=1, max_size=2),
    st.one_of(st.none(), st.integers(1, 100)),
    st.one_of(
        st.none(),
        st.lists(windows, min_size=1, max_size=4).map(lambda w: {"time_zone": "UTC", "windows": w}),
    ),
)
wishes = st.builds(
    Wish,
    use=st.sampled_from(["train", "evaluate"]),
    task_digest=st.sampled_from(DIGESTS),
    base_model_digest=st.sampled_from(DIGESTS),
    steps=st.integers(0, 100),
    data_folder=st.none(),
)
moments = st.integers(0, 7 * DAY_S - 1).map(lambda second: MONDAY.timestamp() + second)


def read(fields: dict[str, Any]) -> Policy:
    return Policy.model_validate_json(json.dumps(fields))


def refused_by(policy: Policy, wish: Wish, now_unix_s: float) -> set[str]:
    return {refusal.rule.value for refusal in refusals(policy, wish, now_unix_s)}


def tightened(fields: dict[str, Any], how: int) -> dict[str, Any]:
    """The policy with one thing less in it."""
    if how == 0:
        return fields | {"tasks": DIGESTS[:1] if fields["tasks"] == "any" else fields["tasks"][:1]}
    if how == 1:
        models = fields["base_models"]
        return fields | {"base_models": DIGESTS[:1] if models == "any" else models[:1]}
    if how == 2:
        uses = fields["data_sets"][0]["uses"][:1]
        return fields | {"data_sets": [{"folder": "/records", "uses": uses}]}
    if how == 3:
        steps = fields["work"]["most_steps_per_round"]
        return fields | {"work": fields["work"] | {"most_steps_per_round": max(1, (steps or 100) // 2)}}
    one = {"days": ["monday"], "begins": "00:00", "ends": "12:00"}
    kept = [one] if fields["hours"] is None else fields["hours"]["windows"][:1]
    return fields | {"hours": {"time_zone": "UTC", "windows": kept}}


@settings(deadline=None)
@given(policies, wishes, moments, st.integers(0, 4))
def test_a_tighter_policy_never_permits_more(
    fields: dict[str, Any], wish: Wish, now_unix_s: float, how: int
) -> None:
    looser, tighter = read(fields), read(tightened(fields, how))
    assert refused_by(looser, wish, now_unix_s) <= refused_by(tighter, wish, now_unix_s)


@settings(deadline=None)
@given(policies, wishes, moments)
def test_asking_for_less_is_never_refused_for_more(
    fields: dict[str, Any], wish: Wish, now_unix_s: float
) -> None:
    policy = read(fields)
    less = replace(wish, steps=wish.steps // 2)
    assert refused_by(policy, less, now_unix_s) <= refused_by(policy, wish, now_unix_s)


def minutes_of(window: dict[str, Any]) -> set[int]:
    """The minutes of a week from Monday 00:00 that a window covers, one by one."""
    begins, ends = (int(window[at][:2]) * 60 + int(window[at][3:]) for at in ("begins", "ends"))
    length = (ends - begins) % 1440 or 1440
    return {
        (DAYS.index(day) * 1440 + begins + minute) % (7 * 1440)
        for day in window["days"]
        for minute in range(length)
    }


@given(st.lists(windows, min_size=1, max_size=4), st.integers(0, 7 * 1440 - 1))
def test_hours_are_the_minutes_that_their_windows_cover(all_of: list[dict[str, Any]], minute: int) -> None:
    hours = Hours.model_validate_json(json.dumps({"time_zone": "UTC", "windows": all_of}))
    moment = (MONDAY + timedelta(minutes=minute)).timestamp()
    assert hours.permit(moment) is (minute in set().union(*map(minutes_of, all_of)))


@given(st.integers(0, 1000), st.floats(1e-6, 1e30), st.floats(1e-3, 1e3))
def test_an_update_never_leaves_longer_than_the_clip_norm(seed: int, scale: float, clip_norm: float) -> None:
    trained: dict[str, FloatArray] = {"w": make_tensors(seed)["layer.a"] * np.float32(scale)}
    parent: dict[str, FloatArray] = {"w": np.zeros((3, 5), dtype=np.float32)}
    floor = PrivacyFloor.model_validate(FLOOR | {"clip_norm": clip_norm, "noise_multiplier": 0.01})
    left = clipped_and_noised(parent, trained, floor, bytes(32), b"")["w"].astype(float)
    # 15 numbers of noise, a hundredth of the clip norm each, are never 20 of their deviations long.
    assert math.sqrt(float(np.square(left).sum())) <= clip_norm * (1 + 0.2 + 1e-6)


@given(st.lists(st.floats(0.0, 100.0), max_size=20), st.floats(1e-12, 1e-3))
def test_epsilon_grows_with_what_was_spent(costs: list[float], delta: float) -> None:
    spent = [epsilon_of(math.fsum(costs[:count]), delta) for count in range(len(costs) + 1)]
    assert spent == sorted(spent)


# A hospital's history

steps_of_history = st.lists(
    st.tuples(
        st.sampled_from(
            ["leaves", "leaves again", "dies before the work", "dies before the door", "evaluates"]
        ),
        # Forward by up to half a year, or back within and beyond what time servers correct.
        st.one_of(st.integers(0, YEAR_S // 2), st.integers(-2000, 0)),
    ),
    min_size=1,
    max_size=25,
)
BUDGET = 10.0
MOST_STEPS_PER_DAY = 35


@settings(max_examples=25, deadline=None)
@given(steps_of_history)
def test_no_history_overspends_in_any_day_or_year(history: Sequence[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        hospital = Hospital(Path(folder))
        (hospital.folder / "records").mkdir()
        work = {
            "most_steps_per_round": None,
            "most_epochs_per_round": None,
            "most_steps_per_day": MOST_STEPS_PER_DAY,
            "most_steps_per_task": None,
        }
        floor = FLOOR | {"most_epsilon_per_year": BUDGET, "figures": "exact"}
        hospital.permit(privacy=floor, work=work)
        hospital.now_unix_s = NOON_UNIX_S
        left: list[bytes] = []
        for seed, (what, seconds) in enumerate(history):
            hospital.now_unix_s += seconds
            _live(hospital, what, seed, left)
        if (hospital.state / "egress.jsonl").exists():
            _require_within_budgets(hospital, read_rows(hospital.state), left)


def _live(hospital: Hospital, what: str, seed: int, left: list[bytes]) -> None:
    try:
        guard = hospital.guard("evaluate" if what == "evaluates" else "train")
        guard.admit(hospital.spec)
        if what == "dies before the work":
            return
        guard.begin(24)
        if what == "dies before the door":
            return
        adapter = None if what == "evaluates" else make_tensors(0 if what == "leaves again" else seed + 1)
        answer = guard.let_out(make_tensors(99), Answer(adapter=adapter, figures={"records": 24}))
        if answer.adapter is not None:
            left.append(hospital.spec.manifest.encode(answer.adapter))
    except Refused:
        pass


def _require_within_budgets(hospital: Hospital, rows: Sequence[EgressRow], left: Sequence[bytes]) -> None:
    assert check_log(hospital.state, rows) == ()
    times = [row.entry.time_unix_s for row in rows]
    assert times == sorted(times)
    for row in rows:
        now_unix_s = row.entry.time_unix_s
        steps = [
            other.entry.steps
            for other in rows
            if isinstance(other.entry, Work) and now_unix_s - DAY_S < other.entry.time_unix_s <= now_unix_s
        ]
        assert sum(steps) <= MOST_STEPS_PER_DAY
        releases = [
            other.entry.release
            for other in rows
            if isinstance(other.entry, Departure)
            and other.entry.release is not None
            and now_unix_s - YEAR_S < other.entry.time_unix_s <= now_unix_s
        ]
        spent = math.fsum(release.mu_squared for release in releases)
        assert epsilon_of(spent, 1e-6) <= BUDGET
    # Every different adapter that left was paid for at least once.
    paid = [
        row.entry
        for row in rows
        if isinstance(row.entry, Departure)
        and row.entry.release is not None
        and row.entry.release.mu_squared > 0
    ]
    assert len(paid) >= len(set(left))
