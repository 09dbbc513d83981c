"""The chain's state in tables: aggregates are loaded and saved whole, so that the domain sees values."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter
from sqlalchemy import Select, Table, bindparam, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.orm import Session

from contracts.events import EVENTS, Approved, Event
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from contracts.task_config import TaskConfig
from contracts.unbonding import UnbondingEntry
from orchestrator.adapters.database.models import (
    PROJECTION_TABLES,
    ApprovalRow,
    AttestationRow,
    Base,
    ChainBlockRow,
    ChainCursorRow,
    ChainEventRow,
    NodeRow,
    ProposalRow,
    RegistryRow,
    RewardRow,
    RoundMemberRow,
    RoundPhaseRow,
    RoundRow,
    SlashRow,
    TaskRow,
    UnbondingRow,
    VoteRow,
)
from orchestrator.adapters.database.projection_rows import insert_rows, read_rows
from orchestrator.domain.chain import Block, IndexedEvent, StakeTerms
from orchestrator.domain.ports import RewardLine
from orchestrator.domain.projection import Ledger
from orchestrator.domain.projection_rows import ProjectionRow
from orchestrator.domain.state import (
    AttestationState,
    NodeState,
    PhaseStart,
    ProposalState,
    RegistryState,
    RewardState,
    RoundHead,
    RoundState,
    SlashState,
    SlashStatus,
    StakedNode,
    TaskState,
    VoteState,
)

_CURSOR = 1
_REGISTRY = 1
_CONFIG = TypeAdapter(TaskConfig)
_KEPT_BLOCKS = 256
"""Hashes of blocks that are kept; a reorganisation that goes deeper has the chain read from the start."""
_EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kinds in EVENTS.values() for kind in kinds}
_EVENT_ADAPTERS: dict[type[Event], TypeAdapter[Any]] = {}

_NAMING: tuple[tuple[type[TaskRow | RoundRow | ProposalRow | AttestationRow], tuple[Any, ...]], ...] = (
    (TaskRow, (TaskRow.spec_digest, TaskRow.genesis_digest, TaskRow.parent_digest)),
    (RoundRow, (RoundRow.parent_digest, RoundRow.aggregate_digest)),
    (ProposalRow, (ProposalRow.adapter_digest, ProposalRow.report_digest)),
    (AttestationRow, (AttestationRow.aggregate_digest,)),
)
"""Every column that holds the digest of an artifact."""

Key = TypeVar("Key")
State = TypeVar("State", NodeState, SlashState, TaskState, RoundState)
_PartRow = RoundMemberRow | RoundPhaseRow | ProposalRow | VoteRow | AttestationRow | RewardRow
Part = TypeVar("Part", bound=_PartRow)


def _table(mapped: type[Base]) -> Table:
    return cast(Table, mapped.__table__)


_NODES = _table(NodeRow)

Values = dict[str, Any]
"""A row's values, by column."""


@dataclass(frozen=True)
class _Part:
    """One of the tables of what a round consists of."""

    table: type[_PartRow]
    key: tuple[str, ...]
    """What tells its rows of one round apart."""
    told_by: Callable[[RoundState], object]
    """What of the round the rows depend on."""
    rows: Callable[[RoundState], Iterable[Values]]


