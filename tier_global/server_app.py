"""The Flower ServerApp: one run conducts one round, named by ``task`` and ``round`` of its configuration."""

import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from contracts.deployment import Deployment
from tier_global.clock import SystemClock
from tier_global.conductor import Conductor
from tier_global.connection_book import ConnectionBookFile
from tier_global.errors import SetupError
from tier_global.flower_mailbox import FlowerMailbox
from tier_global.hub import HttpHub
from tier_global.journal import JournalFile, NoJournal
from tier_global.logs import show_logs

URL_VARIABLE = "COLLEGIUM_ORCHESTRATOR_URL"
TOKEN_VARIABLE = "COLLEGIUM_CONDUCTOR_TOKEN_FILE"
DEPLOYMENT_VARIABLE = "COLLEGIUM_DEPLOYMENT_FILE"
JOURNAL_VARIABLE = "COLLEGIUM_CONDUCTOR_JOURNAL"
REGISTERED_VARIABLE = "COLLEGIUM_REGISTERED_NODES_ONLY"
"""1 where the SuperLink authenticates nodes: each counts only as whom its Flower key is registered for."""

app = ServerApp()


@app.main()
def conduct(grid: Grid, context: Context) -> None:
    """Conduct the round that the run configuration names."""
    show_logs()
    journal = os.environ.get(JOURNAL_VARIABLE)
    Conductor(
        _number(context, "task"),
        _number(context, "round"),
        hub=HttpHub(_variable(URL_VARIABLE), _file(TOKEN_VARIABLE).decode().strip()),
        mailbox=FlowerMailbox(grid),
        domain=Deployment.parse(_file(DEPLOYMENT_VARIABLE)).rounds_domain,
        clock=SystemClock(),
        journal=JournalFile(Path(journal)) if journal else NoJournal(),
        book=ConnectionBookFile(_flower_home() / "collegium-connections.json"),
        registered_only=_flag(REGISTERED_VARIABLE),
    ).run()


def _flower_home() -> Path:
    return Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr")


def _number(context: Context, key: str) -> int:
    value = context.run_config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SetupError(f"the run configuration names no {key}: flwr run … --run-config '{key}=1'")
    return value


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SetupError(f"the environment of the SuperLink has no {name}")
    return value


def _flag(name: str) -> bool:
    value = os.environ.get(name, "0")
    if value not in ("0", "1"):
        raise SetupError(f"{name} is neither 0 nor 1")
    return value == "1"


def _file(name: str) -> bytes:
    path = Path(_variable(name))
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"{name} names {path}, which cannot be read: {error.strerror}") from error
