"""``collegium artifacts …``: files to and from the hub, and what nothing names removed."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.hub import record_here, settings_or_error
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering

artifacts = typer.Typer(no_args_is_help=True, help="Artifacts: adapters, reports and specs by their digest.")


@artifacts.command("put")
@answering
def put(
    file: Annotated[Path, typer.Option(help="The file to store.")],
    url: UrlOption,
    token_file: TokenFileOption,
    as_json: JsonOption = False,
) -> Answer:
    """Store a file under its digest; an upload that broke off goes on where it stopped."""
    import hashlib

    try:
        with file.open("rb") as opened:
            digest = "0x" + hashlib.file_digest(opened, "sha256").hexdigest()
        HubClient(url, token_file).api.upload(digest, file)
    except OSError as error:
        raise _bad_file(file, error) from error
    return Answer({"digest": digest}, f"{file} is stored as {digest}")


@artifacts.command("get")
@answering
def get(
    digest: Annotated[str, typer.Option(help="The artifact's digest.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    url: UrlOption,
    token_file: TokenFileOption,
    as_json: JsonOption = False,
) -> Answer:
    """Write an artifact to a file, which appears when it is whole and has the digest."""
    try:
        HubClient(url, token_file).api.download(digest, out)
    except OSError as error:
        raise _bad_file(out, error) from error
    return Answer({"digest": digest, "file": str(out)}, f"{digest} is in {out}")


@artifacts.command("sweep")
@answering
def sweep(
    only_look: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
    as_json: JsonOption = False,
) -> Answer:
    """Remove what nothing names and nobody has put for long, on the hub's own machine, as the worker does."""
    from orchestrator.composition import SystemClock, open_database, open_retention
    from orchestrator.services.retention import ChainNotCurrent

    settings = settings_or_error()
    retention = open_retention(settings, open_database(settings), SystemClock())
    if retention is None:
        words = "everything is kept: COLLEGIUM_ARTIFACT_RETENTION_DAYS is 0"
        return Answer({"removed": [], "freed_bytes": 0, "only_looked": only_look}, words)
    try:
        swept = retention.sweep(only_look=only_look)
    except ChainNotCurrent as error:
        raise CommandError(str(error), code=error.code, exit_code=ExitCode.REFUSED) from error
    digests = [each.digest for each in swept.artifacts]
    if digests and not only_look:
        record_here(settings, "sweep_artifacts")
    verb = "would be removed" if only_look else "are removed"
    words = f"{len(digests)} artifacts of {swept.freed_bytes} bytes {verb}"
    return Answer({"removed": digests, "freed_bytes": swept.freed_bytes, "only_looked": only_look}, words)


def _bad_file(file: Path, error: OSError) -> CommandError:
    message = f"{file}: {error.strerror or error}"
    return CommandError(message, code="bad_file", exit_code=ExitCode.BAD_INPUT)
