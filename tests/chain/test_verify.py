"""The verifier on a real chain: an honest story is ok, and every kind of lie about it is named."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest

from contracts.digests import sha256_digest
from contracts.events import Drawn, Event, TaskCancelled, TaskFunded
from contracts.phase import Phase
from contracts.verify import Verdict, WrongFact, verify_task
from contracts.verify.artifact_source import FolderSource
from contracts.verify.chain_source import ChainSource
from contracts.verify.checks import verify_facts
from contracts.verify.facts import (
    AttestationView,
    Holdings,
    NodeView,
    PoolView,
    ProposalView,
    RoundView,
    SlashView,
    TaskFacts,
    TaskView,
    VoteView,
)
from tests.chain import lies
from tests.chain.lies import Lie, changed_field
from tests.chain.noticed_lies import HARMLESS, NOTICED
from tests.chain.stage import APPEAL_S, PHASE_S, Acts, Stage
from tests.chain.story import Story


def verify(stage: Stage, task: int) -> Verdict:
    return verify_task(stage.anvil.rpc_url, FolderSource(stage.artifacts), stage.deployment, task)


@pytest.fixture(scope="module")
def honest(story: Story) -> TaskFacts:
    """The facts of the story's first task."""
    return ChainSource(story.stage.anvil.rpc_url, story.stage.deployment).task(story.task)


def wrong_in(story: Story, facts: TaskFacts) -> WrongFact:
    wrong = verify_facts(facts, FolderSource(story.stage.artifacts)).wrong
    assert wrong is not None
    return wrong


@contextmanager
def changed(path: Path, data: bytes | None) -> Iterator[None]:
    """Other bytes in a file, or no file, for a while."""
    before = path.read_bytes()
    # Not in place: an earlier reader may still have the old file mapped.
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(before)


