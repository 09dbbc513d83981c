"""A signer behind a Unix socket: the process that serves it holds the key, whoever asks does not.

One question and one answer a connection, each a JSON object, the question ended by closing that direction.
Both ends refuse a peer of another user. Questions are typed messages, never digests.
"""

import logging
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.digests import Digest
from contracts.errors import ContractViolation
from contracts.messages import Address, Attestation, Commit, Proposal, RoundNumber, TaskNumber
from tier_global.errors import ChainUnavailable, NodeRefusal, SetupError
from tier_global.signing import RoundMessage, Signer

_MOST_BYTES = 1 << 14
_QUESTION_S = 5.0
"""How long a question may take to arrive."""
_ANSWER_S = 60.0
"""How long an answer may take: the signer asks the chain several times."""

log = logging.getLogger("collegium.signer")


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AddressQuestion(_Wire):
    """Whom do you sign for?"""

    ask: Literal["address"] = "address"


class IdentifyQuestion(_Wire):
    """Say who the node is, in one round."""

    ask: Literal["identify"] = "identify"
    task: TaskNumber
    round: RoundNumber
    challenge: Digest


class ProposalQuestion(_Wire):
    """Sign a proposal."""

    ask: Literal["proposal"] = "proposal"
    message: Proposal


class CommitQuestion(_Wire):
    """Sign a commitment."""

    ask: Literal["commit"] = "commit"
    message: Commit


class AttestationQuestion(_Wire):
    """Sign an attestation."""

    ask: Literal["attestation"] = "attestation"
    message: Attestation


Question = Annotated[
    AddressQuestion | IdentifyQuestion | ProposalQuestion | CommitQuestion | AttestationQuestion,
    Field(discriminator="ask"),
]
_QUESTIONS: TypeAdapter[Question] = TypeAdapter(Question)


class SignerAnswer(_Wire):
    """An account or a signature; or why there is none."""

    address: Address | None = None
    signature: str | None = None
    refusal: str | None = None
    reason: str = ""


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at ``path``, in a folder that only its owner can enter; what a dead signer left is replaced.

    Raises:
        SetupError: another signer serves it, others can enter the folder, or it cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own_folder(path.parent)
        _remove_dead(path)
        server = socket.socket(socket.AF_UNIX)
        with _address(path) as address:
            server.bind(address)
        path.chmod(0o600)
        server.listen()
    except OSError as error:
        raise SetupError(f"the signer's socket {path}: {error}") from error
    with server:
        try:
            yield server
        finally:
            path.unlink(missing_ok=True)


def serve(server: socket.socket, signer: Signer) -> None:
    """Answer questions, one after the other, for ever."""
    while True:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(_QUESTION_S)
            try:
                if _peer_uid(connection) != os.geteuid():
                    log.warning("a process of another user was turned away")
                    continue
                reply = answer(_read(connection), signer)
                connection.sendall(reply.model_dump_json().encode())
            except OSError as error:
                log.warning("a question was not answered: %s", error)


def answer(question: bytes, signer: Signer) -> SignerAnswer:
    """The answer to one question, whatever its bytes are."""
    try:
        asked = _QUESTIONS.validate_json(question)
    except ValidationError as error:
        return SignerAnswer(
            refusal="malformed", reason=str(error.errors(include_input=False)[0]["msg"])[:300]
        )
    try:
        match asked:
            case AddressQuestion():
                return SignerAnswer(address=signer.address())
            case IdentifyQuestion():
                return SignerAnswer(signature=signer.identify(asked.task, asked.round, asked.challenge))
            case _:
                reply = SignerAnswer(signature=signer.sign(asked.message))
                log.info("%s signed, round %d of task %d", asked.ask, asked.message.round, asked.message.task)
                return reply
    except NodeRefusal as refusal:
        log.warning("%s refused (%s): %s", asked.ask, refusal.code, refusal)
        return SignerAnswer(refusal=refusal.code, reason=str(refusal))
    except ChainUnavailable as error:
        log.warning("the chain: %s", error)
        return SignerAnswer(
            refusal="chain_unavailable", reason="the signer's chain endpoint gives no usable answer"
        )
    except ContractViolation as error:
        return SignerAnswer(refusal=error.code, reason=str(error))


class SocketSigner:
    """The signer that a process serves at a socket."""

    def __init__(self, node: str, path: Path) -> None:
        self._node = node
        self._path = path

    @property
    def node(self) -> str:
        return self._node

    def address(self) -> str:
        address = self._ask(AddressQuestion()).address
        if address is None:
            raise _unusable()
        return address

    def sign(self, message: RoundMessage) -> str:
        match message:
            case Proposal():
                return self._signature(ProposalQuestion(message=message))
            case Commit():
                return self._signature(CommitQuestion(message=message))
            case Attestation():
                return self._signature(AttestationQuestion(message=message))

    def identify(self, task: int, round_number: int, challenge: str) -> str:
        return self._signature(IdentifyQuestion(task=task, round=round_number, challenge=challenge))

    def _signature(self, question: _Wire) -> str:
        signature = self._ask(question).signature
        if signature is None:
            raise _unusable()
        return signature

    def _ask(self, question: _Wire) -> SignerAnswer:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_S)
                with _address(self._path) as address:
                    connection.connect(address)
                if _peer_uid(connection) != os.geteuid():
                    raise NodeRefusal("signer_unavailable", "the node's signer is another user's")
                connection.sendall(question.model_dump_json().encode())
                connection.shutdown(socket.SHUT_WR)
                reply = SignerAnswer.model_validate_json(_read(connection))
        except (OSError, ValidationError) as error:
            log.warning("the signer at %s: %s", self._path, error)
            raise _unusable() from error
        if reply.refusal is not None:
            raise NodeRefusal(reply.refusal, f"the node's signer refuses: {reply.reason}")
        return reply


def _unusable() -> NodeRefusal:
    return NodeRefusal("signer_unavailable", "the node's signer gives no usable answer")


def _read(connection: socket.socket) -> bytes:
    received = bytearray()
    while part := connection.recv(_MOST_BYTES):
        received += part
        if len(received) > _MOST_BYTES:
            raise OSError(f"more than {_MOST_BYTES} bytes came")
    return bytes(received)


def _peer_uid(connection: socket.socket) -> int:
    """The user of the process at the other end, as the kernel knows it."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The socket at ``path`` under a short name: the kernel takes 107 bytes, and a path may be longer."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _require_own_folder(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SetupError(f"others than you can enter {folder}: run chmod 700 on it")


def _remove_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            with _address(path) as address:
                probe.connect(address)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SetupError(f"another signer serves {path}")
