"""``collegium users …``: admins with a password, for when single sign-on is down; on the hub's machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.hub import settings_or_error
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering

if TYPE_CHECKING:
    from orchestrator.services.people import PeopleService

users = typer.Typer(no_args_is_help=True, help="Admins with a password, for the day without single sign-on.")

NameOption = Annotated[str, typer.Option(help="Letters, digits, dots and dashes; 80 at most.")]


@users.command("set-password")
@answering
def set_password(
    name: NameOption,
    password_file: Annotated[
        Path | None, typer.Option(help="A private file with the password; else it is asked for.")
    ] = None,
    as_json: JsonOption = False,
) -> Answer:
    """Make an admin of that name, or replace the password."""
    import re

    from orchestrator.domain.errors import Unacceptable

    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,79}", name) is None:
        raise CommandError("that is no name", code="bad_name", exit_code=ExitCode.BAD_INPUT)
    password = _ask() if password_file is None else _read(password_file)
    try:
        with _at_work("set_password") as people:
            people.set_password(name, password)
    except Unacceptable as error:
        raise CommandError(str(error), code="weak_password", exit_code=ExitCode.BAD_INPUT) from error
    return Answer({"name": name}, f"{name} can sign in to the dashboard as an admin")


@users.command("remove")
@answering
def remove(name: NameOption, as_json: JsonOption = False) -> Answer:
    """Forget a person; their sessions end at once."""
    from orchestrator.domain.errors import NotFound

    try:
        with _at_work("remove_user") as people:
            people.remove(name)
    except NotFound as error:
        raise CommandError(str(error), code="not_found", exit_code=ExitCode.BAD_INPUT) from error
    return Answer({"name": name}, f"{name} cannot sign in any more")


@contextmanager
def _at_work(operation: str) -> "Iterator[PeopleService]":
    """The service, whose changes go into the audit log."""
    from orchestrator.composition import SystemClock, open_database
    from orchestrator.services.audit import AuditedRecords, attempt_here, attempting
    from orchestrator.services.people import PeopleService

    clock = SystemClock()
    with attempting(attempt_here(operation)):
        yield PeopleService(AuditedRecords(open_database(settings_or_error()), clock), clock)


def _ask() -> str:
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _read(file: Path) -> str:
    from orchestrator.services.private_files import PrivateFileError, read_private

    try:
        return read_private(file)
    except PrivateFileError as error:
        raise CommandError(str(error), code="bad_file", exit_code=ExitCode.BAD_INPUT) from error
