"""The conductor with real nodes in a simulated round: what it asks, relays, refuses, and survives."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from contracts.aggregation import Contribution
from contracts.digests import sha256_digest
from contracts.manifest import adapter_digest
from contracts.messages import Proposal, Reveal
from contracts.parent import Parent, next_parent, read_parent
from contracts.phase import Phase
from contracts.task import TaskSpec
from tests.unit.global_sim import DOMAIN, GENESIS, MANIFEST, SPEC, Sim, make_adapter
from tier_global.errors import RoundOverdue
from tier_global.exchange import CommitReply, Reply, Request, RevealReply, TrainReply, TrainRequest
from tier_global.flower_mailbox import _arrival
from tier_global.keys import SigningKey
from tier_global.mailbox import Arrival
from tier_global.scoring import combine


@pytest.fixture
def sim(tmp_path: Path) -> Sim:
    return Sim(tmp_path)


def test_an_honest_round_becomes_final(sim: Sim) -> None:
    assert sim.conduct() is Phase.FINAL

    assert sim.chain.proposals.keys() == set(sim.chain.proposers)
    assert sim.chain.reveals.keys() == set(sim.chain.voters)
    contributions = [
        Contribution(
            node, proposal.adapter_digest, MANIFEST.decode(sim.chain.artifacts[proposal.adapter_digest])
        )
        for node, proposal in sim.chain.proposals.items()
    ]
    aggregate = combine("accepted", SPEC, contributions, read_parent(SPEC, adapter_digest(GENESIS), GENESIS))
    assert {attestation.aggregate_digest for attestation in sim.chain.attestations.values()} == {
        aggregate.digest
    }
    assert sim.chain.artifacts[aggregate.digest] == aggregate.data


def test_each_node_trains_and_evaluates_once(sim: Sim) -> None:
    sim.conduct()

    for address, node in sim.nodes.items():
        assert node.inner.jobs["train"] == int(address in sim.chain.proposers)
        # Everything was accepted, so that the attestation needs no evaluation of its own.
        assert node.inner.jobs["evaluate"] == 1


def test_a_refused_proposal_is_left_out_without_another_evaluation(sim: Sim) -> None:
    sim.chain.refused = frozenset({sim.chain.proposers[0]})

    assert sim.conduct() is Phase.FINAL
    jobs = {address: node.inner.jobs["evaluate"] for address, node in sim.nodes.items()}
    # The refused proposer alone did not measure the aggregate without its own proposal.
    assert jobs == {address: 2 if address == sim.chain.proposers[0] else 1 for address in sim.nodes}


def test_the_journal_has_every_stage_with_its_bytes(sim: Sim) -> None:
    sim.conduct()

    trained = [entry for entry in sim.journal.entries if entry.stage == "train"]
    assert {entry.node for entry in trained} == set(sim.chain.proposers)
    assert all(
        entry.bytes_to_nodes > len(GENESIS) and entry.bytes_from_nodes > len(GENESIS) for entry in trained
    )
    assert all("train" in entry.node_seconds for entry in trained)
    commits = [entry for entry in sim.journal.entries if entry.stage == "commit"]
    assert all(entry.bytes_to_nodes > 4 * len(GENESIS) for entry in commits)


def test_a_round_without_a_node_goes_on(sim: Sim) -> None:
    absent = sim.chain.proposers[0]
    sim.connections = {connection: node for connection, node in sim.connections.items() if node != absent}

    assert sim.conduct() is Phase.FINAL
    assert absent not in sim.chain.proposals
    assert absent not in sim.chain.attestations


def test_a_failing_inner_job_costs_only_that_node(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = sim.nodes[sim.chain.proposers[1]]
    monkeypatch.setattr(failing.inner, "train", _fail)

    assert sim.conduct() is Phase.FINAL
    assert sim.chain.proposals.keys() == set(sim.chain.proposers) - {failing.address}


def _fail(*_: object) -> None:
    from tier_global.errors import InnerJobFailed

    raise InnerJobFailed("the inner train job ended with exit code 1")


def test_nobody_moves_the_round_on(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.chain, "advance", lambda: None)

    with pytest.raises(RoundOverdue):
        sim.conduct()


def test_a_voter_that_has_lost_its_files_gets_them_for_its_attestation(
    sim: Sim, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful = sim.nodes[sim.chain.voters[3]]
    advance = sim.chain.advance

    def advance_and_lose() -> None:
        before = sim.chain.phase
        advance()
        if before is not sim.chain.phase and sim.chain.phase is Phase.ATTESTING:
            for file in (forgetful.folder / "rounds" / "1-1" / "adapters").iterdir():
                file.unlink()

    monkeypatch.setattr(sim.chain, "advance", advance_and_lose)

    assert sim.conduct() is Phase.FINAL
    assert forgetful.address in sim.chain.attestations


# Connections that were known before


def test_known_connections_are_not_asked_who_they_are(sim: Sim) -> None:
    sim.book.write(sim.connections)

    assert sim.conduct() is Phase.FINAL
    assert "identify" not in {request.stage for _, request in sim.mailbox.sent}


def test_a_node_that_came_back_is_asked_who_it_is(sim: Sim) -> None:
    sim.book.write(sim.connections)
    sim.reconnect(1)

    assert sim.conduct() is Phase.FINAL
    assert sim.chain.attestations.keys() == set(sim.nodes)
    assert sim.book.node_of.keys() == sim.connections.keys()


def test_a_wrong_hint_costs_little(sim: Sim) -> None:
    one, other, *rest = sim.connections.values()
    sim.book.write(dict(enumerate((other, one, *rest), start=1)))

    assert sim.conduct() is Phase.FINAL
    # Both were taken for each other when they trained, and proved who they are afterwards.
    assert sim.chain.attestations.keys() == set(sim.nodes)


# Registered Flower keys


@pytest.fixture
def registered(sim: Sim) -> Sim:
    """Each connection's Flower key is registered for its node."""
    sim.registered_only = True
    sim.registered = dict(sim.connections)
    return sim


