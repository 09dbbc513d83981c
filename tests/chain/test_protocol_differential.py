"""The contracts and the Python reference, given the same calls: answers, refusals and observables agree.

A state machine makes random sequences of sensible and of senseless calls. ``make test`` plays 200 sequences
of 50 calls, ``make check-deep`` (COLLEGIUM_DEEP=1) 2,000 of 200.
"""

import os
from collections import Counter
from collections.abc import Callable

from eth_utils.crypto import keccak
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from contracts import settlement
from contracts.digests import ZERO_DIGEST
from contracts.messages import INVALID_SCORE, SCORE_LIMIT_MICRONATS, UNAVAILABLE_SCORE, Reveal
from contracts.phase import Phase
from contracts.settlement import Fault, Rules, Standing
from tests.chain.evm import (
    ANY_SIGNATURE,
    APPEAL_SECONDS,
    CHAIN_ID,
    COUNCIL,
    MOST_ABSENCES,
    SECOND_FUNDER,
    UNBONDING_SECONDS,
    YES_SIGNER,
    EvmChain,
    EvmContract,
    Reverted,
    Struct,
)
from tests.chain.reference import Config, Reference, Refused, Round, Terms

DEEP = os.environ.get("COLLEGIUM_DEEP") == "1"
SEQUENCES, CALLS = (2_000, 200) if DEEP else (200, 50)
MINTED = 1 << 120
FIRST_BLOCK = 5_000
PHASE_SECONDS = 100
STRANGER = "0x00000000000000000000000000000000c0000003"
COUNCIL_LOWER = COUNCIL.lower()
KEY_WITHOUT_CODE = "0x00000000000000000000000000000000c0000005"
SPEC_DIGEST = "0x" + "51" * 32
GENESIS_DIGEST = "0x" + "52" * 32
FOREVER = 1 << 60

SCORES = st.one_of(
    st.sampled_from([0, 1, -1, 100, SCORE_LIMIT_MICRONATS, -SCORE_LIMIT_MICRONATS]),
    st.integers(-300_000, 300_000),
    st.sampled_from([INVALID_SCORE, INVALID_SCORE, UNAVAILABLE_SCORE]),
)
AMOUNTS = st.one_of(st.integers(0, 5), st.integers(1, 1 << 90))
MOSTLY = st.sampled_from([True] * 14 + [False])
# So that a shrunk example is a short one, nothing is drawn that a call does not use.

reached: Counter[str] = Counter()
"""What the generated sequences came to: a generator that never gets there would prove nothing."""