class SqlProjectionRepository:
    """``ProjectionRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._cursor: ChainCursorRow | None = None
        self._stored: dict[tuple[int, int], RoundState] = {}
        """Rounds that this session has read or written, as they are in the tables."""

    def last_block(self) -> Block | None:
        """The last indexed block."""
        # Held on to: the session forgets what nobody holds, and would read it again.
        row = self._cursor = self._session.get(ChainCursorRow, _CURSOR)
        return None if row is None else Block(row.number, row.hash, row.parent_hash, row.timestamp_unix_s)

    def final_block(self) -> int | None:
        """The height up to which the indexed blocks are final; None before the first was indexed."""
        row = self._session.get(ChainCursorRow, _CURSOR)
        return None if row is None else row.final_number

    def set_last_block(self, block: Block, final_block: int) -> None:
        """Remember how far the chain is indexed, and how far that is final."""
        self._session.merge(
            ChainCursorRow(
                id=_CURSOR,
                number=block.number,
                hash=block.hash,
                parent_hash=block.parent_hash,
                timestamp_unix_s=block.timestamp_unix_s,
                final_number=final_block,
            )
        )

    def add_blocks(self, blocks: Sequence[Block]) -> None:
        """Keep the hashes of indexed blocks, the newest as many as it takes to find a fork."""
        kept = blocks[-_KEPT_BLOCKS:]
        self._session.add_all(ChainBlockRow(number=block.number, hash=block.hash) for block in kept)
        if blocks:
            oldest = blocks[-1].number - _KEPT_BLOCKS
            stored = _table(ChainBlockRow)
            self._session.execute(delete(stored).where(stored.c.number <= oldest))

    def block_hashes(self) -> dict[int, str]:
        """The kept hashes, by height in ascending order."""
        rows = self._session.scalars(select(ChainBlockRow).order_by(ChainBlockRow.number))
        return {row.number: row.hash for row in rows}

    def clear(self) -> None:
        """Forget everything that came from the chain."""
        for table in PROJECTION_TABLES:
            self._session.execute(delete(table))
        self._session.expire_all()
        self._stored.clear()

    def rows(self) -> Iterator[ProjectionRow]:
        """Everything that came from the chain, by table and key."""
        return read_rows(self._session)

    def replace(self, rows: Iterable[ProjectionRow]) -> None:
        """Forget everything that came from the chain, and keep these rows instead."""
        self.clear()
        insert_rows(self._session, rows)

    def add_events(self, events: Sequence[IndexedEvent], times_unix_s: Mapping[int, int]) -> None:
        """Keep the events themselves, and when their blocks were made."""
        self._session.add_all(
            ChainEventRow(
                block_number=indexed.block_number,
                log_index=indexed.log_index,
                block_hash=indexed.block_hash,
                transaction_hash=indexed.transaction_hash,
                block_unix_s=times_unix_s[indexed.block_number],
                kind=type(indexed.event).__name__,
                payload=_event_adapter(type(indexed.event)).dump_python(indexed.event, mode="json"),
            )
            for indexed in events
        )

    def approved_events(self, task: int) -> list[IndexedEvent]:
        """Every approval of a task that is on chain, taken back since or not, oldest first."""
        query = (
            select(ChainEventRow)
            .where(ChainEventRow.kind == Approved.__name__)
            .where(ChainEventRow.payload["task"].as_integer() == task)
            .order_by(ChainEventRow.block_number, ChainEventRow.log_index)
        )
        return [_indexed(row) for row in self._session.scalars(query)]

    def events(self) -> list[tuple[IndexedEvent, int]]:
        """All kept events in their order, each with its block's time."""
        query = select(ChainEventRow).order_by(ChainEventRow.block_number, ChainEventRow.log_index)
        return [(_indexed(row), row.block_unix_s) for row in self._session.scalars(query)]

    def restore(self, before: Ledger, after: Ledger, block_number: int) -> None:
        """Go back from the state ``after`` to the state ``before``, which was that at the end of a block."""
        for key in _changed(before.rounds, after.rounds):
            self._session.execute(delete(RoundRow).where(RoundRow.task == key[0], RoundRow.round == key[1]))
        for task in after.tasks.keys() - before.tasks.keys():
            self._session.execute(delete(TaskRow).where(TaskRow.task == task))
        for slash in after.slashes.keys() - before.slashes.keys():
            self._session.execute(delete(SlashRow).where(SlashRow.slash == slash))
        for node in after.nodes.keys() - before.nodes.keys():
            self._session.execute(delete(NodeRow).where(NodeRow.node == node))
        for table in (ChainEventRow.block_number, ChainBlockRow.number):
            self._session.execute(delete(table.class_).where(table > block_number))
        self._session.expire_all()
        self._stored.clear()
        self.save_registry(before.registry)
        changed = _changed(before.nodes, after.nodes)
        self.save_nodes([before.nodes[node] for node in changed if node in before.nodes])
        for slash in _changed(before.slashes, after.slashes):
            if slash in before.slashes:
                self.save_slash(before.slashes[slash])
        for task in _changed(before.tasks, after.tasks):
            if task in before.tasks:
                self.save_task(before.tasks[task])
        for key in _changed(before.rounds, after.rounds):
            if key in before.rounds:
                self.save_round(before.rounds[key])

    def registry(self) -> RegistryState | None:
        """The registry; None before the first block was indexed."""
        row = self._session.get(RegistryRow, _REGISTRY)
        if row is None:
            return None
        return RegistryState(StakeTerms(row.unbonding_s, row.appeal_s, row.most_absences), row.successor)

    def save_registry(self, state: RegistryState) -> None:
        """Replace the registry."""
        self._session.merge(
            RegistryRow(
                id=_REGISTRY,
                unbonding_s=state.terms.unbonding_s,
                appeal_s=state.terms.appeal_s,
                most_absences=state.terms.most_absences,
                successor=state.successor,
            )
        )

    def node(self, node: str) -> NodeState | None:
        """A node by its address."""
        return self.nodes_of((node,)).get(node)

    def nodes(self) -> list[NodeState]:
        """All nodes, by address."""
        states = self._node_states(select(_NODES))
        return sorted(states, key=lambda state: _address_order(state.node))

    def nodes_of(self, addresses: Collection[str]) -> dict[str, NodeState]:
        """The nodes of some addresses, as far as there are any."""
        states = self._node_states(select(_NODES).where(_NODES.c.node.in_(addresses)))
        return {state.node: state for state in states}

    def nodes_after(self, node: str | None, limit: int) -> list[NodeState]:
        """The nodes after an address, or the first ones, by address."""
        # Checksummed text does not sort by number; in lower case it does.
        address = func.lower(_NODES.c.node)
        query = select(_NODES).order_by(address).limit(limit)
        if node is not None:
            query = query.where(address > node.lower())
        return self._node_states(query)

    def save_nodes(self, states: Collection[NodeState]) -> None:
        """Insert or replace nodes."""
        if not states:
            return
        known = self.nodes_of([state.node for state in states])
        self._write(
            _NODES,
            ("node",),
            {(state.node,): _node_values(state) for state in known.values()},
            {(state.node,): _node_values(state) for state in states},
        )
        unbonding = {state.node: state.unbonding for state in known.values()}
        changed = [state for state in states if state.unbonding != unbonding.get(state.node, ())]
        if changed:
            nodes = [state.node for state in changed]
            self._session.execute(delete(UnbondingRow).where(UnbondingRow.node.in_(nodes)))
            self._session.add_all(row for state in changed for row in _unbonding_rows(state))

    def slash(self, slash: int) -> SlashState | None:
        """A slash by its number."""
        row = self._session.get(SlashRow, slash)
        return None if row is None else _slash_state(row)

    def slashes(self) -> list[SlashState]:
        """All slashes, by number."""
        return [_slash_state(row) for row in self._session.scalars(select(SlashRow).order_by(SlashRow.slash))]

    def slashes_after(
        self, slash: int, limit: int, *, task: int | None, node: str | None
    ) -> list[SlashState]:
        """The slashes after a number, by number, of a task or a node where one is named."""
        query = select(SlashRow).where(SlashRow.slash > slash).order_by(SlashRow.slash).limit(limit)
        if task is not None:
            query = query.where(SlashRow.task == task)
        if node is not None:
            query = query.where(SlashRow.node == node)
        return [_slash_state(row) for row in self._session.scalars(query)]

    def slashes_of_task(self, task: int) -> list[SlashState]:
        """The slashes for faults in a task's rounds, by number."""
        query = select(SlashRow).where(SlashRow.task == task).order_by(SlashRow.slash)
        return [_slash_state(row) for row in self._session.scalars(query)]

    def save_slash(self, state: SlashState) -> None:
        """Insert or replace a slash."""
        self._session.merge(
            SlashRow(
                slash=state.slash,
                node=state.node,
                task=state.task,
                round=state.round,
                fault=int(state.fault),
                amount=state.amount,
                executable_unix_s=state.executable_unix_s,
                status=state.status.value,
                changed_block=state.changed_block,
            )
        )

    def task(self, task: int) -> TaskState | None:
        """A task by its number."""
        row = self._session.get(TaskRow, task)
        return None if row is None else self._task_state(row)

    def tasks(self) -> list[TaskState]:
        """All tasks, by number."""
        rows = self._session.scalars(select(TaskRow).order_by(TaskRow.task))
        return [self._task_state(row) for row in rows]

    def tasks_after(self, task: int, limit: int) -> list[TaskState]:
        """The tasks after a number, by number."""
        query = select(TaskRow).where(TaskRow.task > task).order_by(TaskRow.task).limit(limit)
        return [self._task_state(row) for row in self._session.scalars(query)]

    def tasks_of_spec(self, spec_digest: str) -> list[TaskState]:
        """The tasks on chain with that spec, by number."""
        query = select(TaskRow).where(TaskRow.spec_digest == spec_digest).order_by(TaskRow.task)
        return [self._task_state(row) for row in self._session.scalars(query)]

    def save_task(self, state: TaskState) -> None:
        """Insert or replace a task."""
        self._session.merge(
            TaskRow(
                task=state.task,
                spec_digest=state.config.spec_digest,
                genesis_digest=state.config.genesis_digest,
                config=_CONFIG.dump_python(state.config, mode="json"),
                parent_digest=state.parent_digest,
                pool=state.pool,
                open_reward=state.open_reward,
                contributed=state.contributed,
                refunded=state.refunded,
                rounds_requested=state.rounds_requested,
                rounds_closed=state.rounds_closed,
                pause_changes=state.pause_changes,
                is_cancelled=state.is_cancelled,
                is_over=state.is_over,
                changed_block=state.changed_block,
            )
        )
        self._session.flush()
        stored = set(self._session.scalars(select(ApprovalRow.node).where(ApprovalRow.task == state.task)))
        self._session.add_all(
            ApprovalRow(task=state.task, node=node) for node in state.approved if node not in stored
        )
        if revoked := stored - set(state.approved):
            self._session.execute(
                delete(ApprovalRow).where(ApprovalRow.task == state.task, ApprovalRow.node.in_(revoked))
            )

    def round(self, task: int, round_number: int) -> RoundState | None:
        """A round by task and number."""
        row = self._session.get(RoundRow, (task, round_number))
        if row is None:
            return None
        state = self._stored[task, round_number] = self._round_state(row)
        return state

    def round_head(self, task: int, round_number: int) -> RoundHead | None:
        """How far a round is."""
        row = self._session.get(RoundRow, (task, round_number))
        return None if row is None else RoundHead(row.task, row.round, Phase(row.phase), row.deadline_unix_s)

    def rounds(self, task: int) -> list[RoundState]:
        """A task's rounds, by number."""
        rows = self._session.scalars(select(RoundRow).where(RoundRow.task == task).order_by(RoundRow.round))
        return [self._round_state(row) for row in rows]

    def rounds_after(self, task: int, round_number: int, limit: int) -> list[RoundState]:
        """A task's rounds after a number, by number."""
        query = select(RoundRow).where(RoundRow.task == task, RoundRow.round > round_number)
        rows = self._session.scalars(query.order_by(RoundRow.round).limit(limit))
        return [self._round_state(row) for row in rows]

    def final_rounds_after(self, task: int, round_number: int, limit: int) -> list[RoundState]:
        """The final rounds of all tasks after (task, round), by task and round."""
        query = (
            select(RoundRow)
            .where(RoundRow.phase == int(Phase.FINAL), RoundRow.aggregate_digest.is_not(None))
            .where(tuple_(RoundRow.task, RoundRow.round) > (task, round_number))
            .order_by(RoundRow.task, RoundRow.round)
            .limit(limit)
        )
        return [self._round_state(row) for row in self._session.scalars(query)]

    def final_round_of(self, aggregate_digest: str) -> RoundState | None:
        """The first final round, by task and number, that ended with an aggregate."""
        query = (
            select(RoundRow)
            .where(RoundRow.aggregate_digest == aggregate_digest, RoundRow.phase == int(Phase.FINAL))
            .order_by(RoundRow.task, RoundRow.round)
            .limit(1)
        )
        row = self._session.scalar(query)
        return None if row is None else self._round_state(row)

    def rewards_after(
        self, key: tuple[int, int, str], limit: int, *, task: int | None, node: str | None
    ) -> list[RewardLine]:
        """The rewards after (task, round, node in lower case), of a task or a node where one is named."""
        address = func.lower(RewardRow.node)
        query = (
            select(RewardRow)
            .where(tuple_(RewardRow.task, RewardRow.round, address) > key)
            .order_by(RewardRow.task, RewardRow.round, address)
            .limit(limit)
        )
        if task is not None:
            query = query.where(RewardRow.task == task)
        if node is not None:
            query = query.where(RewardRow.node == node)
        return [RewardLine(row.task, row.round, row.node, row.amount) for row in self._session.scalars(query)]

    def count_rounds(self) -> dict[str, int]:
        """How many rounds are in which phase, by the phase's label."""
        query = select(RoundRow.phase, func.count()).group_by(RoundRow.phase)
        return {Phase(phase).label: count for phase, count in self._session.execute(query)}

    def accepted_digests(self, task: int) -> frozenset[str]:
        """Adapters that final rounds of a task accepted."""
        query = (
            select(ProposalRow.adapter_digest)
            .join(RoundRow, (RoundRow.task == ProposalRow.task) & (RoundRow.round == ProposalRow.round))
            .where(ProposalRow.task == task, ProposalRow.standing == int(Standing.ACCEPTED))
            .where(RoundRow.phase == int(Phase.FINAL))
        )
        return frozenset(self._session.scalars(query))

    def save_round(self, state: RoundState) -> None:
        """Insert or replace a round."""
        known = self._stored.get((state.task, state.round)) or self.round(state.task, state.round)
        self._session.merge(
            RoundRow(
                task=state.task,
                round=state.round,
                phase=int(state.phase),
                parent_digest=state.parent_digest,
                aggregate_digest=state.aggregate_digest,
                context=state.context,
                deadline_unix_s=state.deadline_unix_s,
                seed_block=state.seed_block,
                seed=state.seed,
                reward=state.reward,
                changed_block=state.changed_block,
            )
        )
        self._session.flush()
        for part in _PARTS:
            if known is None or part.told_by(known) != part.told_by(state):
                self._save_part(part, known, state)
        self._stored[state.task, state.round] = state

    def _save_part(self, part: _Part, known: RoundState | None, state: RoundState) -> None:
        """Write the rows of one table that a block has changed: a few of a round's hundreds."""
        self._write(
            _table(part.table),
            ("task", "round", *part.key),
            {} if known is None else _by_key(part, known),
            _by_key(part, state),
        )

    def _write(
        self,
        table: Table,
        key: tuple[str, ...],
        before: Mapping[tuple[Any, ...], Values],
        after: Mapping[tuple[Any, ...], Values],
    ) -> None:
        """Insert what is new and update what differs; not by the ORM, which takes many times as long."""
        new = [values for place, values in after.items() if place not in before]
        changed = [values for place, values in after.items() if before.get(place, values) != values]
        if new:
            self._session.execute(insert(table), new)
        if changed:
            statement = (
                update(table)
                .where(*(table.c[name] == bindparam(f"of_{name}") for name in key))
                .values({name: bindparam(f"new_{name}") for name in changed[0] if name not in key})
            )
            self._session.execute(
                statement,
                [
                    {f"of_{name}" if name in key else f"new_{name}": value for name, value in values.items()}
                    for values in changed
                ],
            )

    def digest_is_named(self, digest: str) -> bool:
        """Whether the chain names the digest in any way."""
        return any(
            self._finds(select(table.task).where(or_(*(column == digest for column in columns))))
            for table, columns in _NAMING
        )

    def digest_is_public(self, digest: str) -> bool:
        """Whether the chain names the digest in a way that makes its artifact readable by all."""
        of_task = select(TaskRow.task).where(
            or_(TaskRow.spec_digest == digest, TaskRow.genesis_digest == digest)
        )
        proposals = select(ProposalRow.task).join(
            RoundRow, (RoundRow.task == ProposalRow.task) & (RoundRow.round == ProposalRow.round)
        )
        proposed_now = proposals.where(
            ProposalRow.adapter_digest == digest, RoundRow.phase <= int(Phase.TRAINING)
        )
        named_by_nodes = (
            proposals.where(
                or_(ProposalRow.adapter_digest == digest, ProposalRow.report_digest == digest),
                RoundRow.phase > int(Phase.TRAINING),
            ),
            select(AttestationRow.task).where(AttestationRow.aggregate_digest == digest),
            select(RoundRow.task).where(RoundRow.aggregate_digest == digest),
        )
        if self._finds(of_task):
            return True
        return not self._finds(proposed_now) and any(map(self._finds, named_by_nodes))

    def _finds(self, query: Select[int]) -> bool:
        return self._session.scalar(query.limit(1)) is not None

    def _node_states(self, wanted: Select[Any]) -> list[NodeState]:
        rows = list(self._session.execute(wanted))
        query = (
            select(UnbondingRow)
            .where(UnbondingRow.node.in_([row.node for row in rows]))
            .order_by(UnbondingRow.node, UnbondingRow.position)
        )
        unbonding: dict[str, list[UnbondingEntry]] = {}
        for each in self._session.scalars(query):
            unbonding.setdefault(each.node, []).append(UnbondingEntry(each.matures_unix_s, each.amount))
        return [_node_state(row, unbonding.get(row.node, ())) for row in rows]

    def _task_state(self, row: TaskRow) -> TaskState:
        approvals = self._session.scalars(select(ApprovalRow.node).where(ApprovalRow.task == row.task))
        return TaskState(
            task=row.task,
            config=_CONFIG.validate_python(row.config),
            parent_digest=row.parent_digest,
            pool=row.pool,
            open_reward=row.open_reward,
            contributed=row.contributed,
            refunded=row.refunded,
            rounds_requested=row.rounds_requested,
            rounds_closed=row.rounds_closed,
            pause_changes=row.pause_changes,
            is_cancelled=row.is_cancelled,
            is_over=row.is_over,
            changed_block=row.changed_block,
            approved=tuple(sorted(approvals, key=_address_order)),
        )

    def _round_state(self, row: RoundRow) -> RoundState:
        members = sorted(self._values_of(RoundMemberRow, row), key=lambda member: member.position)
        return RoundState(
            task=row.task,
            round=row.round,
            phase=Phase(row.phase),
            parent_digest=row.parent_digest,
            seed_block=row.seed_block,
            reward=row.reward,
            changed_block=row.changed_block,
            eligible=tuple(StakedNode(m.node, m.stake or 0) for m in members if m.role == "eligible"),
            phases=tuple(
                PhaseStart(Phase(part.phase), part.started_unix_s)
                for part in sorted(self._of_round(RoundPhaseRow, row), key=lambda part: part.phase)
            ),
            context=row.context,
            deadline_unix_s=row.deadline_unix_s,
            seed=row.seed,
            aggregate_digest=row.aggregate_digest,
            proposers=tuple(m.node for m in members if m.role == "proposer"),
            voters=tuple(m.node for m in members if m.role == "voter"),
            proposer_groups=tuple(m.group_number or 0 for m in members if m.role == "proposer"),
            voter_groups=tuple(m.group_number or 0 for m in members if m.role == "voter"),
            proposals=tuple(
                ProposalState(
                    part.node,
                    part.adapter_digest,
                    part.report_digest,
                    Standing(part.standing),
                    part.median_improvement_micronats,
                    part.proven_invalid,
                )
                for part in self._of_round(ProposalRow, row)
            ),
            votes=tuple(
                VoteState(
                    part.node,
                    part.commitment,
                    None if part.scores_micronats is None else tuple(part.scores_micronats),
                )
                for part in self._of_round(VoteRow, row)
            ),
            attestations=tuple(
                AttestationState(part.node, part.aggregate_digest, part.score_micronats)
                for part in self._of_round(AttestationRow, row)
            ),
            rewards=tuple(RewardState(part.node, part.amount) for part in self._of_round(RewardRow, row)),
        )

    def _of_round(self, table: type[Part], row: RoundRow) -> list[Any]:
        """A round's rows of one table; those of nodes ascend by node."""
        return sorted(
            self._values_of(table, row), key=lambda part: _address_order(getattr(part, "node", "0x0"))
        )

    def _values_of(self, table: type[Part], row: RoundRow) -> list[Any]:
        """A round's rows of one table as plain tuples with names: objects take several times as long."""
        columns = _table(table).c
        query = select(*columns).where(columns.task == row.task, columns.round == row.round)
        return list(self._session.execute(query))


