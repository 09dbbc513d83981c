"""API tokens: 256 random bits, shown once, kept as a SHA-256 (a random token needs no slow hash).

A token has a role, ends, and may be narrowed to some operations. Nobody gets one with more rights than those
of whoever asks for it; the first ones are made on the hub's own machine.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.domain import permissions
from orchestrator.domain.credentials import NewToken, TokenRecord
from orchestrator.domain.errors import NotAllowed, NotFound, Unacceptable, Unauthenticated
from orchestrator.domain.identity import Principal, Role
from orchestrator.domain.pages import Key, Page
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.services.private_files import private_file
from orchestrator.services.together import Together

DEFAULT_LIFETIME_S = 90 * 86_400
LONGEST_LIFETIME_S = 366 * 86_400
BOOTSTRAP_ROLES: tuple[Role, ...] = ("admin", "conductor", "auditor")
_PREFIX = "collegium_"
_TOKEN_BYTES = 32
_MOST_AT_A_TIME = 100
"""Tokens that are looked up together."""


@dataclass(frozen=True)
class TokenRequest:
    """A token that somebody asks for. ``operations`` None: all that the role may do."""

    name: str
    role: Role
    node: str | None = None
    operations: frozenset[str] | None = None
    lasts_s: int = DEFAULT_LIFETIME_S


@dataclass(frozen=True)
class IssuedToken:
    """A token with its secret: the only time that anyone sees it."""

    record: TokenRecord
    secret: str

    def __repr__(self) -> str:
        return f"IssuedToken({self.record})"


@dataclass(frozen=True)
class TokenService:
    """Issues, checks, replaces and revokes tokens."""

    records: Records
    clock: Clock
    _shown: Together[str, Principal | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The dataclass is frozen for everybody else.
        object.__setattr__(self, "_shown", Together(self._authenticate_all, _MOST_AT_A_TIME))

    def issue(self, role: Role, name: str, expires_unix_s: int | None = None, node: str | None = None) -> str:
        """A new token's secret, for whoever holds the database itself."""
        lasts_s = DEFAULT_LIFETIME_S if expires_unix_s is None else expires_unix_s - self.clock.now_unix_s()
        request = TokenRequest(name, role, node, lasts_s=lasts_s)
        _require_sense(request)
        with self.records.write() as unit:
            return self._add(unit, request, issued_by="the hub").secret

    def create(self, caller: Principal, request: TokenRequest) -> IssuedToken:
        """A new token in the name of ``caller``.

        Raises:
            NotAllowed: it would have more rights than the caller, or outlive an operator's own token.
            Unacceptable: an operation does not exist or is not its role's; the node does not fit the role.
            Unauthenticated: the caller's own token was revoked or replaced meanwhile.
        """
        _require_sense(request)
        _require_within(caller, request.role, request.node, request.operations)
        _require_no_longer(caller, self.clock.now_unix_s() + request.lasts_s)
        with self.records.write() as unit:
            # What an operator makes after signing in with a key ends with that key too.
            signer = self._still(unit, caller).signer
            return self._add(unit, request, issued_by=caller.name, signer=signer)

    def list(self, caller: Principal, after: Key | None, limit: int) -> Page[TokenRecord]:
        """The tokens, oldest first; an operator's are those of its node."""
        number = 0 if after is None else int(after[0])
        node = caller.node if caller.role == "operator" else None
        with self.records.read() as unit:
            found = unit.tokens.after(number, limit + 1, node=node)
        return Page.of(found, limit, lambda token: (token.id,))

    def current(self, caller: Principal) -> TokenRecord:
        """The token that the caller showed. Raises NotFound when it was none."""
        with self.records.read() as unit:
            return _known(unit, caller.token)

    def rotate(self, caller: Principal, token: int) -> IssuedToken:
        """A new secret for a token, for as long again; the old one is worthless from now on.

        Raises:
            NotFound: there is no such token, or none that the caller may touch.
            NotAllowed: it has more rights than the caller or outlives an operator's own, or came from
                signing in.
            Unauthenticated: as ``create``.
        """
        secret, now_unix_s = _new_secret(), self.clock.now_unix_s()
        with self.records.write() as unit:
            self._still(unit, caller)
            record = _owned(unit, caller, token)
            if record.signer is not None:
                raise NotAllowed("this token came from signing in with a key: sign in again")
            lifetime_s = record.expires_unix_s - record.created_unix_s
            if record.id != caller.token:
                _require_within(caller, record.role, record.node, record.operations)
                _require_no_longer(caller, now_unix_s + lifetime_s)
            replaced = replace(record, created_unix_s=now_unix_s, expires_unix_s=now_unix_s + lifetime_s)
            unit.tokens.replace(replaced, _hash(secret))
        return IssuedToken(replaced, secret)

    def revoke(self, caller: Principal, token: int) -> None:
        """Make a token and its sessions worthless from now on. Raises NotFound, Unauthenticated."""
        with self.records.write() as unit:
            self._still(unit, caller)
            unit.tokens.remove(_owned(unit, caller, token).id)

    def authenticate(self, token: str) -> Principal | None:
        """Who holds the token; None when it is unknown, has expired, or its node has another signing key now.

        The lookup is by the hash of 256 random bits, so what its timing tells is of no use to a guesser.
        """
        return self._shown.ask(_hash(token))

    def _authenticate_all(self, token_hashes: Sequence[str]) -> Sequence[Principal | None]:
        now_unix_s = self.clock.now_unix_s()
        with self.records.read() as unit:
            records = unit.tokens.by_hashes(set(token_hashes))
            holders = {
                token_hash: _holder(record)
                for token_hash, record in records.items()
                if is_live(unit, record, now_unix_s)
            }
        return [holders.get(token_hash) for token_hash in token_hashes]

    def still_holds(self, principal: Principal) -> bool:
        """Whether the token that somebody showed is good still, with the same secret."""
        with self.records.read() as unit:
            return self._held(unit, principal) is not None

    def _held(self, unit: Unit, principal: Principal) -> TokenRecord | None:
        """The token that somebody showed; None when it is good no more."""
        record = None if principal.token is None else unit.tokens.by_id(principal.token)
        if record is None or record.expires_unix_s != principal.expires_unix_s:
            return None
        return record if is_live(unit, record, self.clock.now_unix_s()) else None

    def _still(self, unit: Unit, caller: Principal) -> TokenRecord:
        """The caller's token, looked at in the unit that changes tokens: one that was just revoked does not.

        Raises Unauthenticated.
        """
        record = self._held(unit, caller)
        if record is None:
            raise Unauthenticated("the token has expired, or was revoked or replaced")
        return record

    def issue_to_signer(self, node: str, signer: str, lasts_s: int) -> IssuedToken:
        """A token for the operator of a node whose signing key proved itself; it ends when that key does."""
        request = TokenRequest(f"operator of {node}", "operator", node, lasts_s=lasts_s)
        with self.records.write() as unit:
            return self._add(unit, request, issued_by="sign-in by key", signer=signer)

    def bootstrap(self, folder: Path) -> tuple[Path, ...]:
        """Write the first token of each role into a file that only its owner can read; the files.

        Run again, it makes new tokens and those of the run before are worthless.
        """
        files = []
        for role in BOOTSTRAP_ROLES:
            name = f"bootstrap-{role}"
            with self.records.write() as unit:
                unit.tokens.remove_named(name)
            with private_file(folder / role) as file:
                file.write(self.issue(role, name) + "\n")
            files.append(folder / role)
        return tuple(files)

    def _add(
        self, unit: Unit, request: TokenRequest, issued_by: str, signer: str | None = None
    ) -> IssuedToken:
        secret, now_unix_s = _new_secret(), self.clock.now_unix_s()
        new = NewToken(
            name=request.name,
            role=request.role,
            node=request.node,
            operations=request.operations,
            created_unix_s=now_unix_s,
            expires_unix_s=now_unix_s + request.lasts_s,
            issued_by=issued_by,
            signer=signer,
        )
        unit.tokens.remove_expired(now_unix_s)
        return IssuedToken(unit.tokens.add(new, _hash(secret)), secret)


