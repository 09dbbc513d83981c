"""Holds the books that the events add up to against what the contracts' views say."""

from contracts import settlement
from contracts.verify.books import Books
from contracts.verify.claims import Claims
from contracts.verify.facts import PoolView, SlashStatus, SlashView, TaskFacts


def close_books(books: Books, facts: TaskFacts, claims: Claims) -> None:
    """Compare what the events come to with what the views say."""
    view, task = facts.view, books.tasks[facts.task]
    claims.add("the task's configuration", task.config, view.config)
    claims.add("the task's approved nodes", settlement.ascending(list(task.approved)), view.approved)
    claims.add("the number of requested rounds", task.requested, view.rounds_requested)
    claims.add("the number of closed rounds", task.closed, view.rounds_closed)
    money = PoolView(
        pool=task.pool,
        open_reward=task.open_reward,
        contributed=task.contributed,
        refunded=task.refunded,
        is_paused=task.is_paused,
        is_cancelled=task.is_cancelled,
        is_over=task.is_over,
    )
    for name in PoolView.__dataclass_fields__:
        fact = f"the task's {name.removeprefix('is_').replace('_', ' ')}"
        claims.add(fact, getattr(money, name), getattr(view.money, name))
    for other in books.tasks.values():
        claims.add("ends of a task that no event names", 0, other.ends_due)
    claims.add("executed slashes that reached no pool", (), tuple(books.due_top_ups))
    for funder in task.contributions:
        found = facts.refundable.get(funder)
        claims.add("what may be refunded", task.refundable(funder), found, node=funder)
    for address in settlement.ascending(list(books.nodes)):
        _close_node(address, books, facts, claims)
    _close_slashes(books, facts, claims)
    _close_holdings(books, facts, claims)


def _close_node(address: str, books: Books, facts: TaskFacts, claims: Claims) -> None:
    node, shown = books.nodes[address], facts.nodes.get(address)
    claims.add("whether a node is shown", True, shown is not None, node=address)
    if shown is None:
        return
    view = shown.view
    expected: tuple[tuple[str, object, object], ...] = (
        ("the account", address, view.node),
        ("the signing key", node.signer, view.signer),
        ("the group", node.group, view.group),
        ("whether the council admits the node", node.is_admitted, view.admitted),
        ("the stake", node.stake, view.stake),
        ("the stake that counts", books.eligible_stake(address), view.eligible_stake),
        ("what is leaving the stake", tuple(node.unbonding), shown.unbonding),
        ("the sum of what is leaving the stake", sum(u.amount for u in node.unbonding), view.unbonding),
        ("the open rounds", node.open_rounds, view.open_rounds),
        ("the pending slashes", books.pending_slashes(address), view.pending_slashes),
        ("the absences in a row", node.absences, view.absences),
        ("what may be claimed: rewards less claims", books.owed.get(address, 0), shown.claimable),
    )
    for fact, value, found in expected:
        claims.add(fact, value, found, node=address)


def _close_slashes(books: Books, facts: TaskFacts, claims: Claims) -> None:
    claims.add("the number of slashes", len(books.slashes), facts.slash_count)
    for slash, shown in zip(books.slashes, facts.slashes, strict=False):
        expected = SlashView(
            node=slash.node,
            task=slash.task,
            round=slash.round,
            fault=slash.fault,
            status=slash.status,
            executable_unix_s=slash.executable_unix_s,
            amount=slash.amount,
        )
        claims.add("a slash", expected, shown, node=slash.node)


def _close_holdings(books: Books, facts: TaskFacts, claims: Claims) -> None:
    pending = sum(slash.amount for slash in books.slashes if slash.status is SlashStatus.PENDING)
    stakes = sum(node.stake + sum(u.amount for u in node.unbonding) for node in books.nodes.values())
    pools = sum(task.pool + task.open_reward for task in books.tasks.values())
    owed = {"Registry": stakes + pending, "Tasks": pools + sum(books.owed.values())}
    for holdings in facts.holdings:
        contract = holdings.contract
        claims.add(f"what the {contract} contract owes", owed.get(contract), holdings.owed)
        covers = holdings.held >= holdings.owed
        claims.add(f"whether the {contract} contract's tokens cover what it owes", True, covers)
