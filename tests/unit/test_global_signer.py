"""The signer: it signs one message of a round that it sees on chain, and refuses everything else."""

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import Attestation, Commit, Proposal
from contracts.phase import Phase
from contracts.signatures import personal_digest, recover_signer
from tests.unit.global_sim import DOMAIN, ROUND, TASK, Sim, SimRound
from tier_global import signer_socket
from tier_global.errors import ChainUnavailable, NodeRefusal, SetupError
from tier_global.exchange import identity_text
from tier_global.keys import SigningKey
from tier_global.signer_rules import RuledSigner, SignedRecord
from tier_global.signer_socket import SocketSigner, answer, listening, serve
from tier_global.signing import KeySigner, RoundMessage

CHALLENGE = "0x" + "42" * 32


@dataclass
class Desk:
    """A signer over a simulated round, and what it is asked to sign."""

    sim: Sim
    folder: Path
    key: SigningKey

    @property
    def chain(self) -> SimRound:
        return self.sim.chain

    @contextmanager
    def signer(self) -> Iterator[RuledSigner]:
        """One process of the signer."""
        with SignedRecord(self.folder / "signed.sqlite") as record:
            key = KeySigner(self.key.address, self.key, DOMAIN)
            yield RuledSigner(key, DOMAIN, self.chain, self.sim.clock, record)

    def sign(self, message: RoundMessage) -> str:
        with self.signer() as signer:
            return signer.sign(message)

    def refusal(self, message: RoundMessage) -> str:
        with pytest.raises(NodeRefusal) as refused:
            self.sign(message)
        return refused.value.code

    def message(self, phase: Phase, **changes: Any) -> RoundMessage:
        """What an honest node would have signed in a phase."""
        fields: dict[str, Any] = {
            "node": self.key.address,
            "task": TASK,
            "round": ROUND,
            "context": self.chain.context,
        }
        digest = "0x" + "ab" * 32
        if phase is Phase.TRAINING:
            parent = self.chain.parent_digest
            fields |= {"parent_digest": parent, "adapter_digest": digest, "report_digest": digest}
            return Proposal.parse(fields | changes)
        if phase is Phase.COMMITTING:
            return Commit.parse(fields | {"commitment": digest} | changes)
        return Attestation.parse(fields | {"aggregate_digest": digest, "score_micronats": 5} | changes)

    def enter(self, phase: Phase) -> None:
        self.chain._enter(phase)


