"""Draw, contexts, tally, outcome, rewards and faults: the reference that the Solidity is tested against.

Pure functions over integers and text; nothing reads a chain. Every division rounds down, every order is
ascending by node address unless it says "draw order". Stakes and rewards are base units of the token,
scores and medians are micronats. Node addresses are compared as numbers, so their case does not matter to
an order; within one call the same node must be spelled the same way.

The rules themselves, with their reasons, are in the outer protocol's description (docs/protocol.md).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from contracts.aggregation.spec import AggregationRule, weights_of
from contracts.messages import INVALID_SCORE, UNAVAILABLE_SCORE
from contracts.phase import Phase

BASIS_POINTS = 10_000
NO_CONTEXT = "0x" + "00" * 16
"""The context of a round whose draw has not happened."""
_CONTEXT_BYTES = 16


class Role(IntEnum):
    """What a node is drawn for."""

    PROPOSER = 0
    VOTER = 1


class Outcome(IntEnum):
    """How a round closes, numbered as its phase is in Solidity."""

    FINAL = 6
    REJECTED = 7
    ABORTED = 8


class Standing(IntEnum):
    """What the votes say of a proposal, numbered as in Solidity."""

    NONE = 0
    UNSCORED = 1
    """Too few voters gave it a number: it has no median."""
    REFUSED = 2
    ACCEPTED = 3


class Fault(IntEnum):
    """What a drawn node owed a round and did not give, from light to grave, numbered as in Solidity."""

    NONE = 0
    ABSENT = 1
    UNREVEALED = 2
    INVALID = 3


class Attendance(IntEnum):
    """Whether a drawn node sent what it was asked for, numbered as in Solidity."""

    NOT_ASKED = 0
    ATTENDED = 1
    ABSENT = 2


@dataclass(frozen=True)
class Rules:
    """The part of a task's configuration that settles its rounds."""

    rounds: int
    proposers: int
    voters: int
    min_proposals: int
    min_reveals: int
    min_scorers: int
    attestation_quorum_bps: int
    proposer_share_bps: int
    absent_bps: int
    unrevealed_bps: int
    invalid_bps: int
    acceptance_threshold_micronats: int
    closeness_range_micronats: int
    stake_cap: int


@dataclass(frozen=True)
class Member:
    """A node as it was frozen when the round was requested; ``stake`` is already capped."""

    node: str
    group: int
    stake: int


@dataclass(frozen=True)
class ProposedAdapter:
    """One proposal of a round: who made it, that node's group, the adapter's digest."""

    node: str
    group: int
    digest: str


@dataclass(frozen=True)
class AttestedAggregate:
    """One voter's word on the aggregate."""

    node: str
    digest: str
    score_micronats: int


@dataclass(frozen=True)
class ProposalTally:
    """What the votes say of one proposal; ``median_micronats`` is 0 where too few voters scored it."""

    node: str
    standing: Standing
    median_micronats: int
    proven_invalid: bool
    """Whether two thirds of the stake that may judge it hold bytes that break the manifest."""

    @property
    def accepted(self) -> bool:
        """Whether it goes into the aggregate."""
        return self.standing is Standing.ACCEPTED

    @property
    def has_median(self) -> bool:
        """Whether enough voters gave it a number."""
        return self.standing >= Standing.REFUSED


@dataclass(frozen=True)
class AttestationResult:
    """The digest that the quorum attested, if any, and the weighted median of its attesters' scores."""

    digest: str | None
    median_micronats: int

    @property
    def carries(self) -> bool:
        """Whether the round becomes final: a quorum, and no worse than the parent."""
        return self.digest is not None and self.median_micronats >= 0


@dataclass(frozen=True)
class Conduct:
    """How a drawn node behaved in a closed round; ``slash`` is taken of its stake, as far as that reaches."""

    node: str
    attendance: Attendance
    fault: Fault
    slash: int


@dataclass(frozen=True)
class Rewards:
    """Amounts by node, ascending and above 0, and what goes back to the task's pool."""

    amounts: tuple[tuple[str, int], ...]
    returned: int


Scores = Mapping[str, Sequence[int]]
"""Voter → revealed scores, in the proposals' order. A voter that did not reveal is not in it."""


def ascending(nodes: Sequence[str]) -> tuple[str, ...]:
    """Nodes in the order of their addresses."""
    return tuple(sorted(nodes, key=_address_number))


# Request and draw


def frozen_stake(stake: int, rules: Rules) -> int:
    """The weight that a node's stake has in a round."""
    return min(stake, rules.stake_cap)


