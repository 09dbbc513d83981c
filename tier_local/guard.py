"""Stands between a hospital's process and everybody else: asks the hospital's policy, and writes what leaves.

The site's process calls it before records are opened, before training begins, while it goes on, and before
anything leaves. It is installed code at the hospital; a job brings data, never this. Whatever it reads
(policy, kill switch, log, clock) it reads at that moment.

A site without a policy refuses everything, but for the simulator, where a whole network is one machine.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import rfc8785

from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.manifest import FloatArray, Tensors
from contracts.task import TaskSpec
from tier_local import budgets, privacy, resources
from tier_local.egress import Departure, EgressLog, Part, Release, Work, locked
from tier_local.errors import BadInput, InnerRoundError, JobFailed, Refused
from tier_local.network import SiteName
from tier_local.policy import Policy, PrivacyFloor, Use, Wish, read_policy, refusals, require_not_stopped
from tier_local.rules import Rule
from tier_local.scoring import StratumSums

CLOCK_TOLERANCE_S = 300
"""So far the clock may go back: time servers correct it by seconds."""
_SECONDS_BETWEEN_CHECKS = 1.0
_LOG_FILE = "site.log"


@dataclass(frozen=True)
class Errand:
    """What a site's process was sent for, and where its hospital's own things lie."""

    site: SiteName
    use: Use
    parent_digest: str
    data_folder: Path
    recipient: str
    """To whom the answer goes."""
    approved_policy_digest: str | None
    """The policy that the network approved the task with, as far as the network says one."""


@dataclass(frozen=True)
class Answer:
    """What a hospital answers: an adapter and figures about its training, or sums of losses."""

    adapter: Mapping[str, FloatArray] | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    sums: Mapping[str, StratumSums] = field(default_factory=dict)


class Guard(Protocol):
    """Every method but ``words_for`` raises Refused where the policy forbids to go on."""

    def admit(self, spec: TaskSpec) -> None:
        """Before anything of the hospital's is opened."""

    def begin(self, records: int) -> None:
        """With the records counted, before the model is loaded."""

    def limit_gpu(self) -> None:
        """Once torch is there, before it takes a GPU."""

    def keep_going(self) -> None:
        """Between steps."""

    def let_out(self, parent: Tensors, answer: Answer) -> Answer:
        """What may leave in place of the answer; it is in the egress log when this returns."""

    def words_for(self, error: InnerRoundError) -> InnerRoundError:
        """What may be said of an error."""


class OpenGuard:
    """Permits everything and writes nothing."""

    def admit(self, spec: TaskSpec) -> None:
        pass

    def begin(self, records: int) -> None:
        pass

    def limit_gpu(self) -> None:
        pass

    def keep_going(self) -> None:
        pass

    def let_out(self, parent: Tensors, answer: Answer) -> Answer:
        return answer

    def words_for(self, error: InnerRoundError) -> InnerRoundError:
        return error


class ClosedGuard(OpenGuard):
    """Permits nothing: a deployed site without a policy."""

    def admit(self, spec: TaskSpec) -> None:
        raise Refused(Rule.POLICY_FILE, "this site was given no policy")

    def let_out(self, parent: Tensors, answer: Answer) -> Answer:
        raise Refused(Rule.POLICY_FILE, "this site was given no policy")

    def words_for(self, error: InnerRoundError) -> InnerRoundError:
        return error if isinstance(error, Refused) else without_words(error)


