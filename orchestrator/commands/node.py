"""``collegium node …``: the consortium admin's commands; those of nodes' operators come from tier_global."""

from typing import Annotated, Any

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, JsonOption, answering
from orchestrator.commands.plugins import SharedGroup
from orchestrator.commands.waiting import TimeoutOption, mined, wait_for

node = typer.Typer(cls=SharedGroup, no_args_is_help=True, help="Networks' nodes.")


@node.command("admit")
@answering
def admit(
    name: Annotated[str, typer.Option(help="A display name.")],
    address: Annotated[str, typer.Option(help="The account that the node is known by for ever.")],
    group: Annotated[int, typer.Option(help="Shared by sister networks; not 0.")],
    url: UrlOption,
    token_file: TokenFileOption,
    signer: Annotated[str | None, typer.Option(help="Its signing key's address; else the account's.")] = None,
    timeout_s: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> Answer:
    """Admit a node on chain, and wait until it is (needs an admin's token)."""
    hub = HubClient(url, token_file)
    body = {"node": address, "signer": signer or address, "group": group, "name": name}
    intent = hub.post("/v1/nodes", body)

    def admitted() -> object | None:
        mined(hub, intent)
        return hub.find(f"/v1/nodes/{intent['node']}")

    wait_for(admitted, "the admission", timeout_s)
    return Answer({"node": intent["node"], "name": name}, f"{name} ({intent['node']}) is admitted")


@node.command("list")
@answering
def list_nodes(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the nodes with their stakes, and why one is not drawn."""
    items = HubClient(url, token_file).items("/v1/nodes")
    lines = [_line(item) for item in items]
    return Answer({"items": items}, "\n".join(lines) or "no node is admitted yet")


def _line(item: Any) -> str:
    line = f"{item['node']}  {item['name'] or '-'}  stake {item['stake']}"
    if not item["admitted"]:
        return f"{line}, dismissed"
    if item["stake"] != item["eligible_stake"]:
        return f"{line}, absent {item['absences']} times running"
    return line
