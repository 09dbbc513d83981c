"""The ``collegium`` command; other packages add theirs by entry points (``commands.plugins``)."""

import typer

from orchestrator.commands import (
    artifacts,
    audit,
    dashboard,
    enrolment,
    hub,
    node,
    openapi,
    projection,
    rounds,
    slash,
    task,
    tokens,
    users,
    webhooks,
)
from orchestrator.commands.plugins import RootGroup

app = typer.Typer(
    name="collegium",
    cls=RootGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Federated fine-tuning among hospital networks that do not trust one central party.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 refused or not allowed, 4 timed out.",
)

app.command("serve")(hub.serve)
app.command("worker")(hub.worker)
app.command("migrate")(hub.migrate)
app.command("openapi")(openapi.openapi)
app.command("deploy-contracts")(hub.deploy_contracts)
app.command("dashboard-link")(dashboard.dashboard_link)
app.add_typer(tokens.tokens, name="tokens")
app.add_typer(artifacts.artifacts, name="artifacts")
app.add_typer(users.users, name="users")
app.add_typer(audit.audit, name="audit")
app.add_typer(projection.projection, name="projection")
app.add_typer(enrolment.enrolment, name="enrolment")
app.add_typer(node.node, name="node")
app.add_typer(task.task, name="task")
app.add_typer(rounds.rounds, name="rounds")
app.add_typer(slash.slash, name="slash")
app.add_typer(webhooks.webhooks, name="webhooks")


def main() -> None:
    """Run the command line."""
    app()
