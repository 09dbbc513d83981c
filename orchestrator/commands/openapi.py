"""``collegium openapi``: the REST API's description as a file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.output import Answer, JsonOption, answering


@answering
def openapi(
    out: Annotated[Path, typer.Option(help="The file to write.")], as_json: JsonOption = False
) -> Answer:
    """Write the description of the REST API (OpenAPI 3.1); needs no database and no chain."""
    from orchestrator.app import describe_app

    text = json.dumps(describe_app(), indent=1, ensure_ascii=False) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    return Answer({"file": str(out)}, f"the API's description is in {out}")
