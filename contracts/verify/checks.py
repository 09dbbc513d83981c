"""Verifies a task: its spec and genesis, every round in order, then the books."""

from contracts.deployment import Deployment
from contracts.verify import facts
from contracts.verify.adapters import ArtifactChecks
from contracts.verify.artifact_source import ArtifactSource
from contracts.verify.chain_source import ChainSource
from contracts.verify.comparison import Comparison, Disagreement
from contracts.verify.ledger import check_books, replay
from contracts.verify.rounds import RoundChecks
from contracts.verify.verdict import RoundVerdict, Verdict, WrongFact


def verify_task(rpc_url: str, source: ArtifactSource, deployment: Deployment, task: int) -> Verdict:
    """Recompute everything about a task that follows from public data.

    The verdict is ok, or it names the first fact that is wrong in the order in which things happened.

    Raises:
        CannotVerify: no verdict: the endpoint or the artifact source failed, or there is no such task.
    """
    return verify_facts(ChainSource(rpc_url, deployment).task(task), source)


def verify_facts(task: facts.TaskFacts, source: ArtifactSource) -> Verdict:
    """As ``verify_task``, for facts already read from a chain."""
    compare = Comparison()
    rounds: list[RoundVerdict] = []
    wrong: WrongFact | None = None
    try:
        _verify(task, source, compare, rounds)
    except Disagreement as found:
        wrong = found.wrong
    return Verdict(
        task=task.task,
        block=task.block,
        token_decimals=task.token_decimals,
        ok=wrong is None,
        facts_compared=compare.facts_compared,
        rounds=tuple(rounds),
        wrong=wrong,
        notes=tuple(compare.notes),
    )


def _verify(
    task: facts.TaskFacts, source: ArtifactSource, compare: Comparison, rounds: list[RoundVerdict]
) -> None:
    artifacts = ArtifactChecks(source, compare, task.spec_digest)
    artifacts.genesis(task.genesis_digest)
    played = replay(task)
    parents = [task.genesis_digest]
    for checked in task.rounds:
        result = RoundChecks(task, checked, artifacts, compare).run(
            parents[-1], played.requests.get(checked.number)
        )
        rounds.append(result.verdict)
        parents.append(result.next_parent)
    check_books(task, played, parents, compare)
