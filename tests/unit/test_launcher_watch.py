"""What the launcher says of a round."""

from typing import Any

import pytest

from deploy.local.watch import what_happened

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
