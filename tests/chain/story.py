"""One story on the chain that has a bit of everything the verifier reads."""

from dataclasses import dataclass

from contracts.digests import sha256_digest
from contracts.phase import Phase
from contracts.verify.facts import SlashStatus, SlashView
from tests.chain.stage import APPEAL_S, COUNCIL, GIVER, LATER_UNIX_S, TOKEN, UNBONDING_S, Acts, Stage


@dataclass(frozen=True)
class Story:
    """What was played: two tasks, and the first one's rounds by what happened in them."""

    stage: Stage
    task: int
    other_task: int
    final: int
    faulty: int
    """Final, with a silent proposer, a broken adapter, a voter that hides and one that attests otherwise."""
    refused: int
    """Rejected: nothing was accepted."""
    unattested: int
    """Rejected: no quorum."""
    aborted: int
    """Aborted: nobody committed."""
    paused: int
    """Aborted by a pause, when some had revealed."""
    lost: int
    """Aborted: the seed was not read in time."""
    last: int
    """Final, and the task was cancelled while it was open."""


def tell(stage: Stage) -> Story:
    """Play the story."""
    task = stage.create_task(rounds=40)
    stage.tasks("fund", task, 1_000 * TOKEN, sender=GIVER)
    stage.tasks("topUp", task, 7 * TOKEN, sender=GIVER)

    final = stage.open_round(task)
    stage.play(task, final, Acts())

    # Of the faulty round's slashes one is waived, the others are executed later.
    faulty = _faulty_round(stage, task)
    stage.registry("waive", 0)
    leaver = stage.nodes[0]
    stage.exit(leaver, 100 * TOKEN)
    refused = stage.open_round(task)
    stage.play(task, refused, Acts(score_micronats=-500_000))
    unattested = stage.open_round(task)
    stage.play(task, unattested, Acts(silent_attesters=frozenset(stage.nodes)))
    aborted = stage.open_round(task)
    stage.play(task, aborted, Acts(silent_voters=frozenset(stage.nodes)))

    stage.anvil.pass_time(APPEAL_S)
    _execute(stage, None)

    other_task = stage.create_task(rounds=1, pool=500 * TOKEN)
    stage.play(other_task, stage.open_round(other_task), Acts())

    paused = stage.open_round(task)
    stage.play(task, paused, Acts(), until=Phase.REVEALING)
    late = stage.view(task, paused).voters[0]
    stage.reveal_all(task, paused, Acts(hiding_voters=frozenset({late})))
    stage.tasks("pause", task)
    stage.tasks("unpause", task)

    lost = stage.request_round(task)
    stage.anvil.mine(300)
    stage.rounds("advance", task)

    _membership_changes(stage, task)
    _absent_until_out(stage, task)

    stage.anvil.pass_time(UNBONDING_S + 1)
    _execute(stage, leaver)
    stage.registry("withdraw", leaver)
    last = stage.open_round(task)
    stage.play(task, last, Acts(), until=Phase.COMMITTING)
    stage.tasks("cancel", task)
    stage.play(task, last, Acts())
    stage.tasks("claim", stage.view(task, last).voters[0])
    stage.tasks("refund", task, GIVER)
    rotating = stage.nodes[1]
    message = (rotating, GIVER, stage.nonce("Registry", rotating), LATER_UNIX_S)
    stage.registry("rotate", message, b"", sender=rotating)
    return Story(
        stage=stage,
        task=task,
        other_task=other_task,
        final=final,
        faulty=faulty,
        refused=refused,
        unattested=unattested,
        aborted=aborted,
        paused=paused,
        lost=lost,
        last=last,
    )


def _faulty_round(stage: Stage, task: int) -> int:
    number = stage.open_round(task)
    view = stage.view(task, number)
    # The broken adapter is another's than the silent proposer's and than the hiding voter's.
    silent = view.proposers[0]
    broken = next(node for node in view.proposers if stage.group_of[node] != stage.group_of[silent])
    # Who may not judge the broken adapter hides first: of three who may, two might hold less than two thirds.
    group = stage.group_of[broken]
    others = [voter for voter in view.voters if voter not in (silent, broken)]
    hiding, dissenting = sorted(others, key=lambda voter: stage.group_of[voter] != group)[:2]
    acts = Acts(
        silent_proposers=frozenset({silent}),
        broken=frozenset({broken}),
        hiding_voters=frozenset({hiding}),
        attested={dissenting: sha256_digest(b"another aggregate")},
    )
    stage.play(task, number, acts)
    assert stage.view(task, number).phase is Phase.FINAL
    return number


def _execute(stage: Stage, node: str | None) -> None:
    """Execute the pending slashes of one node, or of all."""
    for number in range(int(stage.ask(int, "Registry", "slashCount"))):
        slash: SlashView = stage.ask(SlashView, "Registry", "slashOf", number)
        if slash.status is SlashStatus.PENDING and node in (None, slash.node):
            stage.registry("execute", number)


def _membership_changes(stage: Stage, task: int) -> None:
    """An approval is taken back, a node dismissed and admitted again in another group."""
    revoking, dismissed = stage.nodes[2:4]
    stage.tasks(
        "revoke", (revoking, task, stage.nonce("Tasks", revoking), LATER_UNIX_S), b"", sender=revoking
    )
    stage.registry("dismiss", dismissed)
    stage.play(task, stage.open_round(task), Acts())
    stage.registry("admit", dismissed, dismissed, 77)
    stage.registry("deposit", dismissed, 5 * TOKEN, sender=COUNCIL)


def _absent_until_out(stage: Stage, task: int) -> None:
    """Rounds in which nobody proposes, until some node may not be drawn any more; then it returns."""
    everybody = frozenset(stage.nodes)
    while not (out := [node for node in stage.nodes if stage.absences(node) >= 2]):
        stage.play(task, stage.open_round(task), Acts(silent_proposers=everybody))
    for node in out[1:]:
        stage.come_back(node)
    number = stage.open_round(task)
    assert out[0] not in stage.view(task, number).eligible
    stage.play(task, number, Acts())
    stage.come_back(out[0])