def test_registered_nodes_are_counted(registered: Sim) -> None:
    assert registered.conduct() is Phase.FINAL
    assert registered.chain.attestations.keys() == set(registered.nodes)


def test_a_key_that_is_registered_for_another_node_is_not_counted(
    registered: Sim, caplog: pytest.LogCaptureFixture
) -> None:
    victim, thief = list(registered.connections.values())[:2]
    # The thief holds the victim's account key, and not its Flower key.
    registered.connections[2] = victim

    assert registered.conduct() is Phase.FINAL

    asked = {request.stage for connection, request in registered.mailbox.sent if connection == 2}
    assert asked == {"identify"}
    assert f"says that it is {victim}, and its Flower key is registered for {thief}" in caplog.text
    assert registered.chain.attestations.keys() == set(registered.nodes) - {thief}


def test_a_connection_that_nobody_registered_is_not_counted(registered: Sim) -> None:
    stranger = registered.connections[3]
    del registered.registered[3]

    assert registered.conduct() is Phase.FINAL
    assert registered.chain.attestations.keys() == set(registered.nodes) - {stranger}


def test_a_registration_corrects_a_wrong_hint(registered: Sim) -> None:
    one, other, *rest = registered.connections.values()
    registered.book.write(dict(enumerate((other, one, *rest), start=1)))

    assert registered.conduct() is Phase.FINAL
    assert registered.chain.attestations.keys() == set(registered.nodes)


# What a bad node may send. Each is refused before it reaches the orchestrator, and the round goes on.


def with_other_adapter(sim: Sim, reply: TrainReply) -> TrainReply:
    return reply.model_copy(update={"adapters": {reply.proposal.adapter_digest: make_adapter(77)}})


def with_broken_adapter(sim: Sim, reply: TrainReply) -> TrainReply:
    data = b"no safetensors at all"
    return signed(sim, reply, adapter_digest=sha256_digest(data)).model_copy(
        update={"adapters": {sha256_digest(data): data}}
    )


def with_wrong_parent(sim: Sim, reply: TrainReply) -> TrainReply:
    return signed(sim, reply, parent_digest="0x" + "22" * 32)


def with_the_parent_itself(sim: Sim, reply: TrainReply) -> TrainReply:
    parent = sim.chain.parent_digest
    return signed(sim, reply, adapter_digest=parent).model_copy(update={"adapters": {parent: GENESIS}})


def with_wrong_context(sim: Sim, reply: TrainReply) -> TrainReply:
    return signed(sim, reply, context="0x" + "00" * 16)


def with_wrong_round(sim: Sim, reply: TrainReply) -> TrainReply:
    return signed(sim, reply, round=2)


def with_wrong_report(sim: Sim, reply: TrainReply) -> TrainReply:
    return reply.model_copy(update={"report": b"{}"})


def with_another_signature(sim: Sim, reply: TrainReply) -> TrainReply:
    other = sim.nodes[sim.chain.voters[3]]
    return reply.model_copy(update={"signature": reply.proposal.sign(DOMAIN, other.key.reveal())})


def in_another_name(sim: Sim, reply: TrainReply) -> TrainReply:
    other = sim.chain.proposers[1]
    return signed(sim, reply, node=other)


def with_no_adapter(sim: Sim, reply: TrainReply) -> TrainReply:
    return reply.model_copy(update={"adapters": {}})


def signed(sim: Sim, reply: TrainReply, **changes: object) -> TrainReply:
    proposal = Proposal.model_validate(reply.proposal.model_dump() | changes)
    key = sim.nodes[reply.proposal.node].key
    return reply.model_copy(update={"proposal": proposal, "signature": proposal.sign(DOMAIN, key.reveal())})


