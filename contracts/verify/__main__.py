"""``python -m contracts.verify``: the same as ``collegium verify``."""

from contracts.verify.cli import app

app(prog_name="python -m contracts.verify")
