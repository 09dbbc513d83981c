"""The node's record: the first answer stays, whatever comes after it."""

import stat
from pathlib import Path

import pytest

from contracts.messages import Reveal
from tests.unit.global_sim import SimClock, SimNode
from tier_global.record import MOST_REFUSED_BUNDLES, NodeRecord, StoredVote

CONTEXT = "0x" + "11" * 16
OTHER_CONTEXT = "0x" + "22" * 16


@pytest.fixture
def node(tmp_path: Path) -> SimNode:
    return SimNode(0, tmp_path, SimClock())


def make_vote(node: SimNode, salt: int, context: str = CONTEXT, loss_nats: float = 1.0) -> StoredVote:
    reveal = Reveal(
        node=node.address, task=1, round=1, context=context, scores_micronats=(5,), salt=f"0x{salt:064x}"
    )
    commit = reveal.commit()
    return StoredVote(
        commit=commit,
        reveal=reveal,
        losses_nats={f"0x{salt:064x}": loss_nats},
        seconds={"evaluate": 1.5},
    )


def test_the_first_answer_stays(node: SimNode, tmp_path: Path) -> None:
    first, second = make_vote(node, 1), make_vote(node, 2)
    with NodeRecord(tmp_path / "record.sqlite") as record:
        assert record.find(StoredVote, 1, 1, CONTEXT) is None
        assert record.keep(first, 1, 1, CONTEXT) == first
        assert record.keep(second, 1, 1, CONTEXT) == first

    with NodeRecord(tmp_path / "record.sqlite") as record:
        assert record.find(StoredVote, 1, 1, CONTEXT) == first


def test_two_processes_agree_on_the_first(node: SimNode, tmp_path: Path) -> None:
    with NodeRecord(tmp_path / "record.sqlite") as one, NodeRecord(tmp_path / "record.sqlite") as other:
        first = one.keep(make_vote(node, 1), 1, 1, CONTEXT)
        assert other.keep(make_vote(node, 2), 1, 1, CONTEXT) == first


def test_another_round_and_another_context_are_other_questions(node: SimNode, tmp_path: Path) -> None:
    with NodeRecord(tmp_path / "record.sqlite") as record:
        record.keep(make_vote(node, 1), 1, 1, CONTEXT)
        assert record.find(StoredVote, 1, 2, CONTEXT) is None
        assert record.find(StoredVote, 2, 1, CONTEXT) is None
        again = make_vote(node, 2, OTHER_CONTEXT)
        assert record.keep(again, 1, 1, OTHER_CONTEXT) == again


def test_losses_are_kept_by_adapter_and_nan_survives(node: SimNode, tmp_path: Path) -> None:
    with NodeRecord(tmp_path / "record.sqlite") as record:
        record.keep(make_vote(node, 1, CONTEXT, 0.25), 1, 1, CONTEXT)
        record.keep(make_vote(node, 2, OTHER_CONTEXT, float("nan")), 1, 1, OTHER_CONTEXT)
        losses_nats = record.losses_nats(1, 1)

    assert losses_nats[f"0x{1:064x}"] == 0.25
    assert losses_nats[f"0x{2:064x}"] != losses_nats[f"0x{2:064x}"]


def test_others_cannot_read_the_salts(tmp_path: Path) -> None:
    with NodeRecord(tmp_path / "state" / "record.sqlite"):
        mode = (tmp_path / "state" / "record.sqlite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_refused_bundles_are_counted_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    digests = [f"0x{number:064x}" for number in range(MOST_REFUSED_BUNDLES + 5)]
    with NodeRecord(tmp_path / "record.sqlite") as record:
        for digest in digests:
            record.note_refused_bundle(digest)
        record.note_refused_bundle(digests[-1])

    with NodeRecord(tmp_path / "record.sqlite") as record:
        refused = {digest: messages for digest, messages, _ in record.refused_bundles()}
    assert len(refused) == MOST_REFUSED_BUNDLES
    assert refused[digests[-1]] == 2
