"""Which role may do what: the only place that says so.

Every operation of the API has one row; a route without a row cannot be made. ``docs/roles.md`` is written
from here, and a test tries every operation as every role.
"""

import sys

from orchestrator.domain.errors import NotAllowed
from orchestrator.domain.identity import ROLES, Principal, Role

_ALL: tuple[Role, ...] = ROLES
_ADMIN: tuple[Role, ...] = ("admin",)
_ROUNDS: tuple[Role, ...] = ("admin", "conductor")
_NODES: tuple[Role, ...] = ("admin", "operator", "conductor")
_PEOPLE: tuple[Role, ...] = ("admin", "operator", "auditor")

OPEN_OPERATIONS = frozenset({"health", "readiness", "create_challenge", "sign_in_node", "enrol"})
"""Operations that need no credential; an enrolment shows its invite, a sign-in its signature."""

ALLOWED: dict[str, tuple[Role, ...]] = {
    # What the chain has made public, and how the hub is doing.
    "describe": _ALL,
    "follow_events": _ALL,
    "get_artifact": _ALL,
    "get_intent": _ALL,
    "get_model": _ALL,
    "get_model_card": _ALL,
    "get_node": _ALL,
    "get_round": _ALL,
    "get_task": _ALL,
    "get_slash": _ALL,
    "list_approvals": _ALL,
    "list_evaluations": _ALL,
    "list_intents": _ALL,
    "list_models": _ALL,
    "list_nodes": _ALL,
    "list_proposals": _ALL,
    "list_reports": _ALL,
    "list_rewards": _ALL,
    "list_rounds": _ALL,
    "list_slashes": _ALL,
    "list_task_evaluations": _ALL,
    "list_tasks": _ALL,
    "list_votes": _ALL,
    "get_artifact_size": _ALL,
    # An adapter before the chain has made it public.
    "get_unpublished_artifact": _ROUNDS,
    # What nodes sign. An operator hands in for its own node only.
    "approve_task": _NODES,
    "revoke_task": _NODES,
    "claim_rewards": _NODES,
    "exit_stake": _NODES,
    "migrate_stake": _NODES,
    "return_node": _NODES,
    "rotate_signer": _NODES,
    "withdraw_stake": _NODES,
    # Rounds.
    "check_signature": _ROUNDS,
    "put_artifact": _ROUNDS,
    "propose": _ROUNDS,
    "commit": _ROUNDS,
    "reveal": _ROUNDS,
    "attest": _ROUNDS,
    # The council's and the consortium's business.
    "admit_node": _ADMIN,
    "create_task": _ADMIN,
    "pause_task": _ADMIN,
    "unpause_task": _ADMIN,
    "cancel_task": _ADMIN,
    "refund_task": _ADMIN,
    "record_evaluation": _ADMIN,
    "waive_slash": _ADMIN,
    "execute_slash": _ADMIN,
    # How networks come in.
    "invite_network": _ADMIN,
    "approve_enrolment": _ADMIN,
    "refuse_enrolment": _ADMIN,
    "get_enrolment": ("admin", "auditor"),
    "list_enrolments": ("admin", "auditor"),
    # What networks declare. Only a node's operator declares for it, and sees nobody else's.
    "declare_policy": ("operator",),
    "declare_sites": ("operator",),
    "get_policy": _PEOPLE,
    "list_policies": _PEOPLE,
    "list_sites": _PEOPLE,
    # The audit log.
    "list_audit_rows": ("admin", "auditor"),
    # People's sessions.
    "createDashboardTicket": _PEOPLE,
    "open_dashboard": _PEOPLE,
    "list_users": ("admin", "auditor"),
    "list_sessions": ("admin", "auditor"),
    "remove_user": _ADMIN,
    "end_session": _ADMIN,
    # How busy the hub is, and who is told of what happens.
    "get_metrics": _ALL,
    "create_webhook": _ADMIN,
    "list_webhooks": _ADMIN,
    "delete_webhook": _ADMIN,
    "list_deliveries": _ADMIN,
    "replay_delivery": _ADMIN,
    # Tokens. An operator sees and makes tokens of its own node only; whoever holds a token may see,
    # replace and revoke it.
    "get_current_token": _ALL,
    "rotate_token": _ALL,
    "revoke_token": _ALL,
    "revoke_current_token": _ALL,
    "list_tokens": ("admin", "operator", "auditor"),
    "create_token": ("admin", "operator"),
}


def roles_for(operation: str) -> tuple[Role, ...]:
    """The roles that an operation is for.

    Raises:
        LookupError: it has no row here, which is a mistake of whoever added it.
    """
    if operation not in ALLOWED:
        raise LookupError(f"the operation {operation} has no row in orchestrator/domain/permissions.py")
    return ALLOWED[operation]


def may(principal: Principal, operation: str) -> bool:
    """Whether the role allows the operation, and the credential was not narrowed to others."""
    if principal.operations is not None and operation not in principal.operations:
        return False
    return principal.role in roles_for(operation)


def require(principal: Principal, operation: str) -> None:
    """Raises NotAllowed, with a sentence that says what is needed, unless ``may``."""
    roles = roles_for(operation)
    if principal.role not in roles:
        needed = " or ".join(roles)
        raise NotAllowed(f"this needs the role {needed}; yours is {principal.role}")
    if not may(principal, operation):
        raise NotAllowed(f"this token was narrowed to other operations than {operation}")


def require_node(principal: Principal, node: str) -> None:
    """Raises NotAllowed when an operator acts for another network's node."""
    if principal.role == "operator" and principal.node != node:
        raise NotAllowed(f"you operate the node {principal.node}, not {node}")


def operations_of(role: Role) -> frozenset[str]:
    """All that a role may do."""
    return frozenset(operation for operation, roles in ALLOWED.items() if role in roles)


def roles_document() -> str:
    """``docs/roles.md``: a row per operation, a column per role."""
    head = ["| operation | " + " | ".join(ROLES) + " |", "|---|" + "---|" * len(ROLES)]
    rows = [
        f"| `{operation}` | " + " | ".join("yes" if role in roles else "" for role in ROLES) + " |"
        for operation, roles in ALLOWED.items()
    ]
    return "\n".join((_ABOUT.format(open=_quoted(OPEN_OPERATIONS)), *head, *rows)) + "\n"


def _quoted(operations: frozenset[str]) -> str:
    return ", ".join(f"`{operation}`" for operation in sorted(operations))


_ABOUT = """\
# Roles

Written by `make roles` from `orchestrator/domain/permissions.py`, which the API obeys; a test tries every
operation as every role. The API's description says what each operation does.

* **admin**: the consortium's admin.
* **operator**: runs one network's node. It hands in messages, sees tokens and sees sites of that node only.
* **auditor**: reads.
* **conductor**: the program that runs rounds. It reads adapters before the chain has made them public.

A token may be narrowed to some of its role's operations. Without a credential: {open}.
"""


if __name__ == "__main__":
    sys.stdout.write(roles_document())