class PolicyGuard:
    """Enforces the policy in a file."""

    def __init__(
        self,
        errand: Errand,
        policy_file: Path,
        state_folder: Path,
        now_unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._errand, self._policy_file, self._state_folder = errand, policy_file, state_folder
        self._now_unix_s = now_unix_s
        self._spec: TaskSpec | None = None
        self._records = 0
        self._next_check_s = 0.0

    def admit(self, spec: TaskSpec) -> None:
        self._spec = spec
        policy = self._permitting_policy(spec)
        with locked(self._state_folder) as log:
            now_unix_s = self._time_after(log)
            if self._errand.use == "train":
                _require_steps(policy, spec, log, now_unix_s)
                # A job that is run again may give bytes that are paid for; that shows when they are there.
                if not budgets.may_repeat(log.rows, spec.digest, self._errand.parent_digest):
                    self._release(policy.privacy, log, now_unix_s, part=None)
        resources.limit_memory(policy.resources)

    def begin(self, records: int) -> None:
        spec = self._admitted()
        policy = self._permitting_policy(spec)
        self._records = records
        _require_records(policy, spec, self._errand.use == "train", records)
        if self._errand.use != "train":
            return
        with locked(self._state_folder) as log:
            now_unix_s = self._time_after(log)
            _require_steps(policy, spec, log, now_unix_s)
            log.append(
                Work(
                    time_unix_s=now_unix_s,
                    task_digest=spec.digest,
                    parent_digest=self._errand.parent_digest,
                    policy_digest=policy.digest,
                    steps=spec.training.steps,
                )
            )

    def limit_gpu(self) -> None:
        resources.limit_gpu(read_policy(self._policy_file).resources)

    def keep_going(self) -> None:
        if time.monotonic() < self._next_check_s:
            return
        self._next_check_s = time.monotonic() + _SECONDS_BETWEEN_CHECKS
        self._permitting_policy(self._admitted())

    def let_out(self, parent: Tensors, answer: Answer) -> Answer:
        spec = self._admitted()
        policy = self._permitting_policy(spec)
        _require_records(policy, spec, self._errand.use == "train", self._records)
        if policy.privacy is not None:
            answer = self._made_private(policy.privacy, parent, answer)
        parts = tuple(_parts(spec, answer))
        with locked(self._state_folder) as log:
            now_unix_s = self._time_after(log)
            release = None
            if answer.adapter is not None:
                release = self._release(policy.privacy, log, now_unix_s, parts[0])
            log.append(self._departure(policy.digest, now_unix_s, parts, release))
        return answer

    def words_for(self, error: InnerRoundError) -> InnerRoundError:
        _note(self._state_folder, error.detail if isinstance(error, Refused) else str(error))
        try:
            policy = read_policy(self._policy_file)
            words_may_leave, policy_digest = policy.logs_may_leave, policy.digest
        except Refused:
            words_may_leave, policy_digest = False, ZERO_DIGEST
        said = error if isinstance(error, Refused) or words_may_leave else without_words(error)
        if isinstance(error, Refused) and error.rule is Rule.EGRESS_LOG:
            # There is no log that could take a row; the sentence says just that.
            return said
        body = {"exit_code": int(said.exit_code), "message": str(said)}
        part = _json_part("refusal" if isinstance(said, Refused) else "failure", body)
        try:
            with locked(self._state_folder) as log:
                time_unix_s = max(int(self._now_unix_s()), log.newest_unix_s)
                log.append(self._departure(policy_digest, time_unix_s, (part,), None))
        except Refused as refused:
            _note(self._state_folder, refused.detail)
            return refused
        return said

    def _admitted(self) -> TaskSpec:
        if self._spec is None:
            raise Refused(Rule.TASKS, "no task was admitted")
        return self._spec

    def _permitting_policy(self, spec: TaskSpec) -> Policy:
        """The policy as it is now, once nothing in its text forbids the work."""
        policy = read_policy(self._policy_file)
        require_not_stopped(self._policy_file, policy)
        if policy.site != self._errand.site:
            raise Refused(Rule.SITE, f"the policy is for {policy.site}, this is {self._errand.site}")
        approved = self._errand.approved_policy_digest
        if approved is not None and approved != policy.digest:
            raise Refused(Rule.APPROVED, f"the policy is {policy.digest}, the network approved {approved}")
        for refusal in refusals(policy, wish_of(spec, self._errand), self._now_unix_s()):
            raise Refused(refusal.rule, refusal.detail)
        return policy

    def _time_after(self, log: EgressLog) -> int:
        now_unix_s = int(self._now_unix_s())
        if now_unix_s < log.newest_unix_s - CLOCK_TOLERANCE_S:
            raise Refused(
                Rule.CLOCK, f"it is {now_unix_s}, and the egress log has a row of {log.newest_unix_s}"
            )
        return max(now_unix_s, log.newest_unix_s)

    def _made_private(self, floor: PrivacyFloor, parent: Tensors, answer: Answer) -> Answer:
        adapter = answer.adapter
        if adapter is not None:
            context = f"{self._admitted().digest}\n{self._errand.parent_digest}\n{self._errand.site}".encode()
            key = privacy.noise_key(self._state_folder)
            adapter = privacy.clipped_and_noised(parent, adapter, floor, key, context)
        figures = answer.figures if floor.figures == "exact" else {}
        return Answer(adapter=adapter, figures=figures, sums=answer.sums)

    def _release(
        self, floor: PrivacyFloor | None, log: EgressLog, now_unix_s: int, part: Part | None
    ) -> Release | None:
        """What the departure of an adapter costs; None for ``part``: of one that has not left yet."""
        if floor is None:
            return None
        repeated = part is not None and budgets.has_left(log.rows, part)
        cost = 0.0 if repeated else privacy.mu_squared(floor)
        total = budgets.mu_squared_of_year(log.rows, now_unix_s) + cost
        epsilon = privacy.epsilon_of(total, floor.delta)
        if epsilon > floor.most_epsilon_per_year and not repeated:
            raise Refused(
                Rule.PRIVACY_BUDGET,
                f"the year's ε would be {epsilon:.3f}, the policy permits {floor.most_epsilon_per_year}",
            )
        return Release(
            clip_norm=floor.clip_norm,
            noise_multiplier=floor.noise_multiplier,
            mu_squared=cost,
            delta=floor.delta,
            epsilon_of_year=epsilon,
        )

    def _departure(
        self, policy_digest: str, time_unix_s: int, parts: tuple[Part, ...], release: Release | None
    ) -> Departure:
        return Departure(
            time_unix_s=time_unix_s,
            task_digest=ZERO_DIGEST if self._spec is None else self._spec.digest,
            parent_digest=self._errand.parent_digest,
            policy_digest=policy_digest,
            recipient=self._errand.recipient,
            parts=parts,
            release=release,
        )


def guard_of(
    errand: Errand, policy_file: Path | None, state_folder: Path | None, *, is_embedded: bool
) -> Guard:
    """The guard of a site's process; ``is_embedded``: the site is one of the simulator's."""
    if policy_file is not None and state_folder is not None:
        return PolicyGuard(errand, policy_file, state_folder)
    return OpenGuard() if is_embedded else ClosedGuard()


def wish_of(spec: TaskSpec, errand: Errand) -> Wish:
    """What a job wants of a hospital."""
    return Wish(
        use=errand.use,
        task_digest=spec.digest,
        base_model_digest=spec.base_model.digest,
        steps=spec.training.steps if errand.use == "train" else 0,
        data_folder=errand.data_folder,
    )


def _require_records(policy: Policy, spec: TaskSpec, training: bool, records: int) -> None:
    if records < policy.least_records:
        raise Refused(
            Rule.LEAST_RECORDS, f"there are {records} records, the policy wants {policy.least_records}"
        )
    most_epochs = policy.work.most_epochs_per_round
    epochs = spec.training.steps * min(spec.training.batch_records, records) / records
    if training and most_epochs is not None and epochs > most_epochs:
        raise Refused(
            Rule.EPOCHS_PER_ROUND, f"the task means {epochs:.2f} epochs, the policy permits {most_epochs}"
        )


def _require_steps(policy: Policy, spec: TaskSpec, log: EgressLog, now_unix_s: int) -> None:
    steps, work = spec.training.steps, policy.work
    of_day = budgets.steps_of_day(log.rows, now_unix_s) + steps
    if work.most_steps_per_day is not None and of_day > work.most_steps_per_day:
        raise Refused(
            Rule.STEPS_PER_DAY,
            f"24 hours would see {of_day} steps, the policy permits {work.most_steps_per_day}",
        )
    of_task = budgets.steps_of_task(log.rows, spec.digest) + steps
    if work.most_steps_per_task is not None and of_task > work.most_steps_per_task:
        raise Refused(
            Rule.STEPS_PER_TASK,
            f"the task would have {of_task} steps, the policy permits {work.most_steps_per_task}",
        )


def _parts(spec: TaskSpec, answer: Answer) -> list[Part]:
    parts = []
    if answer.adapter is not None:
        data = spec.manifest.encode(answer.adapter)
        parts.append(Part(what="adapter", size_bytes=len(data), digest=sha256_digest(data)))
    if answer.figures:
        parts.append(_json_part("figures", {name: repr(value) for name, value in answer.figures.items()}))
    if answer.sums:
        parts.append(_json_part("sums", {name: _plain(sums) for name, sums in answer.sums.items()}))
    return parts


def _plain(sums: StratumSums) -> dict[str, list[str]]:
    # As text: canonical JSON knows no NaN, and no integer above 2^53.
    return {
        "loss_sums": [repr(float(value)) for value in sums.loss_sums],
        "record_counts": [str(int(value)) for value in sums.record_counts],
        "correct_counts": [str(int(value)) for value in sums.correct_counts],
    }


def _json_part(what: Any, body: dict[str, Any]) -> Part:
    data = rfc8785.dumps(body)
    return Part(what=what, size_bytes=len(data), digest=sha256_digest(data))


def without_words(error: InnerRoundError) -> InnerRoundError:
    """What of an error may be said where nothing permits its words."""
    if isinstance(error, BadInput):
        return BadInput("the hospital's input is wrong; its own log says how")
    return JobFailed("the work failed at the hospital; its own log says how")


def _note(state_folder: Path, words: str) -> None:
    """A line in the hospital's own log; that it cannot be written must not hide what it would say."""
    try:
        state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            state_folder / _LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
        )
    except OSError:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with os.fdopen(descriptor, "a") as file:
        file.write(f"{stamp} {words}\n".replace("\n", " ").rstrip() + "\n")
