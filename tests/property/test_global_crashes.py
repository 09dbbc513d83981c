"""Whatever is killed when, a round comes to its end, and no node ever says two different things in it."""

import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from contracts.phase import Phase
from tests.unit.global_sim import CrashPoint, Sim
from tier_global.exchange import AttestReply, CommitReply, Reply, RevealReply, TrainReply

NODES = 4
POINTS: tuple[CrashPoint, ...] = (
    "before the work",
    "after the work",
    "before the record",
    "after the record",
    "before the reply",
)
crashes_of_a_node = st.lists(st.sampled_from(POINTS), max_size=4)


def signed(reply: Reply) -> tuple[str, object] | None:
    """The kind of a reply and the message in it that the chain would see."""
    match reply:
        case TrainReply():
            return "proposal", (reply.proposal, reply.signature)
        case CommitReply():
            return "commit", (reply.commit, reply.signature)
        case RevealReply():
            return "reveal", reply.reveal
        case AttestReply():
            return "attestation", (reply.attestation, reply.signature)
    return None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    crashes=st.lists(crashes_of_a_node, min_size=NODES, max_size=NODES),
    dying_conductors=st.sets(st.integers(min_value=1, max_value=20), max_size=4),
)
def test_kills_never_change_an_answer(crashes: list[list[CrashPoint]], dying_conductors: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sim = Sim(Path(folder), nodes=NODES)
        for node, points in zip(sim.nodes.values(), crashes, strict=True):
            node.crash.points = list(points)
        sim.kill_conductor_at = set(dying_conductors)

        phase = sim.conduct()

        event(f"ended {phase.label}")
        assert phase is Phase.FINAL
        for node in sim.nodes.values():
            said: dict[str, list[object]] = defaultdict(list)
            for reply in node.replies:
                if (message := signed(reply)) is not None:
                    said[message[0]].append(message[1])
            for kind, messages in said.items():
                assert all(message == messages[0] for message in messages), kind
            # Nobody was too late: the phases are long enough for every crash.
            assert node.address in sim.chain.attestations
            assert sim.chain.reveals[node.address].commitment == sim.chain.commits[node.address].commitment
        for node in sim.chain.proposers:
            # A training is repeated only when it was killed before its answer was in the record.
            points = crashes[list(sim.nodes).index(node)]
            lost = sum(point in ("after the work", "before the record") for point in points)
            assert sim.nodes[node].inner.jobs["train"] <= 1 + lost


@settings(max_examples=5, deadline=None)
@given(points=crashes_of_a_node.filter(bool))
def test_a_node_that_always_dies_does_not_stop_the_others(points: list[CrashPoint]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sim = Sim(Path(folder), nodes=NODES)
        doomed = next(iter(sim.nodes.values()))
        doomed.crash.points = points[:1] * 1000

        assert sim.conduct() is Phase.FINAL
        assert sim.chain.attestations.keys() >= set(sim.nodes) - {doomed.address}