@pytest.mark.parametrize(
    "spoil",
    [
        with_other_adapter,
        with_broken_adapter,
        with_wrong_parent,
        with_the_parent_itself,
        with_wrong_context,
        with_wrong_round,
        with_wrong_report,
        with_another_signature,
        in_another_name,
        with_no_adapter,
    ],
)
def test_a_bad_proposal_is_not_relayed(sim: Sim, monkeypatch: pytest.MonkeyPatch, spoil: object) -> None:
    bad = sim.chain.proposers[0]
    run = sim.run

    def spoiled(connection: int, request: Request) -> Reply | None:
        reply = run(connection, request)
        if isinstance(reply, TrainReply) and reply.proposal.node == bad:
            return spoil(sim, reply)  # type: ignore[operator]
        return reply

    monkeypatch.setattr(sim, "run", spoiled)

    assert sim.conduct() is Phase.FINAL
    assert sim.chain.proposals.keys() == set(sim.chain.proposers) - {bad}
    assert bad not in {message.node for message in sim.hub.handed_in if isinstance(message, Proposal)}


def test_a_commit_by_another_key_is_not_relayed(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = sim.chain.voters[0]
    run = sim.run

    def spoiled(connection: int, request: Request) -> Reply | None:
        reply = run(connection, request)
        if isinstance(reply, CommitReply) and reply.commit.node == bad:
            other = sim.nodes[sim.chain.voters[1]].key
            return reply.model_copy(update={"signature": reply.commit.sign(DOMAIN, other.reveal())})
        return reply

    monkeypatch.setattr(sim, "run", spoiled)

    assert sim.conduct() is Phase.FINAL
    assert bad not in sim.chain.commits


def test_a_key_that_is_replaced_during_the_round_counts_at_once(
    sim: Sim, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotating = sim.nodes[sim.chain.proposers[0]]
    run = sim.run

    def with_rotation(connection: int, request: Request) -> Reply | None:
        asked = sim.connections[connection]
        if isinstance(request, TrainRequest) and asked == rotating.address:
            # The conductor has read the old key by now: it asked the node to prove who it is.
            rotating.key = SigningKey("0x" + "77" * 32)
            sim.chain.nodes[rotating.address] = rotating.key.address
        return run(connection, request)

    monkeypatch.setattr(sim, "run", with_rotation)

    assert sim.conduct() is Phase.FINAL
    assert sim.chain.proposals.keys() == set(sim.chain.proposers)
    assert sim.chain.attestations.keys() == set(sim.chain.voters)


def test_a_wallet_may_be_the_signing_key(sim: Sim) -> None:
    wallet = "0x" + "77" * 20
    node = sim.nodes[sim.chain.proposers[0]]
    sim.chain.wallets[wallet] = node.key.address
    sim.chain.nodes[node.address] = wallet
    node.key = SigningKey(node.key.reveal(), wallet)

    assert sim.conduct() is Phase.FINAL
    assert sim.chain.proposals.keys() == set(sim.chain.proposers)
    assert sim.chain.attestations.keys() == set(sim.chain.voters)


def test_what_a_wallet_does_not_accept_is_not_relayed(sim: Sim) -> None:
    wallet = "0x" + "77" * 20
    node = sim.nodes[sim.chain.proposers[0]]
    sim.chain.wallets[wallet] = "0x" + "78" * 20
    sim.chain.nodes[node.address] = wallet
    node.key = SigningKey(node.key.reveal(), wallet)

    sim.conduct()
    assert node.address not in sim.chain.proposals


def test_an_impostor_is_not_asked_for_work(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor = sim.chain.voters[3]
    victim = sim.chain.proposers[0]
    run = sim.run

    def posing(connection: int, request: Request) -> Reply | None:
        reply = run(connection, request)
        if request.stage == "identify" and sim.connections.get(connection) == impostor:
            assert reply is not None
            return reply.model_copy(update={"node": victim})
        return reply

    monkeypatch.setattr(sim, "run", posing)

    sim.conduct()
    impostors_connection = next(number for number, node in sim.connections.items() if node == impostor)
    stages = {request.stage for connection, request in sim.mailbox.sent if connection == impostors_connection}
    assert stages == {"identify"}


def test_an_answer_to_another_question_is_dropped(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    confused = sim.chain.proposers[0]
    run = sim.run

    def confusing(connection: int, request: Request) -> Reply | None:
        reply = run(connection, request)
        if isinstance(reply, TrainReply) and reply.proposal.node == confused:
            reveal = Reveal(
                node=confused,
                task=1,
                round=1,
                context="0x" + "0" * 32,
                scores_micronats=(),
                salt="0x" + "0" * 64,
            )
            return RevealReply(task=1, round=1, reveal=reveal)
        return reply

    monkeypatch.setattr(sim, "run", confusing)

    assert sim.conduct() is Phase.FINAL
    assert confused not in sim.chain.proposals


@pytest.mark.parametrize("header", [b"(", b"  1\n 2\n"])
def test_an_answer_that_breaks_the_wire_fails_alone(
    sim: Sim, monkeypatch: pytest.MonkeyPatch, header: bytes
) -> None:
    bad = sim.chain.proposers[0]
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    array = Array(dtype="uint8", shape=(1,), stype="numpy.ndarray", data=npy)
    records = RecordDict(
        {
            "message": ConfigRecord({"header": "{}"}),
            f"adapter.{adapter_digest(GENESIS)}": ArrayRecord({"safetensors": array}),
        }
    )
    collect = type(sim.mailbox).collect

    def collect_from_flower(mailbox: object) -> list[Arrival]:
        return [
            _arrival(FlowerReply(SimpleNamespace(reply_to_message_id=arrival.letter), records))  # type: ignore[arg-type]
            if isinstance(arrival.reply, TrainReply) and arrival.reply.proposal.node == bad
            else arrival
            for arrival in collect(mailbox)  # type: ignore[arg-type]
        ]

    monkeypatch.setattr(type(sim.mailbox), "collect", collect_from_flower)

    assert sim.conduct() is Phase.FINAL
    assert sim.chain.proposals.keys() == set(sim.chain.proposers) - {bad}


@dataclass
class FlowerReply:
    """What the conductor reads of Flower's Message, which only Flower's own processes can make."""

    metadata: SimpleNamespace
    content: RecordDict

    def has_error(self) -> bool:
        return False


def test_a_failed_letter_is_sent_again_and_again_but_not_at_once(
    sim: Sim, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = sim.chain.proposers[0]
    asked_unix_s: list[float] = []
    collect = type(sim.mailbox).collect

    def failing_collect(mailbox: object) -> list[Arrival]:
        arrivals = []
        for arrival in collect(mailbox):  # type: ignore[arg-type]
            if isinstance(arrival.reply, TrainReply) and arrival.reply.proposal.node == failing:
                asked_unix_s.append(sim.clock.now_unix_s())
                arrivals.append(Arrival(arrival.letter, None, "the process failed"))
            else:
                arrivals.append(arrival)
        return arrivals

    monkeypatch.setattr(type(sim.mailbox), "collect", failing_collect)

    assert sim.conduct() is Phase.FINAL
    pauses_s = [later - earlier for earlier, later in pairwise(asked_unix_s)]
    assert len(pauses_s) >= 2
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] >= 5
    assert sim.nodes[failing].inner.jobs["train"] == 1


def test_a_round_with_weights_and_an_outer_optimiser_leaves_a_parent_with_momentum(tmp_path: Path) -> None:
    changes = {
        "aggregation": {"rule": "weighted_mean"},
        "outer_optimiser": {
            "name": "nesterov",
            "momentum_millionths": 900_000,
            "learning_rate_millionths": 700_000,
        },
    }
    spec = TaskSpec.model_validate(SPEC.model_dump(mode="json", by_alias=True) | changes)
    first = Sim(tmp_path / "first", spec=spec)
    weights = {node: 1_000 * place for place, node in enumerate(first.chain.proposers)}
    first.chain.medians_micronats = weights
    assert first.conduct() is Phase.FINAL

    def made_of(sim: Sim, parent_data: bytes) -> Parent:
        contributions = [
            Contribution(
                node, digest, MANIFEST.decode(sim.chain.artifacts[digest]), sim.chain.medians_micronats[node]
            )
            for node, digest in ((node, p.adapter_digest) for node, p in sim.chain.proposals.items())
        ]
        return next_parent(spec, read_parent(spec, sim.chain.parent_digest, parent_data), contributions)

    second_parent = made_of(first, GENESIS)
    assert {a.aggregate_digest for a in first.chain.attestations.values()} == {second_parent.digest}
    assert first.chain.artifacts[second_parent.digest] == second_parent.data
    assert second_parent.momentum is not None

    # The next round starts from that artifact, and everybody takes it as the parent.
    second = Sim(tmp_path / "second", spec=spec, parent_digest=second_parent.digest)
    second.chain.artifacts[second_parent.digest] = second_parent.data
    second.chain.medians_micronats = weights
    assert second.conduct() is Phase.FINAL
    third_parent = made_of(second, second_parent.data)
    assert {a.aggregate_digest for a in second.chain.attestations.values()} == {third_parent.digest}
    # Proposals are adapters: what was trained from a parent with momentum carries none.
    for proposal in second.chain.proposals.values():
        MANIFEST.decode(second.chain.artifacts[proposal.adapter_digest])