def round_reward(pool: int, requested_before: int, rules: Rules) -> int:
    """What a round takes out of the task's pool when it is requested: pool left over rounds left."""
    return pool // (rules.rounds - requested_before)


def draw(seed: str, role: Role, eligible: Sequence[str], count: int) -> tuple[str, ...]:
    """The first ``count`` of a Fisher-Yates shuffle of the eligible nodes (all, if there are fewer).

    Step i swaps place i with ``i + keccak256(abi.encode(seed, role, i)) mod (n − i)``. Roles are drawn
    independently of each other from the list ascending by address.
    """
    places = list(ascending(eligible))
    size = len(places)
    taken = min(count, size)
    for i in range(taken):
        word = keccak(encode(["bytes32", "uint256", "uint256"], [_bytes(seed), int(role), i]))
        j = i + int.from_bytes(word, "big") % (size - i)
        places[i], places[j] = places[j], places[i]
    return tuple(places[:taken])


# Contexts: 128 bits that bind a signature to everything the last phase fixed


def training_context(
    *,
    chain_id: int,
    rounds_contract: str,
    task: int,
    round_number: int,
    parent_digest: str,
    seed: str,
    proposers: Sequence[str],
    voters: Sequence[str],
) -> str:
    """The context once the draw is made; proposers and voters in draw order."""
    return _context(
        ["uint256", "address", "uint64", "uint32", "bytes32", "bytes32", "address[]", "address[]"],
        [
            chain_id,
            rounds_contract,
            task,
            round_number,
            _bytes(parent_digest),
            _bytes(seed),
            list(proposers),
            list(voters),
        ],
    )


def committing_context(training: str, proposals: Sequence[ProposedAdapter]) -> str:
    """The context once the proposals are fixed; it holds through Committing and Revealing."""
    ordered = _in_node_order(proposals)
    return _context(
        ["bytes16", "address[]", "bytes32[]"],
        [
            _bytes(training),
            [proposal.node for proposal in ordered],
            [_bytes(proposal.digest) for proposal in ordered],
        ],
    )


def attesting_context(committing: str, tallies: Sequence[ProposalTally]) -> str:
    """The context once the votes are counted."""
    return _context(
        ["bytes16", "uint8[]", "int32[]"],
        [
            _bytes(committing),
            [int(tally.standing) for tally in tallies],
            [tally.median_micronats for tally in tallies],
        ],
    )


# Tally


def weighted_median(scores: Sequence[tuple[int, int, int]]) -> int:
    """The first score whose cumulated weight, doubled, reaches the total.

    Takes (score, node as a number, weight); sorted by score, then node. There must be at least one.
    """
    ordered = sorted(scores)
    total = sum(weight for _, _, weight in ordered)
    cumulated = 0
    for score, _, weight in ordered:
        cumulated += weight
        if 2 * cumulated >= total:
            return score
    raise ValueError("a weighted median needs at least one score")


def tally(
    proposals: Sequence[ProposedAdapter], voters: Sequence[Member], scores: Scores, rules: Rules
) -> tuple[ProposalTally, ...]:
    """What the revealed scores say of each proposal, ascending by node.

    ``voters`` are all that were drawn, whether they revealed or not.
    """
    ordered = _in_node_order(proposals)
    return tuple(_tally_one(index, proposal, voters, scores, rules) for index, proposal in enumerate(ordered))


def _tally_one(
    index: int, proposal: ProposedAdapter, voters: Sequence[Member], scores: Scores, rules: Rules
) -> ProposalTally:
    judges = [voter for voter in voters if _may_judge(voter, proposal)]
    judging_stake = sum(voter.stake for voter in judges)
    invalid_stake = unavailable_stake = 0
    counted: list[tuple[int, int, int]] = []
    for voter in judges:
        if voter.node not in scores:
            continue
        score = scores[voter.node][index]
        if score == INVALID_SCORE:
            invalid_stake += voter.stake
        elif score == UNAVAILABLE_SCORE:
            unavailable_stake += voter.stake
        else:
            counted.append((score, _address_number(voter.node), voter.stake))
    standing, median = Standing.UNSCORED, 0
    if len(counted) >= rules.min_scorers:
        median = weighted_median(counted)
        blocked = 3 * (invalid_stake + unavailable_stake) >= judging_stake
        good = median > rules.acceptance_threshold_micronats and not blocked
        standing = Standing.ACCEPTED if good else Standing.REFUSED
    return ProposalTally(
        node=proposal.node,
        standing=standing,
        median_micronats=median,
        proven_invalid=invalid_stake > 0 and 3 * invalid_stake >= 2 * judging_stake,
    )


