"""What a network says outside rounds: ``collegium node approve``, ``revoke``, ``return``, ``rotate``….

Each command reads the node's own view of the chain, signs, and hands the message to the orchestrator, which
relays it; nobody needs gas for that. None waits for the chain: ``collegium node status`` shows the outcome.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tier_global.output import ConfigOption, ExitCode, JsonOption, fail, finish

if TYPE_CHECKING:
    from tier_global.membership import Member
    from tier_global.node_config import NodeConfig

_DAY_S = 86_400

TaskOption = Annotated[int, typer.Option("--task", min=1, help="The task's number on chain.")]
UrlOption = Annotated[
    str, typer.Option("--orchestrator-url", envvar="COLLEGIUM_ORCHESTRATOR_URL", help="The orchestrator.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="COLLEGIUM_TOKEN_FILE",
        help="A file with an operator's token; without it, the node signs in with its key.",
    ),
]
ExpiryOption = Annotated[
    int, typer.Option("--expires-in-s", min=60, help="How long the signature may be relayed.")
]
OwnerKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--owner-key-file",
        help="The key of the account that was admitted, if it is another than the signing key.",
    ),
]


def login(
    config: ConfigOption,
    orchestrator_url: UrlOption,
    out: Annotated[Path, typer.Option(help="The file that the token is written to; only you can read it.")],
    as_json: JsonOption = False,
) -> None:
    """Sign in with the node's key, for a token of its operator that lasts an hour."""
    with _errors_as_sentences(as_json):
        from tier_global.keys import write_private
        from tier_global.node_config import NodeConfig

        settings = NodeConfig.load(config)
        write_private(out, _signed_in(settings, orchestrator_url))
    finish({"node": settings.address, "file": str(out)}, f"an operator's token is in {out}", as_json)


def approve(
    config: ConfigOption,
    task: TaskOption,
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    expires_in_s: ExpiryOption = _DAY_S,
    as_json: JsonOption = False,
) -> None:
    """Read the task's spec, check it against the chain, and sign and hand in an approval under the policy."""
    from tier_global.membership import signing_key
    from tier_global.node_process import inner_of

    with _member(config, orchestrator_url, token_file, as_json) as (member, settings):
        policy = inner_of(settings).network_policy()
        approval, spec = member.approve(task, policy, signing_key(settings), _expiry_unix_s(expires_in_s))
    finish(
        {
            "task": task,
            "name": spec.name,
            "policy": policy.model_dump(mode="json", by_alias=True),
            **approval.model_dump(mode="json"),
        },
        f"{approval.node} approves task {task} ({spec.name}, {approval.spec_digest})",
        as_json,
    )


def revoke(
    config: ConfigOption,
    task: TaskOption,
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    expires_in_s: ExpiryOption = _DAY_S,
    as_json: JsonOption = False,
) -> None:
    """Take the approval of a task back: from its next round on, the node is not drawn any more."""
    from tier_global.membership import signing_key

    with _member(config, orchestrator_url, token_file, as_json) as (member, settings):
        message = member.revoke(task, signing_key(settings), _expiry_unix_s(expires_in_s))
    words = f"{message.node} takes its approval of task {task} back, from the next round on"
    finish(message.model_dump(mode="json"), words, as_json)


def come_back(
    config: ConfigOption,
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    expires_in_s: ExpiryOption = _DAY_S,
    as_json: JsonOption = False,
) -> None:
    """Say that the node is back, after too many absences kept it out of draws."""
    from tier_global.membership import signing_key

    with _member(config, orchestrator_url, token_file, as_json) as (member, settings):
        message = member.come_back(signing_key(settings), _expiry_unix_s(expires_in_s))
    finish(message.model_dump(mode="json"), f"{message.node} says that it is back", as_json)


def rotate(
    config: ConfigOption,
    new_key_file: Annotated[
        Path, typer.Option(help="The new signing key's file; a key is made in it if it is not there.")
    ],
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    owner_key_file: OwnerKeyOption = None,
    expires_in_s: ExpiryOption = _DAY_S,
    as_json: JsonOption = False,
) -> None:
    """Replace the signing key, in the name of the node's own account."""
    from tier_global.keys import create_key, read_key
    from tier_global.membership import owner_key

    with _member(config, orchestrator_url, token_file, as_json) as (member, settings):
        owner = owner_key(settings, owner_key_file)
        new_key = read_key(new_key_file) if new_key_file.exists() else create_key(new_key_file)
        message = member.rotate(new_key.address, owner, _expiry_unix_s(expires_in_s))
    finish(
        {**message.model_dump(mode="json"), "key_file": str(new_key_file)},
        f"{message.signer} becomes the signing key of {message.node}; when the chain knows it "
        f"(collegium node status), set key_file in {config} to {new_key_file.resolve()} and start the node "
        "again. Keep the account's own key: it signs for the node's money and keys for ever",
        as_json,
    )


