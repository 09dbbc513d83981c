"""Commands of other packages, found by entry points and loaded only when they are used.

Group ``collegium.commands``; the name is the sub-command's, the value a Typer app. Where the hub has a group
of that name itself (``node``), the commands of both stand side by side, the hub's own first.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command

from orchestrator.commands.output import ExitCode

GROUP = "collegium.commands"


class RootGroup(TyperGroup):
    """The ``collegium`` command: its own sub-commands, then those of other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all sub-commands."""
        return [*dict.fromkeys((*super().list_commands(ctx), *sorted(_entries())))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command by name."""
        own = super().get_command(ctx, cmd_name)
        entry = _entries().get(cmd_name)
        if own is not None or entry is None:
            return own
        return _LazyCommand(entry)


class SharedGroup(TyperGroup):
    """A group of the hub that another package may add to, by an entry of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all sub-commands."""
        other = self._other()
        added = [] if other is None else other.list_commands(ctx)
        return [*dict.fromkeys((*super().list_commands(ctx), *added))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command by name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        other = self._other()
        return None if other is None else other.get_command(ctx, cmd_name)

    def _other(self) -> click.Group | None:
        entry = _entries().get(self.name or "")
        if entry is None:
            return None
        command = _load(entry)
        return command if isinstance(command, click.Group) else None


class _LazyCommand(click.Command):
    """Stands for a command in lists; the command itself takes over when it is called."""

    def __init__(self, entry: EntryPoint) -> None:
        super().__init__(entry.name, help=_help(entry))
        self._entry = entry

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the command itself."""
        return _load(self._entry).make_context(info_name, args, parent, **extra)


def _help(entry: EntryPoint) -> str:
    return f"See `collegium {entry.name} --help` (package {entry.module.partition('.')[0]})."


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(entry: EntryPoint) -> click.Command:
    try:
        app: typer.Typer = entry.load()
    except ImportError as error:
        typer.echo(f"error: `{entry.name}` needs a package that is not installed: {error}", err=True)
        raise typer.Exit(ExitCode.FAILED) from error
    return get_command(app)