def aggregation_weights(medians_micronats: Sequence[int], rule: AggregationRule) -> tuple[int, ...]:
    """What each accepted proposal weighs in the aggregate, from the medians of all of them, in their order.

    Equal, or in proportion to the positive median where the rule says so; none positive: equal.
    """
    positive = tuple(max(0, median) for median in medians_micronats)
    if weights_of(rule) == "equal" or not any(positive):
        return tuple(1 for _ in medians_micronats)
    return positive


def attestation_result(
    attestations: Sequence[AttestedAggregate], voters: Sequence[Member], rules: Rules
) -> AttestationResult:
    """The digest with more than the quorum's share of ALL drawn voters' stake, and its median score."""
    stakes = {voter.node: voter.stake for voter in voters}
    total = sum(stakes.values())
    by_digest: dict[str, list[tuple[int, int, int]]] = {}
    for attestation in attestations:
        weight = stakes[attestation.node]
        by_digest.setdefault(attestation.digest, []).append(
            (attestation.score_micronats, _address_number(attestation.node), weight)
        )
    for digest, attested in by_digest.items():
        weight = sum(weight for _, _, weight in attested)
        if weight * BASIS_POINTS > rules.attestation_quorum_bps * total:
            return AttestationResult(digest=digest, median_micronats=weighted_median(attested))
    return AttestationResult(digest=None, median_micronats=0)


def outcome(
    *,
    drawn: bool,
    proposals: int,
    commits: int,
    reveals: int,
    tallies: Sequence[ProposalTally],
    attestation: AttestationResult,
    rules: Rules,
) -> Outcome:
    """How a round with these messages closes; counts of a phase that was not reached are 0."""
    if not drawn or proposals < rules.min_proposals:
        return Outcome.ABORTED
    if commits < rules.min_reveals or reveals < rules.min_reveals:
        return Outcome.ABORTED
    if any(tally.accepted for tally in tallies) and attestation.carries:
        return Outcome.FINAL
    return Outcome.REJECTED


# Rewards


def rewards(
    reward: int,
    closed_as: Outcome,
    proposals: Sequence[ProposedAdapter],
    voters: Sequence[Member],
    scores: Scores,
    tallies: Sequence[ProposalTally],
    rules: Rules,
    *,
    attested: Collection[str] = (),
) -> Rewards:
    """What a closed round pays of its ``reward``; a node that is proposer and voter earns both.

    ``attested`` are the voters that attested the aggregate of a Final round: of those who revealed, only they
    are paid. Rejected and Aborted rounds pay all who revealed.
    """
    proposer_share = reward * rules.proposer_share_bps // BASIS_POINTS
    voter_share = reward - proposer_share
    revealed = [
        voter
        for voter in voters
        if voter.node in scores and (closed_as is not Outcome.FINAL or voter.node in attested)
    ]
    earned: dict[str, int] = {}
    if closed_as is Outcome.ABORTED:
        _add(earned, _by_weight(voter_share, {voter.node: voter.stake for voter in revealed}))
    else:
        by_stake = voter_share // 2
        _add(earned, _by_weight(by_stake, {voter.node: voter.stake for voter in revealed}))
        closeness = {
            voter.node: voter.stake * _closeness(voter, proposals, scores[voter.node], tallies, rules)
            for voter in revealed
        }
        _add(earned, _by_weight(voter_share - by_stake, closeness))
    if closed_as is Outcome.FINAL:
        _add(earned, _proposer_rewards(proposer_share, proposals, tallies))
    amounts = tuple((node, earned[node]) for node in ascending(list(earned)) if earned[node] > 0)
    return Rewards(amounts=amounts, returned=reward - sum(amount for _, amount in amounts))


# Faults


