"""What the launcher says of a round."""

import os
from pathlib import Path
from typing import Any

import pytest

from deploy.local.layout import Layout
from deploy.local.watch import InnerProgress, inner_progress, what_happened
from tier_local.report import Progress, Stage

ROUND: dict[str, Any] = {
    "proposers": ["a", "b", "c"],
    "proposals": [{"standing": "accepted"}, {"standing": "refused"}],
    "votes": [{"committed": True, "revealed": True}, {"committed": True, "revealed": False}],
    "attestations": [{}],
    "aggregate_digest": "0x" + "ab" * 32,
}
CAME_IN = "2 proposals, 2 commits, 1 reveals, 1 attestations"


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("requested", ""),
        ("training", " by 3 proposers until all have proposed"),
        ("committing", ": 2 proposals to score"),
        ("attesting", ": 1 of 2 proposals accepted"),
        ("final", ": next parent 0xabababababababab…"),
        (
            "aborted",
            f": too few messages in time ({CAME_IN}); the parent is kept",
        ),
        ("rejected", f": {CAME_IN}; the parent is kept"),
    ],
)
def test_a_round_that_ends_without_a_new_parent_says_what_came_in(phase: str, said: str) -> None:
    assert what_happened(ROUND | {"phase": phase}) == said


NOW_UNIX_S = 1_800_000_000


def write_progress(file: Path, stage: Stage, done: int, age_s: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Progress(stage=stage, done=done, total=14, unit="steps").write(file)
    os.utime(file, (NOW_UNIX_S - age_s, NOW_UNIX_S - age_s))


def test_the_newest_job_of_a_simulated_network_says_how_far_it_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    rounds = layout.network("east") / "state" / "rounds"
    write_progress(rounds / "1" / "training" / "progress.json", Stage.DONE, 14, age_s=100)
    write_progress(rounds / "2" / "training" / "progress.json", Stage.TRAINING, 3)
    layout.network("west").mkdir()
    assert inner_progress(layout, NOW_UNIX_S - 200) == [InnerProgress("east", "training", 3, 14, "steps")]


def test_the_hospitals_of_a_deployed_network_say_how_far_the_slowest_are(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_progress(layout.network("east") / "state" / "rounds" / "progress.json", Stage.TRAINING, 0)
    federation = layout.federation("east")
    write_progress(federation / "hospital-1" / "progress.json", Stage.TRAINING, 5, age_s=1)
    write_progress(federation / "hospital-2" / "progress.json", Stage.LOADING, 0, age_s=1)
    assert inner_progress(layout, NOW_UNIX_S - 1) == [InnerProgress("east", "loading", 0, 14, "steps")]
    write_progress(federation / "hospital-2" / "progress.json", Stage.TRAINING, 2)
    assert inner_progress(layout, NOW_UNIX_S - 1) == [InnerProgress("east", "training", 7, 28, "steps")]


def test_a_job_of_an_earlier_phase_is_not_shown(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_progress(layout.federation("east") / "hospital-1" / "progress.json", Stage.TRAINING, 14, age_s=9)
    write_progress(layout.network("west") / "state" / "progress.json", Stage.DONE, 14, age_s=9)
    assert inner_progress(layout, NOW_UNIX_S - 1) == []
