"""A network's node: checks what it is asked against the chain, has the network do it, signs the answer.

The conductor is not trusted. Phase, draw, parent, context, deadline and the proposals' digests come from
the chain; what comes with a request are only bytes, and they must have the digests that the chain names.
Everything that leaves the node is in its record before it leaves, and a question asked again is answered
from there.

Not here: Flower (``client_app``), the checks (``node_checks``), the inner work (``inner``), and the
arithmetic of scores (``scoring``).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_bytes

from contracts.digests import sha256_digest
from contracts.errors import ContractViolation, InvalidAdapter
from contracts.manifest import adapter_digest
from contracts.messages import Attestation, Proposal, Reveal
from contracts.parent import Parent, read_parent
from contracts.task import TaskSpec
from tier_global.chain_view import ChainView, RoundOnChain
from tier_global.clock import Clock
from tier_global.errors import ChainUnavailable, InnerJobFailed, InnerJobLate, InnerJobRefused, NodeRefusal
from tier_global.exchange import (
    AttestReply,
    AttestRequest,
    CommitReply,
    CommitRequest,
    IdentifyReply,
    IdentifyRequest,
    RefusalReply,
    Reply,
    Request,
    RevealReply,
    RevealRequest,
    TrainReply,
    TrainRequest,
)
from tier_global.inner import InnerJob, InnerTier
from tier_global.node_checks import NodeChecks
from tier_global.phases import Stage
from tier_global.record import NodeRecord, StoredAttestation, StoredProposal, StoredVote
from tier_global.round_folder import RoundFolder
from tier_global.scoring import (
    PARENT,
    Candidate,
    Entry,
    accepted_parent,
    improvement_micronats,
    plan,
    read_entry,
    scores,
)
from tier_global.signing import Signer

_SPEC_FILE = "task.json"

log = logging.getLogger("collegium.node")


class Node:
    """One node, for as long as one request takes; what must last is in the record and the round's folder."""

    def __init__(
        self,
        signer: Signer,
        chain: ChainView,
        inner: InnerTier,
        record: NodeRecord,
        state_folder: Path,
        clock: Clock,
    ) -> None:
        self._signer = signer
        self._address = signer.node
        self._checks = NodeChecks(self._address, chain, clock)
        self._inner = inner
        self._record = record
        self._state_folder = state_folder
        self._clock = clock

    def answer(self, request: Request) -> Reply:
        """Answer one request; what goes wrong becomes a refusal with a code and a sentence."""
        try:
            match request:
                case IdentifyRequest():
                    return self._identify(request)
                case TrainRequest():
                    return self._train(request)
                case CommitRequest():
                    return self._commit(request)
                case RevealRequest():
                    return self._reveal(request)
                case AttestRequest():
                    return self._attest(request)
        except NodeRefusal as refusal:
            return _refusal(request, refusal.code, str(refusal))
        except ChainUnavailable as error:
            log.warning("the chain: %s", error)
            return _refusal(
                request, "chain_unavailable", "the node's own chain endpoint gives no usable answer"
            )
        except InnerJobLate as error:
            return _refusal(request, "too_late", str(error))
        except InnerJobRefused as error:
            return _refusal(request, "policy_refused", str(error))
        except InnerJobFailed as error:
            return _refusal(request, "inner_failed", str(error))
        except ContractViolation as error:
            return _refusal(request, error.code, str(error))

    def _purpose(self, request: Request, stage: Stage) -> str:
        """What an inner job is for: the same whenever this node does this stage of this round."""
        return f"{request.task}-{request.round}-{self._address}-{stage}"

    # Who the node is

    def _identify(self, request: IdentifyRequest) -> IdentifyReply:
        return IdentifyReply(
            task=request.task,
            round=request.round,
            node=self._address,
            signature=self._signer.identify(request.task, request.round, request.challenge),
        )

    # Training

    def _train(self, request: TrainRequest) -> TrainReply:
        facts = self._checks.await_phase(request, Stage.TRAIN)
        self._checks.require_signing_key(self._signer.address())
        folder = RoundFolder(self._state_folder, request.task, request.round)
        stored = self._record.find(StoredProposal, request.task, request.round, facts.context)
        if stored is None:
            self._checks.require_drawn(facts.proposers, "proposer")
            spec = self._checks.approved_spec(request.task, request.spec)
            parent = self._checks.parent(facts, request.adapters)
            read_parent(spec, facts.parent_digest, parent)
            deadline_unix_s = self._checks.work_deadline_unix_s(facts)
            with folder.sole_worker(Stage.TRAIN, deadline_unix_s, self._clock):
                # Another process may have finished the work while this one waited for it.
                stored = self._record.find(StoredProposal, request.task, request.round, facts.context)
                if stored is None:
                    folder.forget_earlier_rounds()
                    folder.write(_SPEC_FILE, request.spec)
                    folder.keep_adapter(parent)
                    stored = self._train_once(request, facts, spec, folder, deadline_unix_s)
        return _train_reply(stored, self._signer.sign(stored.proposal), folder)

    def _train_once(
        self,
        request: TrainRequest,
        facts: RoundOnChain,
        spec: TaskSpec,
        folder: RoundFolder,
        deadline_unix_s: float,
    ) -> StoredProposal:
        started_unix_s = self._clock.now_unix_s()
        with folder.work_folder(Stage.TRAIN) as out:
            trained = self._inner.train(self._job(Stage.TRAIN, request, folder, facts, out, deadline_unix_s))
        try:
            spec.manifest.decode(trained.adapter)
            report = trained.report.decode("utf-8")
        except (InvalidAdapter, UnicodeDecodeError) as error:
            raise InnerJobFailed(f"the network's own adapter or report is not usable: {error}") from error
        folder.keep_adapter(trained.adapter)
        proposal = Proposal(
            node=self._address,
            task=request.task,
            round=request.round,
            context=facts.context,
            parent_digest=facts.parent_digest,
            adapter_digest=adapter_digest(trained.adapter),
            report_digest=sha256_digest(trained.report),
        )
        answer = StoredProposal(
            proposal=proposal,
            report=report,
            seconds={"train": self._clock.now_unix_s() - started_unix_s},
        )
        return self._record.keep(answer, request.task, request.round, facts.context)

    # Voting

    def _commit(self, request: CommitRequest) -> CommitReply:
        facts = self._checks.await_phase(request, Stage.COMMIT)
        self._checks.require_signing_key(self._signer.address())
        stored = self._record.find(StoredVote, request.task, request.round, facts.context)
        if stored is None:
            self._checks.require_drawn(facts.voters, "voter")
            spec = self._checks.approved_spec(request.task, request.spec)
            parent = self._checks.parent(facts, request.adapters)
            read_parent(spec, facts.parent_digest, parent)
            folder = RoundFolder(self._state_folder, request.task, request.round)
            deadline_unix_s = self._checks.work_deadline_unix_s(facts)
            with folder.sole_worker(Stage.COMMIT, deadline_unix_s, self._clock):
                stored = self._record.find(StoredVote, request.task, request.round, facts.context)
                if stored is None:
                    folder.forget_earlier_rounds()
                    folder.write(_SPEC_FILE, request.spec)
                    _take_in(folder, facts, request.adapters)
                    stored = self._score_once(request, facts, spec, folder, deadline_unix_s)
        return CommitReply(
            task=request.task,
            round=request.round,
            commit=stored.commit,
            signature=self._signer.sign(stored.commit),
            seconds=stored.seconds,
        )

    def _score_once(
        self,
        request: CommitRequest,
        facts: RoundOnChain,
        spec: TaskSpec,
        folder: RoundFolder,
        deadline_unix_s: float,
    ) -> StoredVote:
        started_unix_s = self._clock.now_unix_s()
        kin = self._checks.kin([proposal.node for proposal in facts.proposals])
        entries = _entries(spec, facts, folder)
        votes = plan(spec, _parent(spec, facts, folder), entries, kin)
        losses_nats = self._evaluate(Stage.COMMIT, request, folder, facts, votes.candidates, deadline_unix_s)
        reveal = Reveal(
            node=self._address,
            task=request.task,
            round=request.round,
            context=facts.context,
            scores_micronats=scores(votes, entries, kin, losses_nats),
            salt="0x" + token_bytes(32).hex(),
        )
        commit = reveal.commit()
        answer = StoredVote(
            commit=commit,
            reveal=reveal,
            losses_nats=losses_nats,
            seconds={"evaluate": self._clock.now_unix_s() - started_unix_s},
        )
        return self._record.keep(answer, request.task, request.round, facts.context)

    def _job(
        self,
        stage: Stage,
        request: Request,
        folder: RoundFolder,
        facts: RoundOnChain,
        out: Path,
        deadline_unix_s: float,
    ) -> InnerJob:
        return InnerJob(
            spec=folder.path / _SPEC_FILE,
            parent=folder.adapter_path(facts.parent_digest),
            out=out,
            deadline_unix_s=deadline_unix_s,
            purpose=self._purpose(request, stage),
            policy_digest=self._checks.approved_policy_digest(request.task),
        )

    def _evaluate(
        self,
        stage: Stage,
        request: CommitRequest | AttestRequest,
        folder: RoundFolder,
        facts: RoundOnChain,
        candidates: Sequence[Candidate],
        deadline_unix_s: float,
    ) -> dict[str, float]:
        """Losses of the parent and of the candidates, by digest, from one inner job."""
        with folder.work_folder(stage) as work:
            paths: dict[str, Path] = {}
            for candidate in candidates:
                if candidate.digest != facts.parent_digest:
                    paths[candidate.name] = work / f"{candidate.name}.safetensors"
                    paths[candidate.name].write_bytes(candidate.data)
            job = self._job(stage, request, folder, facts, work / "out", deadline_unix_s)
            losses_nats = self._inner.evaluate(job, paths)
        by_digest = {
            candidate.digest: losses_nats[candidate.name]
            for candidate in candidates
            if candidate.name in paths
        }
        return {facts.parent_digest: losses_nats[PARENT], **by_digest}

    def _reveal(self, request: RevealRequest) -> RevealReply:
        facts = self._checks.await_phase(request, Stage.REVEAL)
        stored = self._record.find(StoredVote, request.task, request.round, facts.context)
        if stored is None or facts.committed.get(self._address) != stored.commit.commitment:
            raise NodeRefusal("not_committed", "this node has no commitment on chain that it could open")
        return RevealReply(task=request.task, round=request.round, reveal=stored.reveal)

    # Attesting

    def _attest(self, request: AttestRequest) -> AttestReply:
        facts = self._checks.await_phase(request, Stage.ATTEST)
        self._checks.require_signing_key(self._signer.address())
        stored = self._record.find(StoredAttestation, request.task, request.round, facts.context)
        if stored is None:
            self._checks.require_drawn(facts.voters, "voter")
            folder = RoundFolder(self._state_folder, request.task, request.round)
            spec_bytes = request.spec or folder.read(_SPEC_FILE)
            if not spec_bytes:
                raise NodeRefusal(
                    "adapters_missing", "this node holds neither spec nor adapters of this round"
                )
            spec = self._checks.approved_spec(request.task, spec_bytes)
            deadline_unix_s = self._checks.work_deadline_unix_s(facts)
            with folder.sole_worker(Stage.ATTEST, deadline_unix_s, self._clock):
                stored = self._record.find(StoredAttestation, request.task, request.round, facts.context)
                if stored is None:
                    folder.write(_SPEC_FILE, spec_bytes)
                    _take_in(folder, facts, request.adapters)
                    stored = self._attest_once(request, facts, spec, folder, deadline_unix_s)
        return AttestReply(
            task=request.task,
            round=request.round,
            attestation=stored.attestation,
            signature=self._signer.sign(stored.attestation),
            seconds=stored.seconds,
        )

    def _attest_once(
        self,
        request: AttestRequest,
        facts: RoundOnChain,
        spec: TaskSpec,
        folder: RoundFolder,
        deadline_unix_s: float,
    ) -> StoredAttestation:
        started_unix_s = self._clock.now_unix_s()
        aggregate = _accepted_aggregate(spec, facts, folder)
        losses_nats: Mapping[str, float] = self._record.losses_nats(request.task, request.round)
        if not {facts.parent_digest, aggregate.digest} <= losses_nats.keys():
            losses_nats = self._evaluate(Stage.ATTEST, request, folder, facts, [aggregate], deadline_unix_s)
        attestation = Attestation(
            node=self._address,
            task=request.task,
            round=request.round,
            context=facts.context,
            aggregate_digest=aggregate.digest,
            score_micronats=improvement_micronats(
                losses_nats[facts.parent_digest], losses_nats[aggregate.digest]
            ),
        )
        answer = StoredAttestation(
            attestation=attestation,
            seconds={"attest": self._clock.now_unix_s() - started_unix_s},
        )
        return self._record.keep(answer, request.task, request.round, facts.context)


