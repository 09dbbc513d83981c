"""What runs at a hospital: trains or measures on the hospital's records.

It is installed at the hospital; a job only says what to do (``executor`` is NVFlare's side of it, ``Wire``
the way of adapters). The records never leave this process; what does is an adapter, or sums of losses. What
is wrong with a hospital's input is said in the answer, so that the operator reads a sentence and not a log.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from contracts.errors import ContractViolation
from contracts.manifest import FloatArray
from contracts.task import TaskSpec
from tier_local.data import HELDOUT_FILE, TRAINING_FILE, read_records
from tier_local.errors import BadInput, InnerRoundError, JobFailed
from tier_local.exchange import (
    PARENT,
    Assignment,
    Meta,
    Reply,
    SiteFile,
    Sums,
    assignment_in,
    failure_meta,
    reply_meta,
)
from tier_local.guard import Answer, Errand, Guard, guard_of
from tier_local.imports import without_collecting
from tier_local.models import prepare_exactly
from tier_local.prompts import PromptEncoder
from tier_local.report import Progress, Stage, finite
from tier_local.resources import refusal_of
from tier_local.transfers import Wire, fetch_adapter, offer_adapter

_SECONDS_BETWEEN_PROGRESS = 0.5


class _ProgressFile:
    """Rewrites a site's progress file, but not more often than someone could look; lets the guard look."""

    def __init__(self, path: Path, stage: Stage, unit: Literal["steps", "records"], guard: Guard) -> None:
        self._path, self._stage, self._unit, self._guard = path, stage, unit, guard
        self._next_unix_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        self._guard.keep_going()
        if done < total and time.monotonic() < self._next_unix_s:
            return
        self._next_unix_s = time.monotonic() + _SECONDS_BETWEEN_PROGRESS
        Progress(stage=self._stage, done=done, total=total, unit=self._unit).write(self._path)


class _Hospital:
    """One site at one assignment: its records as examples, and the model.

    ``guard`` has the hospital's policy applied before the records are opened and before anything leaves.
    """

    def __init__(self, site: SiteFile, assignment: Assignment, guard: Guard, wire: Wire) -> None:
        self._site, self._assignment, self._guard, self._wire = site, assignment, guard, wire
        self._spec = TaskSpec.parse(assignment.spec.encode())
        guard.admit(self._spec)
        self._adapters = {
            name: fetch_adapter(wire, self._spec.manifest, offered)
            for name, offered in assignment.adapters.items()
        }
        base = self._spec.base_model
        cached = prepare_exactly(base.source, base.digest, site.model_cache)
        encoder = PromptEncoder(cached.tokenizer(), self._spec.data)
        file_name = TRAINING_FILE if assignment.kind == "train" else HELDOUT_FILE
        self._examples = encoder.encode(read_records(site.data_folder / file_name, self._spec.data))
        guard.begin(len(self._examples))
        # Late, so that bad records are reported without the seconds that this import takes.
        with without_collecting():
            from tier_local.learner import Learner

            guard.limit_gpu()
            self._learner = Learner(cached, self._spec, encoder.label_tokens, site.threads)

    def answer(self) -> Reply:
        """The answer to the server's task."""
        parent = self._adapters[PARENT]
        answer = self._train(parent) if self._assignment.kind == "train" else self._measure()
        return self._reply(self._guard.let_out(parent, answer))

    def _train(self, parent: Mapping[str, FloatArray]) -> Answer:
        from tier_local.learner import batch_seed

        seed = batch_seed(self._spec.training.seed, self._site.site, self._assignment.parent_digest)
        progress = _ProgressFile(self._site.progress_file, Stage.TRAINING, "steps", self._guard)
        trained = self._learner.train(parent, self._examples, seed, progress)
        figures = {
            "records": len(self._examples),
            "first": finite(trained.first_loss_nats),
            "last": finite(trained.last_loss_nats),
        }
        # What is not finite is not said, so that the egress log has just what leaves.
        said = {name: figure for name, figure in figures.items() if figure is not None}
        return Answer(adapter=trained.tensors, figures=said)

    def _measure(self) -> Answer:
        progress = _ProgressFile(self._site.progress_file, Stage.MEASURING, "records", self._guard)
        return Answer(sums=self._learner.measure(self._adapters, self._examples, progress))

    def _reply(self, answer: Answer) -> Reply:
        """What may leave, on its way."""
        if answer.adapter is None:
            return Reply(sums={name: Sums.of(sums) for name, sums in answer.sums.items()})
        folder = self._site.progress_file.parent
        return Reply(
            adapter=offer_adapter(self._wire, self._spec.manifest, answer.adapter, folder),
            records=int(answer.figures.get("records", 0)),
            first_loss_nats=answer.figures.get("first"),
            last_loss_nats=answer.figures.get("last"),
        )


def answer(site: SiteFile, task: Mapping[str, Any], wire: Wire) -> Meta:
    """The site's answer to the server's task, both as a message's metadata; a failure is an answer too.

    All that it says, of failures too, goes by the hospital's policy.
    """
    try:
        assignment = assignment_in(task)
    except BadInput as error:
        # Nothing of the hospital's was touched, and this says nothing but that.
        return failure_meta(error)
    guard = guard_of(
        _errand(site, assignment), site.policy_file, site.state_folder, is_embedded=site.is_embedded
    )
    try:
        unit: Literal["steps", "records"] = "steps" if assignment.kind == "train" else "records"
        Progress(stage=Stage.LOADING, done=0, total=1, unit=unit).write(site.progress_file)
        return reply_meta(_Hospital(site, assignment, guard, wire).answer())
    except ContractViolation as error:
        return failure_meta(guard.words_for(BadInput(str(error))))
    except InnerRoundError as error:
        return failure_meta(guard.words_for(error))
    except OSError as error:
        # Without the file's name, which is the hospital's.
        reason = error.strerror or type(error).__name__
        return failure_meta(guard.words_for(JobFailed(f"a file cannot be read or written: {reason}")))
    except (MemoryError, RuntimeError) as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        return failure_meta(guard.words_for(refusal))


def _errand(site: SiteFile, assignment: Assignment) -> Errand:
    return Errand(
        site=site.site,
        use=assignment.kind,
        parent_digest=assignment.parent_digest,
        data_folder=site.data_folder,
        recipient=site.recipient,
        approved_policy_digest=assignment.approved_policy_digests.get(site.site),
    )