def conducts(
    *,
    last_phase: Phase,
    proposers: Sequence[Member],
    voters: Sequence[Member],
    proposed: Collection[str],
    committed: Collection[str],
    revealed: Collection[str],
    tallies: Sequence[ProposalTally],
    rules: Rules,
) -> tuple[Conduct, ...]:
    """How every drawn node behaved in a round that ended in ``last_phase``, each node once.

    Nodes answer for what they were asked for up to that phase; a round that was paused asked nobody
    (``Phase.REQUESTED``). Of several faults the gravest counts. Order: proposers, then the voters that are
    not proposers too, each in draw order.
    """
    proven_invalid = {tally.node for tally in tallies if tally.proven_invalid}
    asked_to_propose = {m.node for m in proposers} if last_phase >= Phase.TRAINING else set()
    asked_to_commit = {m.node for m in voters} if last_phase >= Phase.COMMITTING else set()
    asked_to_reveal = set(committed) if last_phase >= Phase.REVEALING else set()
    absent = (asked_to_propose - set(proposed)) | (asked_to_commit - set(committed))
    result: list[Conduct] = []
    for member in {member.node: member for member in (*proposers, *voters)}.values():
        node = member.node
        if node in absent:
            attendance = Attendance.ABSENT
        elif node in asked_to_propose | asked_to_commit:
            attendance = Attendance.ATTENDED
        else:
            attendance = Attendance.NOT_ASKED
        if node in proven_invalid and last_phase >= Phase.REVEALING:
            fault = Fault.INVALID
        elif node in asked_to_reveal and node not in revealed:
            fault = Fault.UNREVEALED
        elif node in absent:
            fault = Fault.ABSENT
        else:
            fault = Fault.NONE
        result.append(Conduct(node, attendance, fault, slash_of(fault, member.stake, rules)))
    return tuple(result)


def slash_of(fault: Fault, stake: int, rules: Rules) -> int:
    """What a fault costs of the stake that was frozen for the round."""
    bps = {
        Fault.NONE: 0,
        Fault.ABSENT: rules.absent_bps,
        Fault.UNREVEALED: rules.unrevealed_bps,
        Fault.INVALID: rules.invalid_bps,
    }[fault]
    return stake * bps // BASIS_POINTS


def _proposer_rewards(
    share: int, proposals: Sequence[ProposedAdapter], tallies: Sequence[ProposalTally]
) -> dict[str, int]:
    """Half equally, half by positive median, per distinct adapter; copies of one adapter share its part.

    An adapter's median is the least of its accepted copies'. Without a positive median all is equal.
    """
    copies: dict[str, list[tuple[str, int]]] = {}
    for proposal, result in zip(_in_node_order(proposals), tallies, strict=True):
        if result.accepted:
            copies.setdefault(proposal.digest, []).append((proposal.node, result.median_micronats))
    positive = {digest: max(0, min(median for _, median in made)) for digest, made in copies.items()}
    total = sum(positive.values())
    equal_part = share // 2 if total else share
    earned: dict[str, int] = {}
    for digest, made in copies.items():
        part = equal_part // len(copies)
        if total:
            part += (share - equal_part) * positive[digest] // total
        for node, _ in made:
            earned[node] = part // len(made)
    return earned


def _closeness(
    voter: Member,
    proposals: Sequence[ProposedAdapter],
    scores: Sequence[int],
    tallies: Sequence[ProposalTally],
    rules: Rules,
) -> int:
    """How near a voter came to the medians: the mean of ``max(0, range − |score − median|)``.

    Counts the proposals that it may judge and that reached a median; 0 when there is none. An INVALID
    earns the whole range where two thirds agree, else nothing; an UNAVAILABLE nothing.
    """
    widest = rules.closeness_range_micronats
    near: list[int] = []
    for proposal, score, result in zip(_in_node_order(proposals), scores, tallies, strict=True):
        if not result.has_median or not _may_judge(voter, proposal):
            continue
        if score == INVALID_SCORE:
            near.append(widest if result.proven_invalid else 0)
        elif score == UNAVAILABLE_SCORE:
            near.append(0)
        else:
            near.append(max(0, widest - abs(score - result.median_micronats)))
    return sum(near) // len(near) if near else 0


def _by_weight(amount: int, weights: Mapping[str, int]) -> dict[str, int]:
    total = sum(weights.values())
    if total == 0:
        return {}
    return {node: amount * weight // total for node, weight in weights.items()}


def _add(earned: dict[str, int], more: Mapping[str, int]) -> None:
    for node, amount in more.items():
        earned[node] = earned.get(node, 0) + amount


def _may_judge(voter: Member, proposal: ProposedAdapter) -> bool:
    return voter.node != proposal.node and voter.group != proposal.group


def _in_node_order(proposals: Sequence[ProposedAdapter]) -> list[ProposedAdapter]:
    return sorted(proposals, key=lambda proposal: _address_number(proposal.node))


def _address_number(node: str) -> int:
    return int(node, 16)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _context(types: list[str], values: list[object]) -> str:
    return "0x" + keccak(encode(types, values))[:_CONTEXT_BYTES].hex()
