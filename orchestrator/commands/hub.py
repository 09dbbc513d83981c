"""Commands that run and set up the hub itself: serve, worker, migrate, deploy-contracts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from orchestrator.commands.output import Answer, CommandError, ExitCode, JsonOption, answering, reporting
from orchestrator.start_up import uncollected

if TYPE_CHECKING:
    from orchestrator.settings import Settings

_STOP_WITHIN_S = 2
_IDLE_CONNECTION_S = 15
_DEPLOY_TIMEOUT_S = 180.0


@reporting
def serve() -> None:
    """Serve the REST API and the dashboard (COLLEGIUM_HOST, COLLEGIUM_PORT)."""
    with uncollected():
        import uvicorn

        from orchestrator.app import create_app_from_environment

        settings = settings_or_error()
        _require_strength(settings)
        checked(settings.deployment)
        checked(settings.app_options)
        require_schema(settings)
        _allow_many_connections()
        app = create_app_from_environment()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        # The app sets up the log of the whole process.
        log_config=None,
        access_log=False,
        # Streams of events never end by themselves.
        timeout_graceful_shutdown=_STOP_WITHIN_S,
        server_header=False,
        ws="none",
        timeout_keep_alive=_IDLE_CONNECTION_S,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
    )


@reporting
def worker() -> None:
    """Follow the chain, relay what nodes signed, and keep rounds moving."""
    with uncollected():
        from orchestrator.worker import run

        settings = settings_or_error()
        _require_strength(settings)
        require_schema(settings)
    checked(lambda: run(settings))


@answering
def migrate(as_json: JsonOption = False) -> Answer:
    """Bring the database to the schema of this version."""
    from orchestrator.adapters.database.migrate import migrate as run_migrations

    revision = run_migrations(settings_or_error().database_url)
    return Answer({"revision": revision}, f"the database has revision {revision}")


@answering
def deploy_contracts(
    out: Annotated[Path, typer.Option(help="Where to write the deployment file.")],
    token: Annotated[
        str | None, typer.Option(help="An ERC-20 on the chain; without it, a test token is deployed.")
    ] = None,
    unbonding_s: Annotated[
        int | None,
        typer.Option(min=1, help="How long a stake that leaves may still be slashed; else 14 days."),
    ] = None,
    appeal_s: Annotated[
        int | None, typer.Option(min=0, help="How long the council may waive a slash; else 3 days.")
    ] = None,
    most_absences: Annotated[
        int | None, typer.Option(min=1, max=255, help="Absences in a row that stop draws; else 3.")
    ] = None,
    as_json: JsonOption = False,
) -> Answer:
    """Deploy the contracts; the council's account pays and owns them (COLLEGIUM_COUNCIL_KEY_FILE)."""
    from contracts.accounts import Account
    from orchestrator.adapters.chain.deploy import deploy
    from orchestrator.adapters.chain.keys import read_key
    from orchestrator.domain.chain import ChainError, StakeTerms

    settings = settings_or_error()
    rpc_url, key_file = checked(settings.chain_rpc_url), checked(settings.council_key)
    key = checked(lambda: read_key(key_file))
    council = Account.from_key(key).address
    usual = StakeTerms()
    terms = StakeTerms(
        unbonding_s=usual.unbonding_s if unbonding_s is None else unbonding_s,
        appeal_s=usual.appeal_s if appeal_s is None else appeal_s,
        most_absences=usual.most_absences if most_absences is None else most_absences,
    )
    try:
        deployment = deploy(rpc_url, key, council, token=token, terms=terms, timeout_s=_DEPLOY_TIMEOUT_S)
    except ChainError as error:
        raise CommandError(str(error), code="chain_error") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(deployment.to_json())
    return Answer(deployment.model_dump(), f"deployed; the addresses are in {out}")


def _allow_many_connections() -> None:
    """Use all the file descriptors that the system allows: every listener to the stream holds one."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


Result = TypeVar("Result")


def settings_or_error() -> "Settings":
    """The settings in the environment. Raises CommandError."""
    from orchestrator.settings import load_settings

    return checked(load_settings)


def _require_strength(settings: "Settings") -> None:
    from orchestrator.hardening import weaknesses

    if found := weaknesses(settings):
        message = "; ".join(found) + " (COLLEGIUM_MODE=development takes them all)"
        raise CommandError(message, code="weak_settings", exit_code=ExitCode.BAD_INPUT)


def require_schema(settings: "Settings") -> None:
    from orchestrator.adapters.database.revision import is_migrated

    if not is_migrated(settings.database_url):
        message = "the database does not have the schema of this version; run `collegium migrate`"
        raise CommandError(message, code="not_migrated", exit_code=ExitCode.BAD_INPUT)


def checked(work: Callable[[], Result]) -> Result:
    """Do some work whose errors are the operator's settings."""
    from contracts.errors import ContractViolation
    from orchestrator.adapters.chain.keys import ChainKeyError
    from orchestrator.settings import SettingsError

    try:
        return work()
    except (SettingsError, ContractViolation, ChainKeyError) as error:
        raise CommandError(str(error), code="bad_settings", exit_code=ExitCode.BAD_INPUT) from error