PHASES = [Phase.TRAINING, Phase.COMMITTING, Phase.ATTESTING]
VARIED = {
    Phase.TRAINING: "adapter_digest",
    Phase.COMMITTING: "commitment",
    Phase.ATTESTING: "aggregate_digest",
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    sim = Sim(tmp_path)
    return Desk(sim, tmp_path, sim.nodes[sim.chain.proposers[0]].key)


# What it signs


@pytest.mark.parametrize("phase", PHASES)
def test_a_message_of_the_round_is_signed_by_the_key(desk: Desk, phase: Phase) -> None:
    desk.enter(phase)
    message = desk.message(phase)

    message.require_signer(DOMAIN, desk.sign(message), desk.key.address)


@pytest.mark.parametrize("phase", PHASES)
def test_the_same_message_is_signed_again_and_another_never(desk: Desk, phase: Phase) -> None:
    desk.enter(phase)
    message = desk.message(phase)
    signature = desk.sign(message)

    # Each is a new process with the same record.
    assert desk.sign(message) == signature
    assert desk.refusal(desk.message(phase, **{VARIED[phase]: "0x" + "cd" * 32})) == "signed_another"
    assert desk.sign(message) == signature


def test_after_a_reorganisation_the_round_is_another_question(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.enter(Phase.TRAINING)
    desk.sign(desk.message(Phase.TRAINING))

    monkeypatch.setattr(SimRound, "context", "0x" + "77" * 16)

    desk.sign(desk.message(Phase.TRAINING, adapter_digest="0x" + "cd" * 32))


def test_it_says_who_the_node_is_while_the_round_is_open(desk: Desk) -> None:
    with desk.signer() as signer:
        signature = signer.identify(TASK, ROUND, CHALLENGE)
        text = identity_text(DOMAIN.chain_id, desk.key.address, TASK, ROUND, CHALLENGE)
        assert recover_signer(personal_digest(text), signature) == desk.key.address

        for phase in (Phase.NONE, Phase.FINAL, Phase.ABORTED):
            desk.chain.phase = phase
            with pytest.raises(NodeRefusal, match="not open"):
                signer.identify(TASK, ROUND, CHALLENGE)


# What it refuses


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("now", list(Phase))
def test_no_message_is_signed_outside_its_phase(desk: Desk, phase: Phase, now: Phase) -> None:
    desk.enter(now)
    message = desk.message(phase)

    if now is phase:
        desk.sign(message)
    else:
        assert desk.refusal(message) == "wrong_phase"


@pytest.mark.parametrize("phase", PHASES)
def test_what_the_chain_does_not_have_is_not_signed(desk: Desk, phase: Phase) -> None:
    desk.enter(phase)
    other = desk.chain.voters[-1]

    assert desk.refusal(desk.message(phase, context="0x" + "99" * 16)) == "wrong_context"
    assert desk.refusal(desk.message(phase, node=other)) == "foreign_node"
    if phase is Phase.TRAINING:
        assert desk.refusal(desk.message(phase, parent_digest="0x" + "12" * 32)) == "wrong_parent"
    # None of these kept the right one from being signed.
    desk.sign(desk.message(phase))


@pytest.mark.parametrize("phase", PHASES)
def test_a_node_that_was_not_drawn_signs_nothing(desk: Desk, phase: Phase) -> None:
    desk.enter(phase)
    desk.chain.proposers = desk.chain.proposers[1:]
    desk.chain.voters = desk.chain.voters[1:]

    assert desk.refusal(desk.message(phase)) == "not_drawn"


@pytest.mark.parametrize("phase", PHASES)
def test_a_task_that_the_node_does_not_approve_is_not_signed_for(
    desk: Desk, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.enter(phase)
    facts = desk.chain.task(TASK)
    monkeypatch.setattr(desk.chain, "task", lambda task: replace(facts, approved=frozenset()))

    assert desk.refusal(desk.message(phase)) == "not_approved"


def test_a_key_that_was_rotated_out_signs_nothing(desk: Desk) -> None:
    desk.enter(Phase.TRAINING)
    desk.chain.nodes[desk.key.address] = desk.chain.voters[-1]

    assert desk.refusal(desk.message(Phase.TRAINING)) == "wrong_key"


def test_nothing_is_signed_after_the_deadline(desk: Desk) -> None:
    desk.enter(Phase.TRAINING)
    message = desk.message(Phase.TRAINING)
    desk.sim.clock.sleep(desk.chain.deadline_unix_s - desk.sim.clock.now_unix_s() + 1)

    assert desk.refusal(message) == "too_late"


def test_nothing_is_signed_that_cannot_be_written_down(desk: Desk) -> None:
    desk.enter(Phase.TRAINING)
    with desk.signer() as signer:
        with sqlite3.connect(desk.folder / "signed.sqlite") as connection:
            connection.execute("DROP TABLE signed")
        with pytest.raises(NodeRefusal) as refused:
            signer.sign(desk.message(Phase.TRAINING))
    assert refused.value.code == "signer_unavailable"


# The socket


@contextmanager
def served(desk: Desk, path: Path) -> Iterator[None]:
    """A signer that serves in a thread; the server's end closes it."""

    def work() -> None:
        with desk.signer() as signer:
            try:
                serve(server, signer)
            except OSError:
                return

    with listening(path) as server:
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "signer" / "socket"


def test_over_the_socket_it_is_the_same_signer(desk: Desk, path: Path) -> None:
    desk.enter(Phase.TRAINING)
    client = SocketSigner(desk.key.address, path)
    message = desk.message(Phase.TRAINING)
    with served(desk, path):
        assert client.address() == desk.key.address
        message.require_signer(DOMAIN, client.sign(message), desk.key.address)
        client.identify(TASK, ROUND, CHALLENGE)
        with pytest.raises(NodeRefusal, match="another proposal was signed") as refused:
            client.sign(desk.message(Phase.TRAINING, report_digest="0x" + "cd" * 32))
        assert refused.value.code == "signed_another"

    with pytest.raises(NodeRefusal) as refused:
        client.sign(message)
    assert refused.value.code == "signer_unavailable"


def test_a_socket_may_lie_deeper_than_the_kernel_takes(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / ("deep" * 30) / "socket"
    with served(desk, path):
        assert SocketSigner(desk.key.address, path).address() == desk.key.address
    assert not path.exists()
    with pytest.raises(NodeRefusal, match="no usable answer"):
        SocketSigner(desk.key.address, tmp_path / "none" / "socket").address()


def answer_to(path: Path, question: bytes) -> bytes:
    """What comes back for these bytes; nothing, where the signer hangs up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        try:
            client.sendall(question)
            client.shutdown(socket.SHUT_WR)
            return client.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_rubbish_is_refused_in_a_sentence(desk: Desk, path: Path) -> None:
    with served(desk, path):
        for rubbish in (b"", b"\x00", b"[]", b'{"ask":"digest","digest":"0x00"}', b'{"ask":"proposal"}'):
            reply = json.loads(answer_to(path, rubbish))
            assert reply["refusal"] == "malformed"
            assert reply["reason"]


def test_a_peer_of_another_user_is_turned_away(
    desk: Desk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = SocketSigner(desk.key.address, path)
    with served(desk, path):
        client.address()
        monkeypatch.setattr(signer_socket, "_peer_uid", lambda connection: 1 << 20)
        assert answer_to(path, b'{"ask":"address"}') == b""
        with pytest.raises(NodeRefusal, match="another user"):
            client.address()
        monkeypatch.undo()
        client.address()


def test_too_long_a_question_ends_the_connection_only(desk: Desk, path: Path) -> None:
    with served(desk, path):
        assert answer_to(path, b" " * 20_000) == b""
        SocketSigner(desk.key.address, path).address()


def test_a_socket_of_a_dead_signer_is_replaced_and_of_a_living_one_not(desk: Desk, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with served(desk, path):
        SocketSigner(desk.key.address, path).address()
        with pytest.raises(SetupError, match="another signer"), listening(path):
            pass
    assert not path.exists()


def test_a_folder_that_others_can_enter_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    with pytest.raises(SetupError, match="chmod 700"), listening(path):
        pass


def test_a_chain_that_gives_no_answer_is_a_refusal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object) -> None:
        raise ChainUnavailable("gone")

    monkeypatch.setattr(desk.chain, "round", unavailable)
    question = {"ask": "identify", "task": TASK, "round": ROUND, "challenge": CHALLENGE}
    with desk.signer() as signer:
        assert answer(json.dumps(question).encode(), signer).refusal == "chain_unavailable"
