"""``collegium local …``: what a hospital's operator types at the site."""

import typer

from tier_local.policy_cli import egress_app, policy_app

app = typer.Typer(
    help="A hospital's site: its policy and what left it.", add_completion=False, no_args_is_help=True
)
app.add_typer(policy_app, name="policy")
app.add_typer(egress_app, name="egress")