def _node_values(state: NodeState) -> Values:
    return {
        "node": state.node,
        "signer": state.signer,
        "group_number": state.group,
        "admitted": state.admitted,
        "stake": state.stake,
        "open_rounds": state.open_rounds,
        "pending_slashes": state.pending_slashes,
        "absences": state.absences,
        "earned": state.earned,
        "claimed": state.claimed,
        "withdrawn": state.withdrawn,
        "tasks_nonce": state.tasks_nonce,
        "registry_nonce": state.registry_nonce,
        "changed_block": state.changed_block,
    }


def _unbonding_rows(state: NodeState) -> Iterator[UnbondingRow]:
    for position, each in enumerate(state.unbonding):
        yield UnbondingRow(
            node=state.node, position=position, matures_unix_s=each.matures_unix_s, amount=each.amount
        )


def _node_state(row: Any, unbonding: Sequence[UnbondingEntry]) -> NodeState:
    return NodeState(
        node=row.node,
        signer=row.signer,
        group=row.group_number,
        admitted=row.admitted,
        stake=row.stake,
        unbonding=tuple(unbonding),
        open_rounds=row.open_rounds,
        pending_slashes=row.pending_slashes,
        absences=row.absences,
        earned=row.earned,
        claimed=row.claimed,
        withdrawn=row.withdrawn,
        tasks_nonce=row.tasks_nonce,
        registry_nonce=row.registry_nonce,
        changed_block=row.changed_block,
    )


