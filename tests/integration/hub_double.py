"""A stand-in for the orchestrator and its worker: the conductor's REST calls, straight to a real chain."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from contracts.digests import sha256_digest
from contracts.messages import (
    Approval,
    Attestation,
    Commit,
    Exit,
    Proposal,
    Return,
    Reveal,
    Revocation,
    Rotation,
)
from contracts.phase import Phase
from contracts.settlement import Standing
from orchestrator.domain.chain import (
    Advance,
    Call,
    CallRefused,
    Claim,
    RelayApproval,
    RelayAttestation,
    RelayCommit,
    RelayExit,
    RelayProposal,
    RelayReturn,
    RelayReveal,
    RelayRevocation,
    RelayRotation,
    Withdraw,
)
from tests.chain.world import World

TOKEN_TEXT = "conductor-token"
_ADVANCE_EVERY_S = 0.2
_STANDINGS = {
    Standing.NONE: None,
    Standing.UNSCORED: "unscored",
    Standing.REFUSED: "refused",
    Standing.ACCEPTED: "accepted",
}


class HubDouble:
    """Serves one world; ``requests`` lists what was asked for, ``frozen`` stops the rounds from moving on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[str] = []
        self.frozen_in: Phase | None = None
        self._tasks: list[int] = []
        self._lock = threading.RLock()
        self._stop = threading.Event()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else sends transactions meanwhile: the accounts' nonces are counted by whoever sends."""
        with self._lock:
            yield

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The URL, while it runs."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if self.headers.get("Authorization") != f"Bearer {TOKEN_TEXT}":
                    status, answer = 401, b'{"code": "unauthorized"}'
                else:
                    status, answer = hub.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST = handle_one  # noqa: N815 (the library's names)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threads = [
            threading.Thread(target=server.serve_forever),
            threading.Thread(target=self._advance_when_due),
        ]
        for thread in threads:
            thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self._stop.set()
            server.shutdown()
            server.server_close()
            for thread in threads:
                thread.join()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """One REST call."""
        with self._lock:
            if "artifacts" not in path and method != "GET":
                self.requests.append(f"{method} {path}")
            match method, path.strip("/").split("/")[1:]:
                case "GET", ["nodes"]:
                    signer_of = self.world.registry.functions.signerOf
                    nodes = [{"node": node, "signer": signer_of(node).call()} for node in self.world.nodes]
                    return 200, json.dumps({"items": nodes}).encode()
                case "GET", ["artifacts", digest]:
                    file = self.world.artifact_path(digest)
                    return (200, file.read_bytes()) if file.exists() else (404, b'{"code": "not_found"}')
                case "PUT", ["artifacts", digest]:
                    if sha256_digest(body) != digest:
                        return 422, b'{"code": "digest_mismatch"}'
                    self.world.store(body)
                    return 201, b""
                case "GET", ["tasks", task]:
                    view = self.world.lens.functions.taskOf(int(task)).call()
                    return 200, json.dumps({"spec_digest": "0x" + view.config.specDigest.hex()}).encode()
                case "GET", ["tasks", task, "rounds", number]:
                    return 200, json.dumps(self.round(int(task), int(number))).encode()
                case "POST", ["nodes", node, "withdrawals"]:
                    return self._send(Withdraw(node))
                case "POST", ["nodes", node, "claims"]:
                    return self._send(Claim(node))
                case "POST", ["tasks", _, "rounds", _, kind] | ["tasks" | "nodes", _, kind]:
                    return self._relay(kind, json.loads(body))
        return 404, b'{"code": "not_found"}'

    def round(self, task: int, number: int) -> dict[str, Any]:
        """The round as the REST API shows it."""
        view = self.world.view(task, number)
        return {
            "task": task,
            "round": number,
            "phase": Phase(view.phase).label,
            "parent_digest": "0x" + view.parentDigest.hex(),
            "context": "0x" + view.context.hex(),
            "deadline_unix_s": view.deadline,
            "proposers": list(view.proposers),
            "voters": list(view.voters),
            "proposals": [
                {
                    "node": proposal.node,
                    "adapter_digest": "0x" + proposal.adapterDigest.hex(),
                    "standing": _STANDINGS[proposal.standing],
                    "median_improvement_micronats": proposal.medianMicronats,
                }
                for proposal in view.proposals
            ],
            "votes": [
                {"node": vote.node, "committed": any(vote.commitment), "revealed": vote.revealed}
                for vote in view.votes
            ],
            "attestations": [
                {"node": attestation.node, "aggregate_digest": "0x" + attestation.aggregateDigest.hex()}
                for attestation in view.attestations
                if attestation.attested
            ],
        }

    def _relay(self, kind: str, body: dict[str, Any]) -> tuple[int, bytes]:
        message, signature = body["message"], body.get("signature", "")
        call: Call
        match kind:
            case "approvals":
                call = RelayApproval(Approval.parse(message), signature)
            case "revocations":
                call = RelayRevocation(Revocation.parse(message), signature)
            case "returns":
                call = RelayReturn(Return.parse(message), signature)
            case "rotations":
                call = RelayRotation(Rotation.parse(message), signature)
            case "exits":
                call = RelayExit(Exit.parse(message), signature)
            case "proposals":
                call = RelayProposal(Proposal.parse(message), signature)
            case "commits":
                call = RelayCommit(Commit.parse(message), signature)
            case "reveals":
                call = RelayReveal(Reveal.parse(message))
            case "attestations":
                call = RelayAttestation(Attestation.parse(message), signature)
            case _:
                return 404, b'{"code": "not_found"}'
        return self._send(call)

    def _send(self, call: Call) -> tuple[int, bytes]:
        try:
            self.world.send(call)
        except CallRefused as refusal:
            return 409, json.dumps({"code": "refused", "detail": refusal.reason}).encode()
        return 202, b'{"intent": 1, "status": "done"}'

    def follow(self, task: int) -> None:
        """Move the rounds of this task on from now."""
        with self._lock:
            self._tasks.append(task)

    def _advance_when_due(self) -> None:
        while not self._stop.wait(_ADVANCE_EVERY_S):
            with self._lock:
                for task in self._tasks:
                    self._advance(task)

    def _advance(self, task: int) -> None:
        number = self.world.lens.functions.taskOf(task).call().roundsRequested
        phase = self.world.phase(task, number)
        if phase is Phase.REQUESTED:
            self.world.anvil.mine(2)
        if not phase.closed and phase is not self.frozen_in and self.world.reader.is_due(task):
            self.world.send(Advance(task))
