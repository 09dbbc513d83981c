"""What the conductor refuses to relay, check by check: each answer is good but for one thing."""

from collections.abc import Callable

import pytest

from contracts.digests import sha256_digest
from contracts.errors import ContractViolation, DigestMismatch, InvalidMessage, WrongParent
from contracts.manifest import adapter_digest
from contracts.messages import Attestation, Commit, Proposal, Reveal
from contracts.phase import Phase
from contracts.signatures import recover_signer
from tests.unit.global_sim import DOMAIN, GENESIS, SPEC, make_adapter
from tier_global.exchange import AttestReply, CommitReply, RefusalReply, Reply, RevealReply, TrainReply
from tier_global.hub import ProposalResource, RoundResource
from tier_global.keys import SigningKey
from tier_global.reply_checks import check_reply

KEY = SigningKey("0x" + "11" * 32)
OTHER_KEY = SigningKey("0x" + "12" * 32)
NODE, OTHER = KEY.address, OTHER_KEY.address
ADAPTER = make_adapter(1)
REPORT = b'{"kind": "train"}'
PARENT = adapter_digest(GENESIS)
CONTEXT, OTHER_CONTEXT = "0x" + "c0" * 16, "0x" + "c1" * 16
SALT = "0x" + "5a" * 32
VIEW = RoundResource(
    task=1,
    round=2,
    phase=Phase.TRAINING,
    parent_digest=PARENT,
    context=CONTEXT,
    deadline_unix_s=9,
    proposers=(NODE,),
    voters=(NODE,),
    proposals=tuple(
        ProposalResource(node=node, adapter_digest=adapter_digest(ADAPTER)) for node in (NODE, OTHER)
    ),
)
Message = Proposal | Commit | Reveal | Attestation

MESSAGES: dict[str, Message] = {
    "train": Proposal(
        node=NODE,
        task=1,
        round=2,
        context=CONTEXT,
        parent_digest=PARENT,
        adapter_digest=adapter_digest(ADAPTER),
        report_digest=sha256_digest(REPORT),
    ),
    "commit": Commit(node=NODE, task=1, round=2, context=CONTEXT, commitment=SALT),
    "reveal": Reveal(node=NODE, task=1, round=2, context=CONTEXT, scores_micronats=(1, -1), salt=SALT),
    "attest": Attestation(
        node=NODE, task=1, round=2, context=CONTEXT, aggregate_digest=PARENT, score_micronats=1
    ),
}
STAGES = tuple(MESSAGES)
SIGNED = ("train", "commit", "attest")


def reply(stage: str, key: SigningKey = KEY, **changes: object) -> Reply:
    """An answer whose message has other fields, signed as it then is."""
    message = MESSAGES[stage].model_copy(update=changes)
    if isinstance(message, Reveal):
        return RevealReply(task=1, round=2, reveal=message)
    signature = message.sign(DOMAIN, key.reveal())
    match message:
        case Proposal():
            adapters = {adapter_digest(ADAPTER): ADAPTER}
            return TrainReply(
                task=1,
                round=2,
                proposal=message,
                signature=signature,
                report=REPORT,
                adapters=adapters,
                seconds={},
            )
        case Commit():
            return CommitReply(task=1, round=2, commit=message, signature=signature, seconds={})
        case _:
            return AttestReply(task=1, round=2, attestation=message, signature=signature, seconds={})


def check(answer: Reply, view: RoundResource = VIEW) -> tuple[bytes, str] | None:
    return check_reply(answer, NODE, view, SPEC, DOMAIN)


@pytest.mark.parametrize("stage", SIGNED)
def test_a_good_answer_says_what_was_signed(stage: str) -> None:
    signed = check(reply(stage))
    assert signed is not None
    assert recover_signer(*signed) == NODE


def test_a_reveal_needs_no_signature() -> None:
    assert check(reply("reveal")) is None


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"node": OTHER}, "answers with a message of"),
        ({"task": 2}, "is for round 2 of task 2"),
        ({"round": 3}, "is for round 3 of task 1"),
        ({"context": OTHER_CONTEXT}, "context is not the round's"),
    ],
)
def test_a_message_of_another_round_or_node_is_refused(
    stage: str, change: dict[str, object], what: str
) -> None:
    with pytest.raises(InvalidMessage, match=what):
        check(reply(stage, **change))


@pytest.mark.parametrize("stage", STAGES)
def test_only_drawn_nodes_take_part(stage: str) -> None:
    drawn = {"proposers": (OTHER,)} if stage == "train" else {"voters": (OTHER,)}
    with pytest.raises(InvalidMessage, match="not drawn"):
        check(reply(stage), VIEW.model_copy(update=drawn))


@pytest.mark.parametrize("scores_micronats", [(), (1,), (1, -1, 0)])
def test_a_reveal_has_one_score_for_each_proposal(scores_micronats: tuple[int, ...]) -> None:
    with pytest.raises(InvalidMessage, match="one score for each of 2 proposals"):
        check(reply("reveal", scores_micronats=scores_micronats))


BadTraining = Callable[[], Reply]
TWO_ADAPTERS = {adapter_digest(data): data for data in (ADAPTER, make_adapter(2))}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (lambda: reply("train", parent_digest=SALT), WrongParent),
        (lambda: reply("train", adapter_digest=PARENT), WrongParent),
        (lambda: reply("train", adapter_digest=adapter_digest(make_adapter(2))), DigestMismatch),
        (lambda: reply("train").model_copy(update={"adapters": TWO_ADAPTERS}), DigestMismatch),
        (lambda: reply("train").model_copy(update={"adapters": {}}), DigestMismatch),
        (lambda: reply("train").model_copy(update={"report": b"{}"}), DigestMismatch),
    ],
)
def test_a_proposal_comes_with_exactly_what_it_names(
    bad: BadTraining, error: type[ContractViolation]
) -> None:
    with pytest.raises(error):
        check(bad())


def test_a_reply_without_a_message_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="holds no message"):
        check(RefusalReply(task=1, round=2, code="busy", reason="busy"))