def _members(state: RoundState) -> Iterator[Values]:
    for position, each in enumerate(state.eligible):
        yield _member("eligible", position, each.node, stake=each.stake)
    for position, (node, group) in enumerate(zip(state.proposers, state.proposer_groups, strict=True)):
        yield _member("proposer", position, node, group=group)
    for position, (node, group) in enumerate(zip(state.voters, state.voter_groups, strict=True)):
        yield _member("voter", position, node, group=group)


def _member(
    role: str, position: int, node: str, stake: int | None = None, group: int | None = None
) -> Values:
    return {"role": role, "position": position, "node": node, "stake": stake, "group_number": group}


def _phases(state: RoundState) -> Iterator[Values]:
    for start in state.phases:
        yield {"phase": int(start.phase), "started_unix_s": start.started_unix_s}


def _proposals(state: RoundState) -> Iterator[Values]:
    for proposal in state.proposals:
        yield {
            "node": proposal.node,
            "adapter_digest": proposal.adapter_digest,
            "report_digest": proposal.report_digest,
            "standing": int(proposal.standing),
            "median_improvement_micronats": proposal.median_improvement_micronats,
            "proven_invalid": proposal.proven_invalid,
        }


def _votes(state: RoundState) -> Iterator[Values]:
    for vote in state.votes:
        scores = None if vote.scores_micronats is None else list(vote.scores_micronats)
        yield {"node": vote.node, "commitment": vote.commitment, "scores_micronats": scores}