def _refusal(request: Request, code: str, reason: str) -> RefusalReply:
    log.warning(
        "%s, round %d of task %d, refused (%s): %s", request.stage, request.round, request.task, code, reason
    )
    return RefusalReply(task=request.task, round=request.round, code=code, reason=reason[:500])


def _train_reply(stored: StoredProposal, signature: str, folder: RoundFolder) -> TrainReply:
    proposal = stored.proposal
    adapter = folder.adapter(proposal.adapter_digest)
    if adapter is None:
        raise NodeRefusal("adapter_lost", "this node has signed a proposal but no longer holds its adapter")
    return TrainReply(
        task=proposal.task,
        round=proposal.round,
        proposal=proposal,
        signature=signature,
        report=stored.report.encode("utf-8"),
        adapters={proposal.adapter_digest: adapter},
        seconds=stored.seconds,
    )


def _take_in(folder: RoundFolder, facts: RoundOnChain, adapters: Mapping[str, bytes]) -> None:
    """Keep those of the adapters that came which the chain names; the rest is nothing to this round."""
    named = {facts.parent_digest, *(proposal.adapter_digest for proposal in facts.proposals)}
    for digest, data in adapters.items():
        if digest in named and adapter_digest(data) == digest:
            folder.keep_adapter(data)


def _entries(spec: TaskSpec, facts: RoundOnChain, folder: RoundFolder) -> list[Entry]:
    return [
        read_entry(
            spec.manifest, proposal.node, proposal.adapter_digest, folder.adapter(proposal.adapter_digest)
        )
        for proposal in facts.proposals
    ]


def _parent(spec: TaskSpec, facts: RoundOnChain, folder: RoundFolder) -> Parent:
    data = folder.adapter(facts.parent_digest)
    if data is None:
        raise NodeRefusal("adapters_missing", "this node does not hold the parent of this round")
    return read_parent(spec, facts.parent_digest, data)


def _accepted_aggregate(spec: TaskSpec, facts: RoundOnChain, folder: RoundFolder) -> Candidate:
    """What the round makes of the proposals that the chain accepted."""
    medians_micronats = {
        proposal.node: proposal.median_micronats for proposal in facts.proposals if proposal.accepted
    }
    usable = [
        entry.contribution
        for entry in _entries(spec, facts, folder)
        if entry.node in medians_micronats and entry.contribution is not None
    ]
    if not usable or len(usable) != len(medians_micronats):
        raise NodeRefusal("adapters_missing", "this node does not hold every accepted adapter of this round")
    made = accepted_parent(spec, _parent(spec, facts, folder), usable, list(medians_micronats.values()))
    return Candidate("accepted", made.digest, bytes(made.data))