@st.composite
def make_rules(draw: st.DrawFn, nodes: int) -> Rules:
    """A configuration that the contracts accept; mostly one for which there are enough nodes."""
    proposers, voters = draw(st.integers(1, min(nodes, 3))), draw(st.integers(1, nodes))
    min_reveals = draw(st.integers(1, max(1, voters // 2)))
    absent_bps = draw(st.integers(0, 3_000))
    unrevealed_bps = draw(st.integers(absent_bps, 6_000))
    return Rules(
        rounds=draw(st.sampled_from([1, 2, 5, 9, 9])),
        proposers=proposers,
        voters=voters,
        min_proposals=draw(st.integers(1, max(1, proposers // 2))),
        min_reveals=min_reveals,
        min_scorers=draw(st.integers(1, min_reveals)),
        attestation_quorum_bps=draw(st.one_of(st.just(5_000), st.integers(5_000, 9_999))),
        proposer_share_bps=draw(st.integers(0, 10_000)),
        absent_bps=absent_bps,
        unrevealed_bps=unrevealed_bps,
        invalid_bps=draw(st.integers(unrevealed_bps, 10_000)),
        acceptance_threshold_micronats=draw(
            st.one_of(st.sampled_from([0, -SCORE_LIMIT_MICRONATS]), st.integers(-300_000, 100_000))
        ),
        closeness_range_micronats=draw(st.one_of(st.integers(0, 2_000_000), st.just((1 << 32) - 1))),
        stake_cap=draw(st.one_of(st.integers(1, 1 << 95), st.just((1 << 96) - 1))),
    )


class ConsortiumMachine(RuleBasedStateMachine):
    """One consortium on the EVM and the same one in Python."""

    chain: EvmChain
    reference: Reference

    @initialize(data=st.data())
    def set_up(self, data: st.DataObject) -> None:
        """Nodes with stakes, and one funded task that all approve."""
        self.chain = EvmChain(FIRST_BLOCK, minted=MINTED)
        seed = data.draw(st.integers(0, 1 << 16))
        count = data.draw(st.integers(3, 6))
        self.nodes = ["0x" + keccak(text=f"{seed}/{n}")[:20].hex() for n in range(count)]
        # The first node's own account is a key that nobody has: it must send for itself.
        self.yes = {*self.nodes[1:], YES_SIGNER.lower()}
        for node in self.nodes[1:]:
            self.chain.say_yes(node)
        self.reference = Reference(
            self.chain,
            council=COUNCIL_LOWER,
            terms=Terms(UNBONDING_SECONDS, APPEAL_SECONDS, MOST_ABSENCES),
            chain_id=CHAIN_ID,
            rounds_contract=self.chain.rounds.address,
            says_yes=lambda account: account in self.yes,
        )
        groups = st.integers(1, count + 1)
        stakes = data.draw(st.sampled_from([st.just(1_000), st.integers(1, 3), st.integers(1, 1 << 88)]))
        for node in self.nodes:
            self.admit(node, data.draw(groups))
            self.deposit(node, data.draw(stakes))
        self.create_task(data.draw(make_rules(count)), PHASE_SECONDS)
        self.fund(1, data.draw(st.one_of(st.integers(1, 1_000), st.integers(1, 1 << 100))), COUNCIL_LOWER)
        for node in self.nodes:
            self.approve(node, 1)

    # --- one call on both sides

    def both(
        self,
        contract: EvmContract,
        function: str,
        arguments: tuple[object, ...],
        mirror: Callable[[], object],
        sender: str = COUNCIL_LOWER,
    ) -> object:
        """Call both; the answer is the same, or the refusal is."""
        expected = _answer_or_refusal(mirror)
        found = _answer_or_refusal(lambda: contract.call(function, *arguments, caller=sender))
        agree = found == expected if expected is not None else not isinstance(found, Refused)
        assert agree, f"{function}: the contract says {found!r}, the reference {expected!r}"
        reached[expected.name if isinstance(expected, Refused) else function] += 1
        return expected

    def nonce(self, nonces: dict[str, int], node: str) -> int:
        return nonces.get(node, 0)

    # --- the calls

    def admit(self, node: str, group: int, sender: str = COUNCIL_LOWER) -> None:
        signer = YES_SIGNER.lower()
        arguments = (node, signer, group)
        self.both(
            self.chain.registry,
            "admit",
            arguments,
            lambda: self.reference.admit(sender, node, signer, group),
            sender,
        )

    def deposit(self, node: str, amount: int) -> None:
        self.both(
            self.chain.registry, "deposit", (node, amount), lambda: self.reference.deposit(node, amount)
        )

    def create_task(self, rules: Rules, phase_s: int, sender: str = COUNCIL_LOWER) -> None:
        config = (
            *(_bytes(SPEC_DIGEST), _bytes(GENESIS_DIGEST), rules.rounds, rules.proposers, rules.voters),
            *(rules.min_proposals, rules.min_reveals, rules.min_scorers, rules.attestation_quorum_bps),
            *(rules.proposer_share_bps, rules.absent_bps, rules.unrevealed_bps, rules.invalid_bps),
            *(rules.acceptance_threshold_micronats, rules.closeness_range_micronats),
            *([phase_s] * 4),
            rules.stake_cap,
        )
        mirror = Config(SPEC_DIGEST, GENESIS_DIGEST, rules, phase_s)
        self.both(
            self.chain.tasks,
            "createTask",
            (config,),
            lambda: self.reference.create_task(sender, mirror),
            sender,
        )

    def fund(self, task: int, amount: int, funder: str) -> None:
        self.both(
            self.chain.tasks,
            "fund",
            (task, amount),
            lambda: self.reference.fund(funder, task, amount),
            funder,
        )

    def approve(self, node: str, task: int, spec_digest: str = SPEC_DIGEST, wrong: int = 0) -> None:
        nonce = self.nonce(self.reference.tasks_nonces, node) + wrong
        message = (node, task, _bytes(spec_digest), bytes(32), nonce, FOREVER)
        self.both(
            self.chain.tasks,
            "approve",
            (message, ANY_SIGNATURE),
            lambda: self.reference.approve(STRANGER, node, task, spec_digest, nonce, FOREVER),
            STRANGER,
        )

    # --- one call after the other

    @rule(data=st.data())
    def make_a_call(self, data: st.DataObject) -> None:
        """Mostly what moves a round on; the rest is spread over everything that there is."""
        kinds: dict[Callable[[st.DataObject], None], int] = {
            self._next_step: 30,
            self._say_something_wrong: 6,
            self._commit_to_bad_scores: 3,
            self._relay_a_batch: 2,
            self._council_on_a_task: 2,
            self._council_on_the_consortium: 1,
            self._speak_on_a_task: 1,
            self._speak_for_oneself: 3,
            self._money_of_a_node: 3,
            self._money_of_a_task: 2,
            self._settle_a_slash: 4,
            self._let_time_pass: 1,
            self._push: 1,
            self._leave_whatever_happens: 1,
        }
        weighted = [kind for kind, weight in kinds.items() for _ in range(weight)]
        weighted[data.draw(st.integers(0, len(weighted) - 1), label="kind")](data)

    def _next_step(self, data: st.DataObject) -> None:
        going = [number for number, task in self.reference.tasks.items() if not task.over]
        if not going:
            self._begin_another_task(data)
            return
        task = data.draw(st.sampled_from(going))
        round_ = self.reference.tasks[task].open_round
        if round_ is None:
            self._request(task)
        elif round_.phase is Phase.REQUESTED:
            self.chain.mine(2)
            self._advance(task)
        elif self.reference.is_due(task):
            self._advance(task)
        else:
            self._speak(data, task, round_)

    def _begin_another_task(self, data: st.DataObject) -> None:
        for task in self.reference.tasks:
            self._refund(task, data.draw(st.sampled_from([COUNCIL_LOWER, SECOND_FUNDER.lower()])))
        self.create_task(data.draw(make_rules(len(self.nodes))), PHASE_SECONDS)
        number = max(self.reference.tasks)
        self.fund(number, data.draw(AMOUNTS), SECOND_FUNDER.lower())
        for node in self.nodes:
            self.approve(node, number)

    def _speak(self, data: st.DataObject, task: int, round_: Round) -> None:
        what, nodes = {
            Phase.TRAINING: ("adapter_digest", round_.proposers),
            Phase.COMMITTING: ("commitment", round_.voters),
            Phase.REVEALING: ("scores", tuple(round_.said("commitment", round_.voters))),
            Phase.ATTESTING: ("attested", round_.voters),
        }[round_.phase]
        missing = [node for node in nodes if node not in round_.said(what, nodes)]
        if not data.draw(MOSTLY, label="speaks"):
            self.chain.mine(seconds=data.draw(st.sampled_from([PHASE_SECONDS, PHASE_SECONDS + 1])))
            self._advance(task)
            return
        node = data.draw(st.sampled_from(missing))
        self._send(data, task, round_, node)

    def _send(self, data: st.DataObject, task: int, round_: Round, node: str) -> None:
        number = len(self.reference.tasks[task].rounds)
        match round_.phase:
            case Phase.TRAINING:
                digest = data.draw(
                    st.sampled_from([_digest(data.draw(st.integers(0, 9))), round_.parent, ZERO_DIGEST])
                    if not data.draw(MOSTLY, label="fresh")
                    else st.just(_digest(data.draw(st.integers(0, 1 << 20))))
                )
                self._propose(node, task, number, round_.context, round_.parent, digest)
            case Phase.COMMITTING:
                reveal = self._reveal_of(task, node)
                if data.draw(st.integers(0, 29), label="binds to scores that fit") == 0:
                    reveal = reveal.model_copy(update={"scores_micronats": self._bad_scores(node, round_)})
                self._commit(node, task, number, round_.context, reveal.commitment)
            case Phase.REVEALING:
                self._reveal(self._reveal_of(task, node))
                self._reveal(self._reveal_of(task, node), self._bad_scores(node, round_))
                committed = round_.said("commitment", round_.voters)
                for silent in [voter for voter in round_.voters if voter not in committed]:
                    self._reveal(self._reveal_of(task, silent))
            case Phase.ATTESTING:
                digest = _digest(100 if data.draw(MOSTLY, label="agrees") else 101)
                self._attest(node, task, number, round_.context, digest, data.draw(st.integers(-20, 100)))

    # --- senseless messages

    def _say_something_wrong(self, data: st.DataObject) -> None:
        """A message of any kind, with most fields right and one that may not be."""
        task = data.draw(self._any_task())
        state = self.reference.tasks.get(task)
        round_ = state.rounds[-1] if state and state.rounds else None
        number = len(state.rounds) if state else 0
        context = round_.context if round_ else settlement.NO_CONTEXT
        kind = data.draw(st.sampled_from(["propose", "commit", "reveal", "attest"]))
        node = data.draw(st.sampled_from([*self.nodes, STRANGER]))
        if round_ is not None and round_.phase in EXPECTED and data.draw(st.integers(0, 3), label="fits"):
            kind = EXPECTED[round_.phase]
            drawn = round_.proposers if kind == "propose" else round_.voters
            node = data.draw(st.sampled_from([*drawn, *self.nodes]))
        wrong = data.draw(st.sampled_from(["nothing", "round", "context", "parent", "digest", "scores"]))
        number += wrong == "round"
        context = "0x" + "77" * 16 if wrong == "context" else context
        match kind:
            case "propose":
                parent = _digest(7) if wrong == "parent" or round_ is None else round_.parent
                digest = (
                    ZERO_DIGEST if wrong == "digest" else data.draw(st.sampled_from([_digest(3), parent]))
                )
                self._propose(node, task, number, context, parent, digest)
            case "commit":
                self._commit(node, task, number, context, ZERO_DIGEST if wrong == "digest" else _digest(5))
            case "reveal" if round_ is not None and number > 0:
                reveal = self._reveal_of(task, node, number=number, context=context)
                scores = reveal.scores_micronats
                if wrong == "scores":
                    scores = data.draw(st.sampled_from([scores[1:], (*scores, 1), tuple(9 for _ in scores)]))
                self._reveal(reveal, scores)
            case _:
                digest = ZERO_DIGEST if wrong == "digest" else _digest(100)
                score = SCORE_LIMIT_MICRONATS + 1 if wrong == "scores" else 5
                self._attest(node, task, number, context, digest, score)

    def _commit_to_bad_scores(self, data: st.DataObject) -> None:
        """A commitment binds to anything; what it opens to is refused by length or range."""
        for task, state in self.reference.tasks.items():
            round_ = state.open_round
            if round_ is None or round_.phase not in (Phase.COMMITTING, Phase.REVEALING):
                continue
            node = data.draw(st.sampled_from(round_.voters))
            bad = self._bad_scores(node, round_)
            reveal = self._reveal_of(task, node).model_copy(update={"scores_micronats": bad})
            number = len(state.rounds)
            self._commit(node, task, number, round_.context, reveal.commitment)
            self._reveal(reveal, bad)

    def _bad_scores(self, node: str, round_: Round) -> tuple[int, ...]:
        """Too many scores, or too high ones; the same whenever it is asked."""
        count = len(round_.proposals())
        return (1,) * (count + 1) if int(node, 16) % 2 else (SCORE_LIMIT_MICRONATS + 1,) * count

    def _relay_a_batch(self, data: st.DataObject) -> None:
        """Several messages at once: what is refused is skipped."""
        for task, state in self.reference.tasks.items():
            round_ = state.open_round
            if round_ is None or round_.phase not in (Phase.REVEALING, Phase.COMMITTING):
                continue
            calls: list[bytes] = []
            for node in [*round_.voters, data.draw(st.sampled_from(self.nodes))]:
                reveal = self._reveal_of(task, node)
                number = len(state.rounds)
                if round_.phase is Phase.REVEALING:
                    calls.append(self.chain.rounds.encoded("reveal", _reveal_tuple(reveal)))
                    _ignoring_refusal(
                        lambda reveal=reveal: self.reference.reveal(reveal, reveal.scores_micronats)
                    )
                else:
                    message = (node, task, number, _bytes(round_.context), _bytes(reveal.commitment))
                    calls.append(self.chain.rounds.encoded("commit", message, ANY_SIGNATURE))
                    _ignoring_refusal(
                        lambda node=node, task=task, number=number, round_=round_, reveal=reveal: (
                            self.reference.commit(
                                self.chain.rounds.address.lower(),
                                node,
                                task,
                                number,
                                round_.context,
                                reveal.commitment,
                            )
                        )
                    )
            self.chain.rounds.call("relay", calls, caller=STRANGER)
            reached["relay"] += 1

    # --- council, stakes, money, time

    def _council_on_a_task(self, data: st.DataObject) -> None:
        verb = data.draw(st.sampled_from(["pause", "unpause", "cancel", "unpause"]))
        task = data.draw(self._any_task())
        sender = COUNCIL_LOWER if data.draw(MOSTLY, label="council") else STRANGER
        if verb == "cancel" and data.draw(MOSTLY, label="no"):
            return
        mirror = getattr(self.reference, verb)
        self.both(self.chain.tasks, verb, (task,), lambda: mirror(sender, task), sender)

    def _council_on_the_consortium(self, data: st.DataObject) -> None:
        verb = data.draw(st.sampled_from(["admit", "dismiss", "create"]))
        sender = COUNCIL_LOWER if data.draw(MOSTLY, label="council") else STRANGER
        node = data.draw(st.sampled_from(self.nodes))
        match verb:
            case "admit":
                self.admit(node, data.draw(st.integers(0, 4)), sender)
            case "dismiss":
                self.both(
                    self.chain.registry,
                    "dismiss",
                    (node,),
                    lambda: self.reference.dismiss(sender, node),
                    sender,
                )
                # A dismissed node takes no more stake.
                self.deposit(node, 1)
            case _ if len(self.reference.tasks) < 3:
                phase_s = PHASE_SECONDS if data.draw(MOSTLY, label="short") else UNBONDING_SECONDS
                self.create_task(data.draw(make_rules(len(self.nodes))), phase_s, sender)

    def _speak_on_a_task(self, data: st.DataObject) -> None:
        verb = data.draw(st.sampled_from(["approve", "approve", "revoke"]))
        task = data.draw(self._any_task())
        node = data.draw(st.sampled_from([*self.nodes, STRANGER]))
        wrong = 0 if data.draw(MOSTLY, label="nonce") else 1
        if verb == "approve":
            spec = SPEC_DIGEST if data.draw(MOSTLY, label="spec") else _digest(1)
            self.approve(node, task, spec, wrong)
            return
        nonce = self.nonce(self.reference.tasks_nonces, node) + wrong
        expiry = FOREVER if data.draw(MOSTLY, label="in time") else self.chain.time_unix_s - 1
        self.both(
            self.chain.tasks,
            "revoke",
            ((node, task, nonce, expiry), ANY_SIGNATURE),
            lambda: self.reference.revoke(STRANGER, node, task, nonce, expiry),
            STRANGER,
        )

    def _speak_for_oneself(self, data: st.DataObject) -> None:
        verb = data.draw(st.sampled_from(["exit", "rotate", "comeBack", "comeBack"]))
        node = data.draw(st.sampled_from([*self.nodes, STRANGER]))
        # An account with code sends no transactions (EIP-3607), so only the first node can send for itself.
        itself = node == self.nodes[0] and data.draw(MOSTLY, label="sends itself")
        sender = node if itself else STRANGER
        nonce = self.nonce(self.reference.registry_nonces, node)
        nonce += 0 if data.draw(MOSTLY, label="nonce") else 1
        expiry = FOREVER if data.draw(MOSTLY, label="in time") else self.chain.time_unix_s - 1
        reference, registry = self.reference, self.chain.registry
        match verb:
            case "exit":
                known = reference.nodes.get(node)
                most = known.stake if known else 5
                amount = data.draw(st.one_of(st.integers(0, 2), st.just(most), st.integers(0, most + 1)))
                self.both(
                    registry,
                    "exit",
                    ((node, amount, nonce, expiry), ANY_SIGNATURE),
                    lambda: reference.exit(sender, node, amount, nonce, expiry),
                    sender,
                )
            case "rotate":
                signer = data.draw(st.sampled_from([YES_SIGNER.lower(), KEY_WITHOUT_CODE, node]))
                self.both(
                    registry,
                    "rotate",
                    ((node, signer, nonce, expiry), ANY_SIGNATURE),
                    lambda: reference.rotate(sender, node, signer, nonce, expiry),
                    sender,
                )
            case _:
                self.both(
                    registry,
                    "comeBack",
                    ((node, nonce, expiry), ANY_SIGNATURE),
                    lambda: reference.come_back(sender, node, nonce, expiry),
                    sender,
                )

    def _money_of_a_node(self, data: st.DataObject) -> None:
        verb = data.draw(st.sampled_from(["deposit", "withdraw", "claim", "withdraw"]))
        node = data.draw(st.sampled_from([*self.nodes, STRANGER]))
        match verb:
            case "deposit":
                known = self.reference.nodes.get(node)
                amount = data.draw(AMOUNTS)
                if known is None or known.stake + amount < 1 << 92:
                    self.deposit(node, amount)
            case "withdraw":
                leaving = [each for each, known in self.reference.nodes.items() if known.exits]
                if leaving:
                    node = data.draw(st.sampled_from(leaving))
                    if data.draw(st.booleans(), label="waits"):
                        self.chain.mine(seconds=UNBONDING_SECONDS)
                self.both(
                    self.chain.registry,
                    "withdraw",
                    (node,),
                    lambda: self.reference.withdraw(node),
                    STRANGER,
                )
            case _:
                self.both(self.chain.tasks, "claim", (node,), lambda: self.reference.claim(node), STRANGER)

    def _leave_whatever_happens(self, data: st.DataObject) -> None:
        """Exit in bounded time, by calls that need nobody else's consent."""
        node = data.draw(st.sampled_from(self.nodes))
        known = self.reference.nodes[node]
        if not known.stake:
            return
        sender = node if node == self.nodes[0] else STRANGER
        message = (node, known.stake, self.reference.registry_nonces.get(node, 0), FOREVER)
        self.both(
            self.chain.registry,
            "exit",
            (message, ANY_SIGNATURE),
            lambda: self.reference.exit(sender, *message),
            sender,
        )
        for task, state in self.reference.tasks.items():
            while state.open_round is not None:
                self.chain.mine(2, seconds=PHASE_SECONDS + 1)
                self._advance(task)
        self.chain.mine(seconds=UNBONDING_SECONDS)
        for number, slash in enumerate(self.reference.slashes):
            if slash.node == node and slash.status == "pending":
                self._execute(number)
        if known.exits:
            self.both(
                self.chain.registry, "withdraw", (node,), lambda: self.reference.withdraw(node), STRANGER
            )
            assert not known.exits

    def _money_of_a_task(self, data: st.DataObject) -> None:
        verb = data.draw(st.sampled_from(["fund", "topUp", "refund"]))
        task = data.draw(self._any_task())
        funder = data.draw(st.sampled_from([COUNCIL_LOWER, SECOND_FUNDER.lower()]))
        match verb:
            case "fund":
                self.fund(task, data.draw(AMOUNTS), funder)
            case "topUp":
                amount = data.draw(AMOUNTS)
                self.both(
                    self.chain.tasks,
                    "topUp",
                    (task, amount),
                    lambda: self.reference.top_up(task, amount),
                    funder,
                )
            case _:
                self._refund(task, funder)

    def _refund(self, task: int, funder: str) -> None:
        self.both(
            self.chain.tasks,
            "refund",
            (task, funder),
            lambda: self.reference.refund(task, funder),
            STRANGER,
        )

    def _settle_a_slash(self, data: st.DataObject) -> None:
        verb = data.draw(st.sampled_from(["waive", "execute", "execute"]))
        slash = data.draw(st.integers(0, len(self.reference.slashes)))
        if data.draw(st.booleans(), label="waits"):
            self.chain.mine(seconds=APPEAL_SECONDS)
        if verb == "execute":
            self._execute(slash)
            return
        sender = COUNCIL_LOWER if data.draw(MOSTLY, label="council") else STRANGER
        self.both(
            self.chain.registry,
            "waive",
            (slash,),
            lambda: self.reference.waive(sender, slash),
            sender,
        )

    def _execute(self, slash: int) -> None:
        self.both(self.chain.registry, "execute", (slash,), lambda: self.reference.execute(slash), STRANGER)

    def _let_time_pass(self, data: st.DataObject) -> None:
        blocks = data.draw(st.sampled_from([1, 1, 2, 256, 300]))
        self.chain.mine(blocks, seconds=data.draw(st.sampled_from([1, 50, APPEAL_SECONDS + 1])))

    def _push(self, data: st.DataObject) -> None:
        """Whether it is time or not."""
        verb = data.draw(st.sampled_from(["request", "advance"]))
        task = data.draw(self._any_task())
        if verb == "request":
            self._request(task)
        else:
            self._advance(task)

    def _any_task(self) -> st.SearchStrategy[int]:
        """The numbers of tasks, and now and then one that there is not."""
        return st.sampled_from([*sorted(self.reference.tasks) * 4, 99])

    # --- messages

    def _request(self, task: int) -> None:
        self.both(
            self.chain.rounds,
            "requestRound",
            (task,),
            lambda: self.reference.request_round(task),
            STRANGER,
        )

    def _advance(self, task: int) -> None:
        answer = self.both(
            self.chain.rounds, "advance", (task,), lambda: self.reference.advance(task), STRANGER
        )
        if isinstance(answer, Phase):
            reached[answer.label] += 1

    def _propose(self, node: str, task: int, number: int, context: str, parent: str, digest: str) -> None:
        message = (node, task, number, _bytes(context), _bytes(parent), _bytes(digest), bytes(32))
        self.both(
            self.chain.rounds,
            "propose",
            (message, ANY_SIGNATURE),
            lambda: self.reference.propose(STRANGER, node, task, number, context, parent, digest),
            STRANGER,
        )

    def _commit(self, node: str, task: int, number: int, context: str, commitment: str) -> None:
        message = (node, task, number, _bytes(context), _bytes(commitment))
        self.both(
            self.chain.rounds,
            "commit",
            (message, ANY_SIGNATURE),
            lambda: self.reference.commit(STRANGER, node, task, number, context, commitment),
            STRANGER,
        )

    def _reveal(self, reveal: Reveal, scores: tuple[int, ...] | None = None) -> None:
        scores = reveal.scores_micronats if scores is None else scores
        message = _reveal_tuple(reveal.model_copy(update={"scores_micronats": scores}))
        self.both(
            self.chain.rounds,
            "reveal",
            (message,),
            lambda: self.reference.reveal(reveal, scores),
            STRANGER,
        )

    def _attest(self, node: str, task: int, number: int, context: str, digest: str, score: int) -> None:
        message = (node, task, number, _bytes(context), _bytes(digest), score)
        self.both(
            self.chain.rounds,
            "attest",
            (message, ANY_SIGNATURE),
            lambda: self.reference.attest(STRANGER, node, task, number, context, digest, score),
            STRANGER,
        )

    def _reveal_of(
        self, task: int, node: str, *, number: int | None = None, context: str | None = None
    ) -> Reveal:
        """What a voter reveals in the task's newest round: the same whenever it is asked."""
        state = self.reference.tasks[task]
        round_ = state.rounds[-1]
        scores = []
        for proposal in round_.proposals():
            word = keccak(text=f"{node}/{round_.context}/{proposal.node}")
            pick = word[0] % 16
            near = int.from_bytes(word[1:5], "big") % 400_001 - 150_000
            odd = {0: INVALID_SCORE, 1: UNAVAILABLE_SCORE, 2: 0, 3: SCORE_LIMIT_MICRONATS}
            scores.append(odd.get(pick, near))
        if keccak(text=round_.context)[0] % 4 == 0 and scores:
            # Now and then everybody holds bytes that break the manifest.
            scores[0] = INVALID_SCORE
        return Reveal.model_construct(
            node=node,
            task=task,
            round=number or len(state.rounds),
            context=context or round_.context,
            scores_micronats=tuple(scores),
            salt="0x" + keccak(text=node).hex(),
        )

    # --- every observable

    @invariant()
    def nodes_agree(self) -> None:
        registry, reference = self.chain.registry, self.reference
        for address, node in reference.nodes.items():
            view = registry.call("nodeOf", address)
            found = (
                *(view.signer, view.group, view.admitted, view.stake, view.eligibleStake, view.unbonding),
                *(view.openRounds, view.pendingSlashes, view.absences),
            )
            assert found == (
                *(node.signer, node.group, node.admitted, node.stake, reference.eligible_stake(address)),
                *(sum(amount for _, amount in node.exits), node.open_rounds),
                *(node.pending_slashes, node.absences),
            )
            exits = [(e.maturesAt, e.amount) for e in registry.call("unbondingOf", address)]
            assert exits == node.exits
        assert registry.call("slashCount") == len(reference.slashes)
        for number, slash in enumerate(reference.slashes):
            view = registry.call("slashOf", number)
            found = (view.node, view.task, view.round, view.fault, view.executableAt, view.amount)
            expected = (slash.node, slash.task, slash.round, int(slash.fault))
            assert found == (*expected, slash.executable_at, slash.amount)
            assert ("pending", "waived", "executed")[view.status] == slash.status

    @invariant()
    def money_agrees(self) -> None:
        chain, reference = self.chain, self.reference
        assert chain.registry.call("totalOwed") == reference.registry_owed
        assert chain.tasks.call("totalOwed") == reference.tasks_owed
        held = chain.token.call("balanceOf", chain.registry.address)
        assert held == reference.registry_owed
        assert chain.token.call("balanceOf", chain.tasks.address) == reference.tasks_owed
        for node in self.nodes:
            assert chain.tasks.call("claimableOf", node) == reference.claimable.get(node, 0)
            assert chain.token.call("balanceOf", node) == reference.paid.get(node, 0)
        for task in reference.tasks:
            for funder in (COUNCIL_LOWER, SECOND_FUNDER.lower()):
                expected = reference.refundable(task, funder)
                assert chain.tasks.call("refundableOf", task, funder) == expected

    @invariant()
    def tasks_agree(self) -> None:
        for number, task in self.reference.tasks.items():
            view = self.chain.lens.call("taskOf", number)
            money = view.money
            found = (view.roundsRequested, view.roundsClosed, view.parentDigest, view.approved)
            expected = (len(task.rounds), task.closed, _bytes(task.parent))
            assert found == (*expected, settlement.ascending(list(task.approved)))
            found = (money.pool, money.openReward, money.contributed, money.refunded)
            assert found == (task.pool, task.open_reward, task.contributed, task.refunded)
            flags = (money.isPaused, money.isCancelled, money.isOver)
            assert flags == (task.paused, task.cancelled, task.over)
            assert self.chain.rounds.call("isDue", number) == self.reference.is_due(number)

    @invariant()
    def rounds_agree(self) -> None:
        for number, task in self.reference.tasks.items():
            # A closed round never changes: it is compared until the next one is open, and then once more.
            for index in range(max(0, len(task.rounds) - 2), len(task.rounds)):
                self._compare_round(self.chain.lens.call("roundOf", number, index + 1), task.rounds[index])

    def _compare_round(self, view: Struct, round_: Round) -> None:
        header = (view.phase, view.parentDigest, view.aggregateDigest, view.requestBlock, view.seedBlock)
        assert header == (
            *(round_.phase, _bytes(round_.parent), _bytes(round_.aggregate)),
            *(round_.request_block, round_.seed_block),
        )
        assert (view.seed, view.context) == (_bytes(round_.seed), _bytes(round_.context))
        assert (view.deadline, view.reward) == (round_.deadline, round_.reward)
        assert tuple(zip(view.eligible, view.stakes, strict=True)) == round_.members
        assert (view.proposers, view.voters) == (round_.proposers, round_.voters)
        tallies = {tally.node: tally for tally in round_.tallies}
        proposals = []
        for proposal in round_.proposals():
            tally = tallies.get(proposal.node)
            verdict = (
                (tally.standing, tally.median_micronats, tally.proven_invalid)
                if tally
                else (Standing.NONE, 0, False)
            )
            proposals.append((proposal.node, proposal.group, _bytes(proposal.digest), *verdict))
            if tally and tally.proven_invalid:
                reached["proven invalid"] += 1
        assert [
            (p.node, p.group, p.adapterDigest, p.standing, p.medianMicronats, p.provenInvalid)
            for p in view.proposals
        ] == proposals
        for voter, vote, attestation in zip(round_.voters, view.votes, view.attestations, strict=True):
            seat = round_.seats[voter]
            commitment = _bytes(seat.commitment or ZERO_DIGEST)
            assert (vote.node, vote.group, vote.stake, vote.commitment) == (
                voter,
                seat.group,
                seat.stake,
                commitment,
            )
            assert (vote.revealed, vote.scores) == (seat.scores is not None, seat.scores or ())
            digest, score = seat.attested or (ZERO_DIGEST, 0)
            found = (attestation.node, attestation.attested, attestation.aggregateDigest, attestation.score)
            assert found == (voter, seat.attested is not None, _bytes(digest), score)

    def teardown(self) -> None:
        """Count what the sequence came to."""
        if hasattr(self, "reference"):
            for slash in self.reference.slashes:
                reached[f"{slash.fault.name.lower()} {slash.status}"] += 1


def _answer_or_refusal(call: Callable[[], object]) -> object:
    try:
        return call()
    except (Refused, Reverted) as error:
        return Refused(error.name)


def _ignoring_refusal(step: Callable[[], object]) -> None:
    try:
        step()
    except Refused:
        reached["skipped"] += 1


def _reveal_tuple(reveal: Reveal) -> tuple[object, ...]:
    return (
        *(reveal.node, reveal.task, reveal.round, _bytes(reveal.context)),
        *(reveal.scores_micronats, _bytes(reveal.salt)),
    )


def _digest(number: int) -> str:
    return "0x" + number.to_bytes(31, "big").hex() + "a0"


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


OFTEN = (
    "final",
    "rejected",
    "aborted",
    "withdraw",
    "refund",
    "claim",
    "relay",
    "skipped",
    "waive",
    "execute",
)
EXPECTED = {
    Phase.TRAINING: "propose",
    Phase.COMMITTING: "commit",
    Phase.REVEALING: "reveal",
    Phase.ATTESTING: "attest",
}
"""The message that a phase takes."""
REFUSALS = (
    *("NotDue", "WrongPhase", "DeadlinePassed", "WrongContext", "WrongParent", "NotDrawn", "AlreadySent"),
    *("RepeatsParent", "ZeroDigest", "WrongCommitment", "WrongScoreCount", "ScoreOutOfRange", "NotCommitted"),
    *(
        "NotEnoughEligible",
        "RoundOpen",
        "NoRoundsLeft",
        "NoOpenRound",
        "TaskPaused",
        "TaskOver",
        "TaskNotOver",
    ),
    *("InOpenRounds", "SlashesPending", "NothingMature", "AppealOpen", "AppealOver", "SlashSettled"),
    *("InvalidAccountNonce", "Expired", "WrongSignature", "NodeUnknown", "NodeKnown", "NodeDismissed"),
)


MOST_RUNS = 4
"""Whether rare outcomes come up is chance; what does not in so many runs does not come up any more."""


def test_contracts_and_reference_agree_on_any_sequence_of_calls() -> None:
    reached.clear()
    for run in range(MOST_RUNS):
        run_state_machine_as_test(
            ConsortiumMachine,
            settings=settings(
                max_examples=SEQUENCES,
                stateful_step_count=CALLS,
                deadline=None,
                derandomize=run == 0,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        if not never_reached():
            return
    raise AssertionError(f"no sequence came to {never_reached()}: {dict(reached)}")


def never_reached() -> list[str]:
    """Outcomes, refusals and faults that no sequence came to, so that nothing was compared there."""
    faults = [f"{fault.name.lower()} pending" for fault in Fault if fault is not Fault.NONE]
    return [what for what in (*OFTEN, *REFUSALS, *faults) if reached[what] == 0]
