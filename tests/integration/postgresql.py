"""A real PostgreSQL of Debian's package in a temporary folder, reached over a unix socket, stopped by its own
process id. The server refuses root, so as root it runs as another user.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

START_TIMEOUT_S = 60.0
SUPERUSER = "collegium"
_INSTALLED = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")
# The disk is not waited for: tests kill processes, they do not pull the machine's plug.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "32MB",
}


class PostgresqlMissing(Exception):
    """There are no server binaries on this machine."""


@dataclass
class PostgresqlServer:
    """A running server; every database in it belongs to the superuser, who needs no password."""

    folder: Path
    binaries: Path
    user: int | None
    """Whom the server runs as; None: whoever runs the tests."""
    process: "subprocess.Popen[bytes] | None" = None
    _names: int = field(default=0)

    def url(self, database: str) -> str:
        """A database's URL, as SQLAlchemy writes it."""
        return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={self.folder}"

    def create_database(self, template: str = "template0") -> str:
        """A new database's name."""
        self._names += 1
        name = f"test_{self._names}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> list[Any]:
        """The rows that a statement answers, run outside of any test's database."""
        with psycopg.connect(
            host=str(self.folder), user=SUPERUSER, dbname="postgres", autocommit=True
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command: list[str | Path] = [self.binaries / "postgres", "-D", self.folder / "data"]
        command += ["-k", str(self.folder)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not self._starts(command):
            # After a kill, what the server left running holds its memory for a moment.
            assert time.monotonic() < give_up_s, (self.folder / "log").read_text()

    def kill(self) -> None:
        """End the server at once, as a crash would; ``start`` starts it again."""
        assert self.process is not None, "it runs"
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop the server in order, whoever is still connected."""
        assert self.process is not None, "it runs"
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=START_TIMEOUT_S)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of the package's programs to its end."""
        done = subprocess.run(
            [self.binaries / program, *arguments],
            cwd=self.folder,
            user=self.user,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def _starts(self, command: list[str | Path]) -> bool:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, user=self.user, stdout=log, stderr=log, process_group=0
            )
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while self.process.poll() is None:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < give_up_s, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return True
        return False


@contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """Make a cluster in a temporary folder and run it; raises PostgresqlMissing."""
    binaries, user = _binaries(), _server_user()
    # Not one of pytest's folders: those may be entered by their owner alone, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="collegium-postgresql-"))
    server = PostgresqlServer(folder, binaries, user)
    try:
        if user is not None:
            os.chown(folder, user, -1)
        server.run(
            *("initdb", "--pgdata", folder / "data", "--username", SUPERUSER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
            # Sorts text otherwise than SQLite does: nothing may depend on that.
            *("--locale-provider", "icu", "--icu-locale", "en-US"),
        )
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()
        shutil.rmtree(folder)


def _binaries() -> Path:
    found = [path.parent for path in _INSTALLED.glob("*/bin/initdb")]
    if not found:
        raise PostgresqlMissing(f"no */bin/initdb under {_INSTALLED}: install Debian's package postgresql")
    return max(found, key=lambda path: int(path.parent.name))


def _server_user() -> int | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return next(known[name] for name in _UNPRIVILEGED if name in known)