def flip_one_byte(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    return bytes(data)


# Honest


def test_a_story_with_everything_in_it_is_ok(story: Story) -> None:
    verdict = verify(story.stage, story.task)
    assert verdict.wrong is None
    assert verdict.ok
    assert (verdict.facts_unchecked, verdict.notes) == (0, ())
    assert verdict.facts_compared > 2_000
    phases = {checked.round: checked.phase for checked in verdict.rounds}
    expected = {
        story.final: "final",
        story.faulty: "final",
        story.refused: "rejected",
        story.unattested: "rejected",
        story.aborted: "aborted",
        story.paused: "aborted",
        story.lost: "aborted",
        story.last: "final",
    }
    assert {number: phases[number] for number in expected} == expected
    assert [checked.round for checked in verdict.rounds if checked.was_paused] == [story.paused]
    by_round = {checked.round: checked for checked in verdict.rounds}
    assert by_round[story.faulty].faults == 3
    assert by_round[story.refused].parent_digest == by_round[story.faulty].aggregate_digest
    assert verify(story.stage, story.other_task).ok


def test_a_slash_of_nothing_reaches_no_pool(make_stage: Callable[[], Stage]) -> None:
    stage = make_stage()
    task = stage.create_task(rounds=1, absent_bps=0)
    number = stage.open_round(task)
    stage.play(task, number, Acts(silent_proposers=frozenset(stage.nodes)))
    stage.anvil.pass_time(APPEAL_S)
    stage.registry("execute", 0)
    verdict = verify(stage, task)
    assert verdict.ok, verdict.wrong
    assert verdict.rounds[0].faults == 4


def test_money_for_a_task_that_opens_no_round_any_more_is_named(story: Story, honest: TaskFacts) -> None:
    index = lies.first_index(
        honest, lambda logged: isinstance(logged.event, TaskCancelled) and logged.event.task == story.task
    )
    cancelled, late = honest.events[index], TaskFunded(story.task, "0x" + "11" * 20, 1, 1)
    events = (*honest.events[: index + 1], replace(cancelled, event=late), *honest.events[index + 1 :])
    wrong = wrong_in(story, replace(honest, events=events))
    assert wrong.fact == "whether a task that is funded may still open a round"


def test_a_round_that_is_drawn_too_late_is_named(story: Story, honest: TaskFacts) -> None:
    index = lies.first_index(
        honest, lambda logged: isinstance(logged.event, Drawn) and logged.event.task == story.task
    )
    events = list(honest.events)
    time_unix_s = events[index].time_unix_s
    assert time_unix_s is not None
    events[index] = replace(events[index], time_unix_s=time_unix_s + PHASE_S + 1)
    wrong = wrong_in(story, replace(honest, events=tuple(events)))
    assert wrong.fact == "whether a round was drawn too late"


def test_an_open_round_is_checked_as_far_as_it_goes(make_stage: Callable[[], Stage]) -> None:
    stage = make_stage()
    task = stage.create_task(rounds=2)
    number = stage.request_round(task)
    assert verify(stage, task).rounds[-1].phase == "requested"
    stage.anvil.mine(2)
    stage.rounds("advance", task)
    steps = {
        Phase.TRAINING: stage.propose_all,
        Phase.COMMITTING: stage.commit_all,
        Phase.REVEALING: stage.reveal_all,
        Phase.ATTESTING: stage.attest_all,
    }
    for phase, step in steps.items():
        verdict = verify(stage, task)
        assert verdict.ok, verdict.wrong
        assert verdict.rounds[-1].phase == phase.label
        step(task, number, Acts())
        assert verify(stage, task).ok
        stage.rounds("advance", task)
    assert verify(stage, task).rounds[-1].phase == "final"


def test_weights_and_an_outer_optimiser_are_recomputed(make_stage: Callable[[], Stage]) -> None:
    stage = make_stage()
    outer = {"name": "momentum", "momentum_millionths": 900_000, "learning_rate_millionths": 700_000}
    spec = {"aggregation": {"rule": "weighted_mean"}, "outer_optimiser": outer}
    task = stage.create_task(rounds=3, spec=spec)
    for _ in range(2):
        stage.play(task, stage.open_round(task), Acts())
    verdict = verify(stage, task)
    assert verdict.ok, verdict.wrong
    assert [checked.phase for checked in verdict.rounds] == ["final", "final"]
    parent = stage.path(verdict.rounds[1].parent_digest).read_bytes()
    manifests = stage.specs[task]
    assert len(parent) == manifests.parent_manifest.file_bytes > manifests.manifest.file_bytes


# Artifacts


def test_one_changed_byte_of_any_artifact_is_named(story: Story) -> None:
    stage = story.stage
    final = stage.view(story.task, story.final)
    config = stage.ask(TaskView, "Lens", "taskOf", story.task).config
    reporter = final.proposers[0]
    report = sha256_digest(f"report of {reporter} for {story.task}/{story.final}".encode())
    accepted = [
        (proposal.adapter_digest, "the digest of the accepted adapter", story.final, proposal.node)
        for proposal in final.proposals
    ]
    for digest, fact, number, node in (
        *accepted,
        (config.spec_digest, "the digest of the task spec", None, None),
        (config.genesis_digest, "the digest of the genesis adapter", None, None),
        (report, "the digest of the report", story.final, reporter),
        (final.aggregate_digest, "the digest of the aggregate's artifact", story.final, None),
    ):
        path = stage.path(digest)
        forged = flip_one_byte(path)
        with changed(path, forged):
            wrong = verify(stage, story.task).wrong
        assert wrong is not None
        assert (wrong.fact, wrong.round, wrong.node) == (fact, number, node)
        assert (wrong.expected, wrong.found) == (digest, sha256_digest(forged))


def test_a_missing_or_larger_accepted_adapter_is_named(story: Story) -> None:
    proposal = story.stage.view(story.task, story.final).proposals[0]
    path = story.stage.path(proposal.adapter_digest)
    for data, found in ((None, "missing"), (path.read_bytes() + b"\0", "larger")):
        with changed(path, data):
            wrong = verify(story.stage, story.task).wrong
        assert wrong is not None
        assert (wrong.round, wrong.node, wrong.found) == (story.final, proposal.node, found)


def test_a_missing_report_is_counted_as_not_checked(story: Story) -> None:
    reporter = story.stage.view(story.task, story.final).proposers[0]
    report = sha256_digest(f"report of {reporter} for {story.task}/{story.final}".encode())
    with changed(story.stage.path(report), None):
        verdict = verify(story.stage, story.task)
    assert verdict.ok
    assert verdict.facts_unchecked == 1
    assert verdict.notes == (f"round 1: the report of {reporter} is not among the artifacts",)


def test_an_adapter_that_was_not_accepted_is_checked_if_it_is_there(story: Story) -> None:
    view = story.stage.view(story.task, story.faulty)
    (broken,) = [proposal for proposal in view.proposals if proposal.proven_invalid]
    path = story.stage.path(broken.adapter_digest)
    fact = "the adapter that was not accepted"
    for data in (path.read_bytes() + b"\0", path.read_bytes() + bytes(10_000), b""):
        with changed(path, data):
            wrong = verify(story.stage, story.task).wrong
        assert wrong is not None
        assert (wrong.round, wrong.node) == (story.faulty, broken.node)
        assert (wrong.fact, wrong.found) == (f"the digest of {fact}", sha256_digest(data))
    with changed(path, None):
        verdict = verify(story.stage, story.task)
    assert verdict.ok
    note = f"round {story.faulty}: {fact} of {broken.node} is not among the artifacts"
    assert (verdict.facts_unchecked, verdict.notes) == (1, (note,))


# What voters can do together


def test_a_wrong_aggregate_attested_by_everybody_is_named(make_stage: Callable[[], Stage]) -> None:
    stage = make_stage()
    task = stage.create_task(rounds=2)
    number = stage.open_round(task)
    forged = sha256_digest(b"another aggregate")
    stage.play(task, number, Acts(attested=dict.fromkeys(stage.nodes, forged)))
    assert stage.view(task, number).phase is Phase.FINAL
    wrong = verify(stage, task).wrong
    assert wrong is not None
    assert (wrong.round, wrong.fact) == (number, "the aggregate that the quorum attested")
    assert (wrong.expected, wrong.found) == (sha256_digest(stage.aggregate_of_accepted(task, number)), forged)


def test_an_accepted_adapter_that_breaks_the_manifest_is_named(make_stage: Callable[[], Stage]) -> None:
    stage = make_stage()
    task = stage.create_task(rounds=2)
    number = stage.open_round(task)
    bad = stage.view(task, number).proposers[0]
    stage.propose_all(task, number, Acts(broken=frozenset({bad})))
    stage.rounds("advance", task)
    stage.play(task, number, Acts(), until=Phase.ATTESTING)
    wrong = verify(stage, task).wrong
    assert wrong is not None
    assert (wrong.round, wrong.node, wrong.fact) == (number, bad, "the accepted adapter")
    assert wrong.found.startswith("broken: the adapter is not a safetensors file")


# Lies about the chain. The contracts refuse wrong facts, so they are put into what was read.


def test_every_lie_is_noticed_and_named(story: Story, honest: TaskFacts) -> None:
    said = {
        label: verify_facts(lie(honest), FolderSource(story.stage.artifacts)).wrong
        for label, lie in all_lies(story, honest).items()
    }
    assert {label for label, wrong in said.items() if wrong is None} == HARMLESS
    named = {label: wrong.fact for label, wrong in said.items() if wrong is not None}
    assert named.keys() == NOTICED.keys()
    other = {label: fact for label, fact in named.items() if fact not in NOTICED[label].split(" | ")}
    assert other == {}


def test_every_list_with_more_or_less_in_it_is_named(story: Story, honest: TaskFacts) -> None:
    """A list that is too long for its neighbours must neither pass nor end the verifier."""
    resized = lies_about_lengths(story, honest)
    assert len(resized) >= 40
    passed = [
        label
        for label, lie in resized.items()
        if verify_facts(lie(honest), FolderSource(story.stage.artifacts)).wrong is None
    ]
    assert passed == []


def lies_about_lengths(story: Story, honest: TaskFacts) -> dict[str, Lie]:
    """One entry more, and one less, in every list that was read."""
    result: dict[str, Lie] = {}
    for label, change in (("more", lambda items: (*items, items[-1])), ("less", lambda items: items[:-1])):
        seen: set[str] = set()
        for index, logged in enumerate(honest.events):
            for field in fields(logged.event):
                name = f"{type(logged.event).__name__}.{field.name}"
                value = getattr(logged.event, field.name)
                is_of_task = getattr(logged.event, "task", story.task) == story.task
                if not isinstance(value, tuple) or not value or name in seen or not is_of_task:
                    continue
                seen.add(name)
                result[f"{name} {label}"] = lies.in_event(index, field.name, change)
        for field in fields(RoundView):
            if isinstance(getattr(honest.rounds[story.final - 1].view, field.name), tuple):
                result[f"round.{field.name} {label}"] = lies.in_round(story.final, field.name, change)
    return result


def all_lies(story: Story, honest: TaskFacts) -> dict[str, Lie]:
    """Another value in every field of everything that was read, by its name."""
    result: dict[str, Lie] = {}
    seen: set[type[Event]] = set()
    for index, logged in enumerate(honest.events):
        event = type(logged.event)
        if event in seen or getattr(logged.event, "task", story.task) != story.task:
            continue
        seen.add(event)
        for field in fields(event):
            result[f"{event.__name__}.{field.name}"] = lies.in_event(index, field.name)
        result[f"{event.__name__} dropped"] = lies.without_event(index)
        result[f"{event.__name__} doubled"] = lies.doubled_event(index)
    for field in fields(RoundView):
        result[f"round.{field.name}"] = lies.in_round(story.final, field.name)
    for part, shape in (("proposals", ProposalView), ("attestations", AttestationView)):
        for field in fields(shape):
            result[f"{part}.{field.name}"] = lies.in_first_of(story.faulty, part, field.name)
    for field in fields(VoteView):
        result[f"votes.{field.name}"] = lies.in_first_of(story.final, "votes", field.name)
    return result | _lies_about_totals(story)


def _lies_about_totals(story: Story) -> dict[str, Lie]:
    node = story.stage.nodes[0]

    def in_view(part: str, field: str) -> Lie:
        def lie(facts: TaskFacts) -> TaskFacts:
            changed_part = changed_field(getattr(facts.view, part), field)
            return replace(facts, view=replace(facts.view, **{part: changed_part}))

        return lie

    def in_task(field: str) -> Lie:
        return lambda facts: replace(facts, view=changed_field(facts.view, field))

    def in_node(field: str) -> Lie:
        def lie(facts: TaskFacts) -> TaskFacts:
            shown = facts.nodes[node]
            shown = replace(shown, view=changed_field(shown.view, field))
            return replace(facts, nodes={**facts.nodes, node: shown})

        return lie

    def in_slash(field: str) -> Lie:
        def lie(facts: TaskFacts) -> TaskFacts:
            first, *rest = facts.slashes
            return replace(facts, slashes=(changed_field(first, field), *rest))

        return lie

    def in_holdings(**values: object) -> Lie:
        def lie(facts: TaskFacts) -> TaskFacts:
            first, *rest = facts.holdings
            return replace(facts, holdings=(replace(first, **values), *rest))  # type: ignore[arg-type]

        return lie

    config = type(story.stage.ask(TaskView, "Lens", "taskOf", story.task).config)
    return {
        **{f"money.{field.name}": in_view("money", field.name) for field in fields(PoolView)},
        **{f"config.{field.name}": in_view("config", field.name) for field in fields(config)},
        **{f"view.{field.name}": in_task(field.name) for field in fields(TaskView) if field.name != "money"},
        **{f"node.{field.name}": in_node(field.name) for field in fields(NodeView)},
        **{f"slash.{field.name}": in_slash(field.name) for field in fields(SlashView)},
        "holdings.contract": in_holdings(contract="Tasks"),
        "holdings.owed": in_holdings(owed=1),
        "holdings.held": in_holdings(held=1),
    }


def test_the_first_wrong_fact_in_time_is_named(story: Story, honest: TaskFacts) -> None:
    late = lies.in_round(story.last, "reward")
    early = lies.in_round(story.faulty, "context")
    for lie in (lambda facts: late(early(facts)), lambda facts: early(late(facts))):
        wrong = wrong_in(story, lie(honest))
        assert (wrong.round, wrong.fact) == (story.faulty, "the context")


def test_a_doubled_attestation_is_refused_and_does_not_count(story: Story, honest: TaskFacts) -> None:
    """A node with few stakes must not carry a quorum by being heard twice."""
    index = lies.first_index(honest, lambda logged: type(logged.event).__name__ == "Attested")
    node = honest.events[index].event.node  # type: ignore[union-attr]
    wrong = wrong_in(story, lies.doubled_event(index)(honest))
    assert (wrong.round, wrong.fact) == (story.final, "events of the round that came twice")
    assert wrong.found == str([f"Attested of {node}"])


def test_blocks_that_are_no_longer_served_are_counted_as_not_checked(story: Story, honest: TaskFacts) -> None:
    events = tuple(replace(logged, time_unix_s=None) for logged in honest.events)
    rounds = tuple(replace(checked, seed_block_hash=None) for checked in honest.rounds)
    verdict = verify_facts(replace(honest, events=events, rounds=rounds), FolderSource(story.stage.artifacts))
    assert verdict.ok, verdict.wrong
    drawn = sum(checked.view.phase is not Phase.REQUESTED and bool(checked.view.voters) for checked in rounds)
    assert sum("whose hash is the seed" in note for note in verdict.notes) == drawn
    assert verdict.facts_unchecked == len(verdict.notes) > 2 * drawn


def test_holdings_are_what_the_books_come_to(honest: TaskFacts) -> None:
    assert {holdings.contract for holdings in honest.holdings} == {"Registry", "Tasks"}
    for holdings in honest.holdings:
        assert isinstance(holdings, Holdings)
        assert holdings.held == holdings.owed > 0