def _holder(token: TokenRecord) -> Principal:
    return Principal(token.name, token.role, token.expires_unix_s, token.node, token.operations, token.id)


def is_live(unit: Unit, token: TokenRecord, now_unix_s: int) -> bool:
    """Whether a token has not ended, and the key that it was given to still signs for its node."""
    if now_unix_s >= token.expires_unix_s:
        return False
    if token.signer is None or token.node is None:
        return True
    node = unit.projection.node(token.node)
    return node is not None and node.signer == token.signer


def _known(unit: Unit, token: int | None) -> TokenRecord:
    record = None if token is None else unit.tokens.by_id(token)
    if record is None:
        raise NotFound(f"there is no token {token}")
    return record


def _owned(unit: Unit, caller: Principal, token: int) -> TokenRecord:
    record = _known(unit, token)
    is_of_its_node = caller.role == "operator" and record.node == caller.node
    if caller.role != "admin" and record.id != caller.token and not is_of_its_node:
        # In the same words as for a number that was never given: whose tokens there are is not told.
        raise NotFound(f"there is no token {token}")
    return record


def _require_within(
    caller: Principal, role: Role, node: str | None, operations: Iterable[str] | None
) -> None:
    """Raises NotAllowed unless such a token has no right that the caller lacks."""
    if caller.role != "admin" and (role != caller.role or node != caller.node):
        raise NotAllowed("you can make tokens of your own role and node only")
    if caller.role == "admin" and caller.operations is None:
        # Also of what only a network's operator may do, and an admin not.
        return
    wanted = permissions.operations_of(role) if operations is None else frozenset(operations)
    owned = permissions.operations_of(caller.role) if caller.operations is None else caller.operations
    if more := wanted - owned:
        raise NotAllowed(f"the token would have rights that yours has not: {', '.join(sorted(more))}")


def _require_no_longer(caller: Principal, ends_unix_s: int) -> None:
    """Raises NotAllowed when somebody who is no admin would get a token that outlives their own."""
    if caller.role != "admin" and ends_unix_s > caller.expires_unix_s:
        raise NotAllowed("a token that you make or replace ends with your own at the latest")


def _require_sense(request: TokenRequest) -> None:
    if (request.role == "operator") != (request.node is not None):
        raise Unacceptable("an operator's token names its node, and no other token names one")
    if request.lasts_s > LONGEST_LIFETIME_S:
        raise Unacceptable(f"a token lasts at most {LONGEST_LIFETIME_S} s")
    if request.operations is not None:
        unknown = request.operations - permissions.operations_of(request.role)
        if unknown or not request.operations:
            named = ", ".join(sorted(unknown)) or "none at all"
            raise Unacceptable(f"operations that the role {request.role} does not have: {named}")


def _new_secret() -> str:
    return _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