def _attestations(state: RoundState) -> Iterator[Values]:
    for attestation in state.attestations:
        yield {
            "node": attestation.node,
            "aggregate_digest": attestation.aggregate_digest,
            "score_micronats": attestation.score_micronats,
        }


def _rewards(state: RoundState) -> Iterator[Values]:
    for reward in state.rewards:
        yield {"node": reward.node, "amount": reward.amount}


_PARTS = (
    _Part(
        RoundMemberRow,
        ("role", "position"),
        lambda state: (
            state.eligible,
            state.proposers,
            state.voters,
            state.proposer_groups,
            state.voter_groups,
        ),
        _members,
    ),
    _Part(RoundPhaseRow, ("phase",), lambda state: state.phases, _phases),
    _Part(ProposalRow, ("node",), lambda state: state.proposals, _proposals),
    _Part(VoteRow, ("node",), lambda state: state.votes, _votes),
    _Part(AttestationRow, ("node",), lambda state: state.attestations, _attestations),
    _Part(RewardRow, ("node",), lambda state: state.rewards, _rewards),
)
"""What a round consists of."""


def _by_key(part: _Part, state: RoundState) -> dict[tuple[Any, ...], Values]:
    """A table's rows of a round, by what tells them apart within it."""
    of_round = {"task": state.task, "round": state.round}
    return {tuple(row[name] for name in part.key): {**of_round, **row} for row in part.rows(state)}


def _slash_state(row: SlashRow) -> SlashState:
    return SlashState(
        slash=row.slash,
        node=row.node,
        task=row.task,
        round=row.round,
        fault=Fault(row.fault),
        amount=row.amount,
        executable_unix_s=row.executable_unix_s,
        status=SlashStatus(row.status),
        changed_block=row.changed_block,
    )


def _changed(before: Mapping[Key, State], after: Mapping[Key, State]) -> list[Key]:
    """The keys whose value differs; nothing that was there ever goes."""
    return [key for key, state in after.items() if before.get(key) != state]


def _indexed(row: ChainEventRow) -> IndexedEvent:
    event: Event = _event_adapter(_EVENTS[row.kind]).validate_python(row.payload)
    return IndexedEvent(event, row.block_number, row.block_hash, row.transaction_hash, row.log_index)


def _event_adapter(kind: type[Event]) -> TypeAdapter[Any]:
    if kind not in _EVENT_ADAPTERS:
        _EVENT_ADAPTERS[kind] = TypeAdapter(kind)
    return _EVENT_ADAPTERS[kind]


def _address_order(address: str) -> int:
    return int(address, 16)
