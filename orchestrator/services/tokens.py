"""API tokens: 256 random bits, shown once, kept as a SHA-256 (a random token needs no slow hash)."""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.ports import Clock, Records, Role

_PREFIX = "collegium_"
_TOKEN_BYTES = 32
BOOTSTRAP_ROLES: tuple[Role, ...] = ("admin", "conductor", "reader")


@dataclass(frozen=True)
class Principal:
    """Who asks: a token's name and role, and when the token ends (None: never)."""

    name: str
    role: Role
    expires_unix_s: int | None = None

    def may(self, *roles: Role) -> bool:
        """Whether one of the roles allows it; an admin may all."""
        return self.role == "admin" or self.role in roles


@dataclass(frozen=True)
class TokenService:
    """Issues, checks and revokes tokens."""

    records: Records
    clock: Clock

    def issue(self, role: Role, name: str, expires_unix_s: int | None = None) -> str:
        """A new token; this is the only time that anyone sees it."""
        token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        with self.records.write() as unit:
            unit.tokens.add(name, role, _hash(token), expires_unix_s)
        return token

    def authenticate(self, token: str) -> Principal | None:
        """Who holds the token; None when it is unknown or has expired.

        The lookup is by the hash of 256 random bits, so what its timing tells is of no use to a guesser.
        """
        with self.records.read() as unit:
            record = unit.tokens.by_hash(_hash(token))
        if record is None:
            return None
        if record.expires_unix_s is not None and self.clock.now_unix_s() >= record.expires_unix_s:
            return None
        return Principal(record.name, record.role, record.expires_unix_s)

    def revoke(self, token: str) -> None:
        """Make a token worthless; nothing happens when it is none."""
        with self.records.write() as unit:
            unit.tokens.remove(_hash(token))

    def bootstrap(self, folder: Path) -> tuple[Path, ...]:
        """Write the first token of each role into a file that only its owner can read; the files.

        Run again, it makes new tokens and those of the run before are worthless.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = []
        for role in BOOTSTRAP_ROLES:
            name = f"bootstrap-{role}"
            with self.records.write() as unit:
                unit.tokens.remove_named(name)
            files.append(_write_private(folder / role, self.issue(role, name)))
        return tuple(files)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _write_private(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    return path