def leave(
    config: ConfigOption,
    amount: Annotated[int, typer.Option(min=1, help="Base units of the token to take out of the stake.")],
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    owner_key_file: OwnerKeyOption = None,
    expires_in_s: ExpiryOption = _DAY_S,
    as_json: JsonOption = False,
) -> None:
    """Send an amount of the stake on its way out; `collegium node withdraw` has it paid when it is mature."""
    from tier_global.membership import owner_key

    with _member(config, orchestrator_url, token_file, as_json) as (member, settings):
        message = member.exit(amount, owner_key(settings, owner_key_file), _expiry_unix_s(expires_in_s))
    words = f"{message.node} takes {message.amount} out of its stake; it can be withdrawn when it has matured"
    finish(message.model_dump(mode="json"), words, as_json)


def migrate(
    config: ConfigOption,
    successor: Annotated[str, typer.Option(help="The registry that the council has named.")],
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    owner_key_file: OwnerKeyOption = None,
    expires_in_s: ExpiryOption = _DAY_S,
    as_json: JsonOption = False,
) -> None:
    """Move what has matured to the node's stake in the successor registry."""
    from tier_global.membership import owner_key

    with _member(config, orchestrator_url, token_file, as_json) as (member, settings):
        key = owner_key(settings, owner_key_file)
        message = member.migrate(successor, key, _expiry_unix_s(expires_in_s))
    words = f"{message.node} moves what has matured to {message.successor}"
    finish(message.model_dump(mode="json"), words, as_json)


def withdraw(
    config: ConfigOption,
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have what has matured of the stake paid to the node's own account."""
    with _member(config, orchestrator_url, token_file, as_json) as (member, _):
        member.hub.withdraw(member.address)
    words = f"what has matured of the stake of {member.address} is paid to that account"
    finish({"node": member.address}, words, as_json)


def claim(
    config: ConfigOption,
    orchestrator_url: UrlOption,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the node's rewards paid to its own account."""
    with _member(config, orchestrator_url, token_file, as_json) as (member, _):
        member.hub.claim(member.address)
    finish({"node": member.address}, f"the rewards of {member.address} are paid to that account", as_json)


def _expiry_unix_s(expires_in_s: int) -> int:
    return int(time.time()) + expires_in_s


def _signed_in(settings: "NodeConfig", orchestrator_url: str) -> str:
    from tier_global.membership import signing_key
    from tier_global.node_process import read_deployment
    from tier_global.sign_in import sign_in

    return sign_in(orchestrator_url, settings.address, read_deployment(settings), signing_key(settings))


@contextmanager
def _member(
    config: Path, orchestrator_url: str, token_file: Path | None, as_json: bool
) -> "Iterator[tuple[Member, NodeConfig]]":
    """The node that a command speaks for."""
    with _errors_as_sentences(as_json):
        from tier_global.membership import Member
        from tier_global.node_config import NodeConfig

        settings = NodeConfig.load(config)
        if token_file is None:
            token = _signed_in(settings, orchestrator_url)
        else:
            token = token_file.read_text().strip()
        yield Member.of(settings, orchestrator_url=orchestrator_url, token=token), settings


@contextmanager
def _errors_as_sentences(as_json: bool) -> "Iterator[None]":
    """What goes wrong becomes a sentence and an exit code."""
    from contracts.errors import ContractViolation
    from tier_global.errors import HubRefused, NodeRefusal, SetupError, TierGlobalError

    try:
        yield
    except (HubRefused, NodeRefusal, ContractViolation) as error:
        fail(ExitCode.REFUSED, str(error), as_json)
    except SetupError as error:
        fail(ExitCode.BAD_INPUT, str(error), as_json)
    except TierGlobalError as error:
        fail(ExitCode.FAILED, str(error), as_json)
    except OSError as error:
        fail(ExitCode.BAD_INPUT, f"{error.filename}: {error.strerror}", as_json)
