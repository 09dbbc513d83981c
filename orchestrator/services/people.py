"""People who sign in by name and password: the admins for the day when the identity provider is down.

Passwords are kept as argon2id. After five wrong ones in a row a name waits, twice as long each time and a
quarter of an hour at most; what is said, and how long it takes, does not tell whether a name exists.
"""

import threading
from dataclasses import dataclass, field, replace
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from orchestrator.domain.credentials import UserRecord
from orchestrator.domain.errors import NotFound, Unacceptable, Unauthenticated, Unavailable
from orchestrator.domain.identity import Principal
from orchestrator.domain.pages import Key, Page
from orchestrator.domain.ports import Clock, Records, Unit
from orchestrator.services.sessions import SESSION_S

LEAST_PASSWORD_LENGTH = 14
MOST_PASSWORD_LENGTH = 200
FAILURES_BEFORE_WAITING = 5
LONGEST_WAIT_S = 900
_FIRST_WAIT_S = 30
_HASHES_AT_ONCE = 2
"""A hash takes 64 MiB: more at once would let strangers fill the memory."""
_WAIT_FOR_TURN_S = 10.0
_WRONG = "name or password is wrong, or was wrong too often: wait a while"


@dataclass(frozen=True)
class ProvenAdmin:
    """Somebody who has just shown an admin's password."""

    principal: Principal
    user: UserRecord

    def is_current(self, unit: Unit) -> bool:
        """Whether the admin is still there, with this password."""
        known = unit.users.by_name(self.user.name)
        return known is not None and known.password_hash == self.user.password_hash


@dataclass(frozen=True)
class PeopleService:
    """Sets passwords and checks them."""

    records: Records
    clock: Clock
    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_HASHES_AT_ONCE))

    def set_password(self, name: str, password: str) -> None:
        """Give an admin of that name a password; the person's sessions end.

        Raises:
            Unacceptable: it is too short, too long, or the name itself.
        """
        if not LEAST_PASSWORD_LENGTH <= len(password) <= MOST_PASSWORD_LENGTH:
            raise Unacceptable(f"a password has {LEAST_PASSWORD_LENGTH} to {MOST_PASSWORD_LENGTH} characters")
        if len(set(password)) < 6 or name.lower() in password.lower():
            raise Unacceptable("the password is easy to guess")
        password_hash = self.hasher.hash(password)
        with self.records.write() as unit:
            unit.users.save(UserRecord(name, password_hash))
            unit.sessions.remove_named(_session_name(name))

    def remove(self, name: str) -> None:
        """Forget a person; their sessions end. Raises NotFound."""
        with self.records.write() as unit:
            if not unit.users.remove(name):
                raise NotFound(f"there is no user {name}")
            unit.sessions.remove_named(_session_name(name))

    def list(self, after: Key | None, limit: int) -> Page[UserRecord]:
        """The admins with a password, by name."""
        with self.records.read() as unit:
            found = unit.users.after("" if after is None else str(after[0]), limit + 1)
        return Page.of(found, limit, lambda user: (user.name,))

    def authenticate(self, name: str, password: str) -> ProvenAdmin:
        """The admin of that name.

        Raises:
            Unauthenticated: wrong name, wrong password, or too many wrong ones before.
            Unavailable: too many people sign in at once.
        """
        now_unix_s = self.clock.now_unix_s()
        with self.records.read() as unit:
            # Nobody has a name with control characters, and not every database can be asked for one.
            user = unit.users.by_name(name) if name.isprintable() else None
        # Unknown and waiting names cost the same work as known ones.
        is_right = self._matches(_nobodys_hash() if user is None else user.password_hash, password)
        if user is None or now_unix_s < user.waits_until_unix_s or not is_right:
            self._note_failure(user, now_unix_s)
            raise Unauthenticated(_WRONG)
        principal = Principal(_session_name(name), "admin", now_unix_s + SESSION_S)
        return ProvenAdmin(principal, self._note_success(user, password, now_unix_s))

    def _matches(self, password_hash: str, password: str) -> bool:
        if not self._turns.acquire(timeout=_WAIT_FOR_TURN_S):
            raise Unavailable("too many people sign in at the same time; try again")
        try:
            return self.hasher.verify(password_hash, password[: MOST_PASSWORD_LENGTH + 1])
        except (VerifyMismatchError, InvalidHashError):
            return False
        finally:
            self._turns.release()

    def _note_success(self, user: UserRecord, password: str, now_unix_s: int) -> UserRecord:
        """Forget the failures. Raises Unauthenticated."""
        is_old = self.hasher.check_needs_rehash(user.password_hash)
        clean = UserRecord(user.name, self.hasher.hash(password) if is_old else user.password_hash)
        with self.records.write() as unit:
            # Read again: a hash takes a while, in which others may have removed the admin, set another
            # password, or been wrong too often.
            known = unit.users.by_name(user.name)
            if known is None or known.password_hash != user.password_hash:
                raise Unauthenticated(_WRONG)
            if now_unix_s < known.waits_until_unix_s:
                raise Unauthenticated(_WRONG)
            if known != clean:
                unit.users.save(clean)
        return clean

    def _note_failure(self, user: UserRecord | None, now_unix_s: int) -> None:
        if user is None or now_unix_s < user.waits_until_unix_s:
            return
        with self.records.write() as unit:
            # Read again: failures of the same moment must not be lost.
            current = unit.users.by_name(user.name)
            if current is None:
                return
            failures = current.failures + 1
            over = failures - FAILURES_BEFORE_WAITING
            wait_s = 0 if over < 0 else min(_FIRST_WAIT_S << min(over, 10), LONGEST_WAIT_S)
            unit.users.save(replace(current, failures=failures, waits_until_unix_s=now_unix_s + wait_s))


def _session_name(name: str) -> str:
    return f"{name} (password)"


@cache
def _nobodys_hash() -> str:
    return PasswordHasher().hash("nobody has this password")
