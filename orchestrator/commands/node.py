"""``collegium node …``: the consortium admin's commands; those of nodes' operators come from tier_global."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.client import HubClient, TokenFileOption, UrlOption
from orchestrator.commands.output import Answer, JsonOption, answering, as_json_items
from orchestrator.commands.plugins import SharedGroup
from orchestrator.commands.waiting import TimeoutOption, mined, wait_for

if TYPE_CHECKING:
    from orchestrator.client.answers import Node

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
    api = HubClient(url, token_file).api
    intent = api.admit_node(address, signer=signer or address, group=group, name=name)

    def admitted() -> "Node | None":
        mined(api, intent)
        return api.node(intent.node or address)

    found = wait_for(admitted, "the admission", timeout_s).node
    return Answer({"node": found, "name": name}, f"{name} ({found}) is admitted")


@node.command("list")
@answering
def list_nodes(url: UrlOption, token_file: TokenFileOption, as_json: JsonOption = False) -> Answer:
    """List the nodes with their stakes, and why one is not drawn."""
    nodes = list(HubClient(url, token_file).api.nodes())
    words = "\n".join(map(_line, nodes)) or "no node is admitted yet"
    return Answer({"items": as_json_items(nodes)}, words)


def _line(node: "Node") -> str:
    line = f"{node.node}  {node.name or '-'}  stake {node.stake}"
    if not node.admitted:
        return f"{line}, dismissed"
    if node.stake != node.eligible_stake:
        return f"{line}, absent {node.absences} times running"
    return line
