"""``collegium projection …``: hold the projection against the chain, build it again; on the hub's machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.hub import checked, require_schema, settings_or_error
from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering

if TYPE_CHECKING:
    from orchestrator.services.projection_repair import ProjectionRepair
    from orchestrator.settings import Settings

projection = typer.Typer(no_args_is_help=True, help="What the database knows of the chain.")

_HOLDER = "collegium projection rebuild"
_LONGEST_SWAP_S = 120


@projection.command("check")
@answering
def check(as_json: JsonOption = False) -> Answer:
    """Read the chain from the deployment's block on, and name the first row that says otherwise.

    The worker may run meanwhile. Exit code 1: a row differs.
    """
    from orchestrator.composition import SystemClock, open_database
    from orchestrator.services.audit import AuditedRecords, attempt_here, attempting

    settings = settings_or_error()
    with TemporaryDirectory() as folder, _repair(settings, Path(folder) / "replica.sqlite3") as repair:
        difference, last = repair.first_difference()
        clock, records = SystemClock(), open_database(settings)
        with attempting(attempt_here("check_projection")), AuditedRecords(records, clock).write() as unit:
            unit.note_change()
        records.close()
    if difference is not None:
        message = f"{difference.sentence}; `collegium projection rebuild` mends it"
        raise CommandError(message, code="projection_differs")
    return Answer({"block": last.number}, f"every row is what the chain says, up to block {last.number}")


@projection.command("rebuild")
@answering
def rebuild(
    scratch: Annotated[
        Path, typer.Option(help="A folder: what was read of the chain stays there until it is all.")
    ] = Path("."),
    as_json: JsonOption = False,
) -> Answer:
    """Build the projection again from the chain.

    The worker may run: it waits while the tables are replaced. Killed on the way, this leaves them as they
    were; started again, it goes on where it was.
    """
    from orchestrator.composition import SystemClock, open_database
    from orchestrator.services.audit import AuditedRecords, attempt_here, attempting
    from orchestrator.services.lease import LeaseLost, WorkerLease

    settings = settings_or_error()
    replica_file = scratch / _replica_name(settings)
    with _repair(settings, replica_file) as repair:
        clock, records = SystemClock(), open_database(settings)
        lease = WorkerLease(records, clock, _HOLDER, max(settings.lease_s, _LONGEST_SWAP_S))
        try:
            with attempting(attempt_here("rebuild_projection")):
                last = repair.rebuild(AuditedRecords(records, clock), lease)
        except LeaseLost as error:
            message = f"{error}; nothing was changed, start it again"
            raise CommandError(message, code=error.code, exit_code=ExitCode.REFUSED) from error
        finally:
            records.close()
    for file in scratch.glob(f"{replica_file.name}*"):
        file.unlink(missing_ok=True)
    return Answer({"block": last.number}, f"the projection is built again, up to block {last.number}")


@contextmanager
def _repair(settings: "Settings", replica_file: Path) -> "Iterator[ProjectionRepair]":
    """The service over the hub's database and a replica in a file."""
    from orchestrator.adapters.chain import open_endpoints, open_reader
    from orchestrator.adapters.database import open_records
    from orchestrator.adapters.database.migrate import migrate
    from orchestrator.composition import SystemClock, open_database
    from orchestrator.domain.chain import ChainError
    from orchestrator.domain.errors import OrchestratorError
    from orchestrator.services.projection_repair import ProjectionRepair, Replica

    require_schema(settings)
    deployment = checked(settings.deployment)
    reader = open_reader(open_endpoints(checked(settings.chain_rpc_urls)), deployment)
    replica_url = f"sqlite:///{replica_file.absolute()}"
    migrate(replica_url)
    records, replica = open_database(settings), open_records(replica_url)
    try:
        yield ProjectionRepair(
            records, Replica(replica, reader, SystemClock(), deployment.block, settings.confirmations)
        )
    except ChainError as error:
        raise CommandError(f"{error}; start it again", code="chain_error") from error
    except OrchestratorError as error:
        raise CommandError(str(error), code=error.code) from error
    finally:
        replica.close()
        records.close()


def _replica_name(settings: "Settings") -> str:
    """One for each chain, deployment and version: what another one read is not gone on with."""
    import hashlib
    from importlib.metadata import version

    told = f"{checked(settings.deployment).model_dump_json()} {settings.confirmations} {version('collegium')}"
    return f"projection-{hashlib.sha256(told.encode()).hexdigest()[:12]}.sqlite3"
