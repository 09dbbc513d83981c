"""Verifies a task: the contracts, its spec and genesis, every round in order, then the books.

``verify_task`` is the function to call; ``verify_facts`` is the part that computes, without a chain, and is
what the benchmark measures.
"""

from contracts.deployment import Deployment
from contracts.events import FaultRecorded
from contracts.verify.adapters import ArtifactChecks
from contracts.verify.artifact_source import ArtifactSource
from contracts.verify.chain_source import ChainSource
from contracts.verify.comparison import Comparison, Disagreement, disagreement
from contracts.verify.deployed import check_codes, check_wiring
from contracts.verify.facts import TaskFacts
from contracts.verify.ledger import replay
from contracts.verify.round_log import round_logs
from contracts.verify.rounds import RoundChecks
from contracts.verify.verdict import RoundVerdict, Verdict, WrongFact


def verify_task(rpc_url: str, source: ArtifactSource, deployment: Deployment, task: int) -> Verdict:
    """Recompute everything about a task that follows from public data.

    The verdict is ok, or it names the first fact that is wrong in the order in which things happened.

    Raises:
        CannotVerify: no verdict: the endpoint or the artifact source failed, or there is no such task.
    """
    chain = ChainSource(rpc_url, deployment)
    compare = Comparison()
    try:
        # Before anything else is read: other contracts could answer anything.
        codes = chain.codes()
        check_codes(codes, compare)
        wiring = chain.wiring()
        check_wiring(codes, deployment, wiring, compare)
        check_codes([chain.randomness_code(wiring)], compare)
    except Disagreement as found:
        return _verdict(task, chain.block, 0, compare, [], found.wrong)
    return verify_facts(chain.task(task), source, compare)


def verify_facts(task: TaskFacts, source: ArtifactSource, compare: Comparison | None = None) -> Verdict:
    """As ``verify_task``, for facts already read from a chain."""
    compare = compare or Comparison()
    rounds: list[RoundVerdict] = []
    wrong: WrongFact | None = None
    try:
        _verify(task, source, compare, rounds)
    except Disagreement as found:
        wrong = found.wrong
    return _verdict(task.task, task.block, task.token_decimals, compare, rounds, wrong)


def _verify(task: TaskFacts, source: ArtifactSource, compare: Comparison, rounds: list[RoundVerdict]) -> None:
    config = task.view.config
    artifacts = ArtifactChecks(source, compare, config.spec_digest)
    artifacts.genesis(config.genesis_digest)
    logs = round_logs(task.events)
    played = replay(task, logs)
    parent = config.genesis_digest
    compared = 0
    for checked in task.rounds:
        number = checked.number
        if number not in played.rounds:
            raise disagreement("the request", expected="in the events", found=None, round_number=number)
        played.compare(compare, compared, played.claims_before[number])
        compared = played.claims_before[number]
        log = logs[task.task, number]
        result = RoundChecks(task, checked, log, played.rounds[number], artifacts, compare).run(parent)
        faults = sum(
            isinstance(logged.event, FaultRecorded)
            and (logged.event.task, logged.event.round) == (task.task, number)
            for logged in task.events
        )
        rounds.append(result.verdict.model_copy(update={"faults": faults}))
        parent = result.next_parent
    compare.same("the task's parent", expected=parent, found=task.view.parent_digest)
    played.compare(compare, compared, None)


def _verdict(
    task: int,
    block: int,
    token_decimals: int,
    compare: Comparison,
    rounds: list[RoundVerdict],
    wrong: WrongFact | None,
) -> Verdict:
    return Verdict(
        task=task,
        block=block,
        token_decimals=token_decimals,
        ok=wrong is None,
        facts_compared=compare.facts_compared,
        facts_unchecked=compare.facts_unchecked,
        rounds=tuple(rounds),
        wrong=wrong,
        notes=tuple(compare.notes),
    )
