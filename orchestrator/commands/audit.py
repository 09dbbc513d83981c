"""``collegium audit …``: take the audit log away, and find out whether anybody changed it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.client import HubClient
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering, say

if TYPE_CHECKING:
    from contracts.audit import AuditRow
    from contracts.audit_check import AnchoredEpoch

audit = typer.Typer(no_args_is_help=True, help="The audit log.")

_PAGE_ROWS = 1000
_MOST_LINE_BYTES = 1 << 16
_MOST_DEPLOYMENT_BYTES = 1 << 20

UrlOption = Annotated[
    str | None, typer.Option("--url", envvar="COLLEGIUM_URL", help="Where the orchestrator answers.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="COLLEGIUM_TOKEN_FILE", help="A file with an auditor's token."),
]
DatabaseOption = Annotated[
    bool, typer.Option("--from-database", help="Read the database of COLLEGIUM_DATABASE_URL itself.")
]


@audit.command("export")
@answering
def export(
    out: Annotated[Path, typer.Option(help="The file to write: JSONL, one row a line.")],
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    from_database: DatabaseOption = False,
    as_json: JsonOption = False,
) -> Answer:
    """Write the whole log into a file, which `collegium audit verify` reads anywhere."""
    count = 0
    partial = out.with_name(f"{out.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for row in _rows(None, url, token_file, from_database):
            file.write(f"{row.line()}\n")
            count += 1
    partial.replace(out)
    return Answer({"rows": count, "file": str(out)}, f"{count} rows are in {out}")


@audit.command("verify")
@answering
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export; else the hub is asked.")] = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    from_database: DatabaseOption = False,
    rpc_url: Annotated[
        str | None, typer.Option(envvar="COLLEGIUM_RPC_URL", help="The chain's JSON-RPC.")
    ] = None,
    deployment: Annotated[
        Path | None, typer.Option(envvar="COLLEGIUM_DEPLOYMENT_FILE", help="The deployment file.")
    ] = None,
    anchored_by: Annotated[
        list[str] | None,
        typer.Option(help="Who anchored the log; else the registry's owner. May be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> Answer:
    """Recompute every hash, and every root on chain; name each row that is not as it was written.

    Exit code: 0 all rows are as written, 1 something is not, 2 it cannot be checked. Without --rpc-url and
    --deployment the roots on chain are not looked at, and who rewrote the whole log is not found out.
    """
    from contracts.audit_check import check_log

    # The chain first: what is anchored meanwhile is of rows that a log read before would not have yet.
    epochs = (
        None if rpc_url is None or deployment is None else _epochs(rpc_url, deployment, anchored_by or [])
    )
    rows = list(_rows(file, url, token_file, from_database))
    found = check_log(rows, epochs or ())
    for tampering in found:
        say(f"{tampering.kind}: {tampering.sentence}")
    if found:
        more = f", and {len(found) - 1} more findings" if len(found) > 1 else ""
        raise CommandError(f"{found[0].sentence}{more}", code="tampered", exit_code=ExitCode.FAILED)
    if epochs is None:
        return Answer(
            {"rows": len(rows), "anchored_rows": None},
            f"{len(rows)} rows follow one another; whether they are those anchored on chain was not checked",
        )
    anchored = sum(epoch.last - epoch.first + 1 for epoch in epochs)
    return Answer(
        {"rows": len(rows), "epochs": len(epochs), "anchored_rows": anchored},
        f"{len(rows)} rows follow one another; {anchored} of them, in {len(epochs)} epochs, are as on chain",
    )


def _rows(
    file: Path | None, url: str | None, token_file: Path | None, from_database: bool
) -> Iterator["AuditRow"]:
    if file is not None:
        return _of_file(file)
    if from_database:
        return _of_database()
    if url is None or token_file is None:
        message = "say where the log is: a file, --from-database, or --url and --token-file"
        raise CommandError(message, code="no_log", exit_code=ExitCode.BAD_INPUT)
    return _of_hub(HubClient(url, token_file))


def _of_file(file: Path) -> Iterator["AuditRow"]:
    from contracts.audit import AuditRow, InvalidAuditRow

    number = 0
    try:
        with file.open("rb") as opened:
            while line := opened.readline(_MOST_LINE_BYTES):
                number += 1
                yield AuditRow.parse(line)
    except OSError as error:
        raise CommandError(
            f"{file}: {error.strerror}", code="no_log", exit_code=ExitCode.BAD_INPUT
        ) from error
    except InvalidAuditRow as error:
        message = f"edited: line {number} of {file} is no row of an audit log: {error}"
        raise CommandError(message, code="tampered", exit_code=ExitCode.FAILED) from error


def _of_database() -> Iterator["AuditRow"]:
    from orchestrator.composition import open_database
    from orchestrator.settings import SettingsError, load_settings

    try:
        records = open_database(load_settings())
    except SettingsError as error:
        raise CommandError(str(error), code="bad_settings", exit_code=ExitCode.BAD_INPUT) from error
    try:
        with records.read() as unit:
            newest = unit.audit.last()
            yield from unit.audit.rows(0, 0 if newest is None else newest.number)
    finally:
        records.close()


def _of_hub(hub: HubClient) -> Iterator["AuditRow"]:
    from contracts.audit import AuditRow

    after: int | None = 0
    while after is not None:
        page = hub.get(f"/v1/audit?after={after}&limit={_PAGE_ROWS}")
        yield from (AuditRow.model_construct(**item) for item in page["items"])
        after = page["next"]


def _epochs(rpc_url: str, deployment: Path, anchored_by: list[str]) -> tuple["AnchoredEpoch", ...]:
    from eth_utils.address import is_address

    from contracts.deployment import Deployment
    from contracts.errors import ContractViolation
    from contracts.verify.anchors import read_anchors
    from contracts.verify.errors import CannotVerify

    wrong = [sender for sender in anchored_by if not is_address(sender)]
    if wrong:
        message = f"--anchored-by {wrong[0]} is no address"
        raise CommandError(message, code="bad_address", exit_code=ExitCode.BAD_INPUT)
    try:
        with deployment.open("rb") as file:
            where = Deployment.parse(file.read(_MOST_DEPLOYMENT_BYTES))
        return read_anchors(rpc_url, where, anchored_by)
    except OSError as error:
        message = f"{deployment}: {error.strerror}"
        raise CommandError(message, code="no_deployment", exit_code=ExitCode.BAD_INPUT) from error
    except (CannotVerify, ContractViolation) as error:
        raise CommandError(str(error), code="no_verdict", exit_code=ExitCode.BAD_INPUT) from error
