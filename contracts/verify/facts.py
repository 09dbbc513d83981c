"""What the chain says about a task: the contracts' views and their logs, untrusted until compared.

Addresses are checksummed, digests 0x text, amounts base units of the token, scores micronats.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.phase import Phase
from contracts.settlement import AttestedAggregate, Rewards, Rules

# One round, from its view


@dataclass(frozen=True)
class ProposalView:
    """A proposal as the round's view shows it, once the proposal phase is over."""

    node: str
    adapter_digest: str
    accepted: bool
    has_median: bool
    median_micronats: int


@dataclass(frozen=True)
class VoteView:
    """A drawn voter's commit and reveal; ``scores_micronats`` is None until revealed."""

    node: str
    commitment: str | None
    scores_micronats: tuple[int, ...] | None


@dataclass(frozen=True)
class RoundView:
    """``roundOf(task, round)``; ``seed`` and ``aggregate_digest`` are None while they are zero."""

    phase: Phase
    parent_digest: str
    aggregate_digest: str | None
    request_block: int
    seed_block: int
    seed: str | None
    context: str
    reward: int
    eligible: tuple[str, ...]
    stakes: tuple[int, ...]
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    proposals: tuple[ProposalView, ...]
    votes: tuple[VoteView, ...]
    attestations: tuple[AttestedAggregate, ...]


# One round, from its logs


@dataclass(frozen=True)
class RequestedLog:
    """What was frozen when the round was requested."""

    parent_digest: str
    seed_block: int
    reward: int
    eligible: tuple[str, ...]
    stakes: tuple[int, ...]


@dataclass(frozen=True)
class DrawnLog:
    """The draw, in its own order."""

    seed: str
    proposers: tuple[str, ...]
    voters: tuple[str, ...]


@dataclass(frozen=True)
class ProposedLog:
    """A proposal as it was relayed."""

    node: str
    adapter_digest: str
    report_digest: str


@dataclass(frozen=True)
class CommittedLog:
    """A voter's commitment."""

    node: str
    commitment: str


@dataclass(frozen=True)
class RevealedLog:
    """What a commitment opened to."""

    node: str
    scores_micronats: tuple[int, ...]
    salt: str


@dataclass(frozen=True)
class PhaseLog:
    """A change of phase and the context from then on."""

    phase: Phase
    context: str


@dataclass(frozen=True)
class ClosedLog:
    """How the round ended, and what the next one starts from."""

    phase: Phase
    parent_digest: str


@dataclass(frozen=True)
class RoundLog:
    """All logs of one round, each kind in the chain's order."""

    requested: RequestedLog | None = None
    drawn: DrawnLog | None = None
    phases: tuple[PhaseLog, ...] = ()
    proposed: tuple[ProposedLog, ...] = ()
    committed: tuple[CommittedLog, ...] = ()
    revealed: tuple[RevealedLog, ...] = ()
    tallied: tuple[tuple[str, bool, bool, int], ...] | None = None
    """(node, accepted, has median, median), ascending by node."""
    attested: tuple[AttestedAggregate, ...] = ()
    closed: ClosedLog | None = None
    rewarded: Rewards | None = None


@dataclass(frozen=True)
class RoundFacts:
    """One round from both sides, and the hash of its seed block if the endpoint still has it."""

    number: int
    view: RoundView
    log: RoundLog
    seed_block_hash: str | None


# Money and membership, in the chain's order


@dataclass(frozen=True)
class Staked:
    """A node's whole stake after a deposit or a withdrawal."""

    node: str
    stake: int


@dataclass(frozen=True)
class Approved:
    """A node's approval of the task that is verified."""

    node: str


@dataclass(frozen=True)
class Funded:
    """A payment into the task's pool; ``pool`` is what the log says it holds then."""

    amount: int
    pool: int


@dataclass(frozen=True)
class Requested:
    """A round of the task took ``reward`` out of the pool."""

    round: int
    reward: int


@dataclass(frozen=True)
class Returned:
    """A round of the task gave back what it did not pay."""

    amount: int


@dataclass(frozen=True)
class Credited:
    """A round of any task credited a node."""

    node: str
    amount: int


@dataclass(frozen=True)
class Claimed:
    """A node was paid what it had earned."""

    node: str
    amount: int


LedgerEntry = Staked | Approved | Funded | Requested | Returned | Credited | Claimed


@dataclass(frozen=True)
class TaskFacts:
    """A task at one block."""

    task: int
    block: int
    chain_id: int
    rounds_contract: str
    token_decimals: int
    spec_digest: str
    genesis_digest: str
    rules: Rules
    rounds_requested: int
    rounds_closed: int
    pool: int
    parent_digest: str
    groups: Mapping[str, int]
    """Node → group, of all nodes ever admitted."""
    claimable: Mapping[str, int]
    """Node → what it may claim, of all nodes ever admitted."""
    ledger: tuple[LedgerEntry, ...]
    rounds: tuple[RoundFacts, ...]
