"""Commands of other packages, found by entry points and loaded only when they are used.

Group ``collegium.commands``; the name is the sub-command's, the value a Typer app. Where the hub has a group
of that name itself (``node``), the commands of both stand side by side.
"""

from importlib.metadata import EntryPoint, entry_points

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command

GROUP = "collegium.commands"


class PluginGroup(TyperGroup):
    """A group of commands that other packages may add to."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands; nothing is loaded for it."""
        return [*dict.fromkeys((*super().list_commands(ctx), *sorted(_entries())))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name, loaded where it comes from another package."""
        own = super().get_command(ctx, cmd_name)
        entry = _entries().get(cmd_name)
        if entry is None:
            return own
        if own is None:
            return _load(entry)
        return _joined(own, entry) if isinstance(own, click.Group) else own

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in the help; other packages' without loading them."""
        raise NotImplementedError


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(entry: EntryPoint) -> click.Command:
    app: typer.Typer = entry.load()
    command = get_command(app)
    command.name = entry.name
    return command
