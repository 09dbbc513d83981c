"""``collegium node …``: a network makes its node, runs it, looks at it, and speaks for it."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tier_global import enrolment_command, member_commands
from tier_global.output import ConfigOption, ExitCode, JsonOption, fail, finish

app = typer.Typer(
    help="A network's node: make it, approve tasks, run it.", add_completion=False, no_args_is_help=True
)

_DEFAULT_INNER_COMMAND = shlex.join([sys.executable, "-m", "tier_local"])


@app.command()
def init(
    folder: Annotated[Path, typer.Option(help="Where node.json, the key and the state go; made if missing.")],
    rpc_url: Annotated[str, typer.Option(envvar="COLLEGIUM_RPC_URL", help="The node's own chain endpoint.")],
    deployment: Annotated[
        Path, typer.Option(envvar="COLLEGIUM_DEPLOYMENT_FILE", help="The deployment file of the consortium.")
    ],
    network: Annotated[Path, typer.Option(help="The network's own file for the inner tier (network.json).")],
    address: Annotated[
        str | None,
        typer.Option(help="The account that is admitted, if it is another than the signing key's."),
    ] = None,
    superlink_certificates: Annotated[
        Path | None, typer.Option(help="Root certificates (PEM) that the hub's SuperLink is known by.")
    ] = None,
    flower_key: Annotated[
        Path | None,
        typer.Option(help="The SuperNode's private key, of ssh-keygen -t ecdsa -b 384; it needs the above."),
    ] = None,
    signer_socket: Annotated[
        Path | None, typer.Option(help="Where `collegium node signer` shall answer, for it to hold the key.")
    ] = None,
    inner_command: Annotated[
        str, typer.Option(help="The inner tier's command line.")
    ] = _DEFAULT_INNER_COMMAND,
    as_json: JsonOption = False,
) -> None:
    """Make a signing key that only you can read, and node.json beside it. Nothing is overwritten."""
    from pydantic import ValidationError

    from tier_global.bundle import installed_bundle
    from tier_global.errors import SetupError
    from tier_global.keys import create_key
    from tier_global.node_config import NodeConfig

    config_file, key_file = folder / "node.json", folder / "node.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if config_file.exists():
            fail(
                ExitCode.REFUSED, f"{config_file} exists already; choose another folder or remove it", as_json
            )
        key = create_key(key_file)
        config = NodeConfig(
            address=address or key.address,
            key_file=key_file.resolve(),
            rpc_url=rpc_url,
            deployment_file=deployment.resolve(),
            state_folder=(folder / "state").resolve(),
            network_file=network.resolve(),
            inner_command=tuple(shlex.split(inner_command)),
            allowed_bundles=(installed_bundle(),),
            superlink_certificates=superlink_certificates and superlink_certificates.resolve(),
            flower_key_file=flower_key and flower_key.resolve(),
            signer_socket=signer_socket and signer_socket.resolve(),
        )
        config_file.write_text(config.model_dump_json(indent=2) + "\n")
    except SetupError as error:
        fail(ExitCode.REFUSED, str(error), as_json)
    except ValidationError as error:
        key_file.unlink(missing_ok=True)
        first = error.errors(include_input=False)[0]
        fail(ExitCode.BAD_INPUT, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", as_json)
    except OSError as error:
        fail(ExitCode.FAILED, f"{error.filename}: {error.strerror}", as_json)
    finish(
        {
            "address": config.address,
            "signer": key.address,
            "config": str(config_file),
            "key_file": str(key_file),
        },
        f"{config_file} is ready; ask the council to admit {config.address} with signing key {key.address}",
        as_json,
    )


@app.command()
def start(
    config: ConfigOption,
    superlink: Annotated[str, typer.Option(help="The SuperLink as HOST:PORT.")],
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="A free port for the SuperNode's own API.")
    ] = 9094,
    flower_home: Annotated[
        Path | None, typer.Option(help="Flower's own folder; by default within the node's state folder.")
    ] = None,
) -> None:
    """Be the network's SuperNode: check the configuration, then answer the hub's messages until stopped."""
    from tier_global.errors import TierGlobalError
    from tier_global.keys import read_key, require_private
    from tier_global.logs import show_logs
    from tier_global.node_config import CONFIG_VARIABLE, NodeConfig
    from tier_global.node_process import open_record, read_deployment
    from tier_global.supernode import SuperNodeSettings, run_supernode

    try:
        settings = NodeConfig.load(config)
        if settings.signer_socket is None:
            read_key(settings.key_file)
        if settings.flower_key_file is not None:
            require_private(settings.flower_key_file)
        read_deployment(settings)
        open_record(settings).close()
        show_logs()
        environment = os.environ | {
            CONFIG_VARIABLE: str(config.resolve()),
            "FLWR_HOME": str(flower_home or settings.state_folder / "flower"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }
        exit_code = run_supernode(
            SuperNodeSettings(
                superlink=superlink,
                port=port,
                state_folder=settings.state_folder,
                certificates=settings.superlink_certificates,
                flower_key=settings.flower_key_file,
                environment=environment,
            )
        )
    except TierGlobalError as error:
        fail(ExitCode.BAD_INPUT, str(error), as_json=False)
    raise typer.Exit(exit_code)


@app.command()
def signer(config: ConfigOption) -> None:
    """Hold the signing key, and sign messages of rounds on chain for the node, until stopped."""
    import signal

    from tier_global.errors import TierGlobalError
    from tier_global.logs import show_logs
    from tier_global.node_config import NodeConfig
    from tier_global.node_process import open_signer
    from tier_global.signer_socket import listening, serve

    try:
        settings = NodeConfig.load(config)
        if settings.signer_socket is None:
            fail(ExitCode.BAD_INPUT, f"{config} names no signer_socket", as_json=False)
        show_logs()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with open_signer(settings) as ruled, listening(settings.signer_socket) as server:
            typer.echo(f"signing for {ruled.node} with {ruled.address()}", err=True)
            serve(server, ruled)
    except TierGlobalError as error:
        fail(ExitCode.BAD_INPUT, str(error), as_json=False)
    except KeyboardInterrupt:
        raise typer.Exit from None


@app.command()
def bundle(as_json: JsonOption = False) -> None:
    """Print the SHA-256 of the installed app bundle, for `allowed_bundles` in node.json."""
    from tier_global.bundle import installed_bundle

    digest = installed_bundle()
    finish({"bundle": digest}, digest, as_json)


@app.command()
def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show who the node is, what the chain knows of it, and what it has answered."""
    from tier_global.errors import TierGlobalError
    from tier_global.node_config import NodeConfig
    from tier_global.node_status import read_status

    try:
        found = read_status(NodeConfig.load(config))
    except TierGlobalError as error:
        fail(ExitCode.FAILED, str(error), as_json)
    lines = [
        f"node {found.address}, signing key {found.signer}",
        f"on chain: {found.on_chain}",
        *(
            f"{answer.stored_at}  task {answer.task}, round {answer.round}: {answer.kind}"
            for answer in found.answers
        ),
        *(
            f"{refused.refused_at}  refused {refused.messages} message(s) of bundle {refused.digest}; "
            f"allowed: {', '.join(found.allowed_bundles)}"
            for refused in found.refused_bundles
        ),
    ]
    finish(found.model_dump(mode="json"), "\n".join(lines), as_json)


app.command("login")(member_commands.login)
app.command("enrol")(enrolment_command.enrol)
app.command("approve")(member_commands.approve)
app.command("revoke")(member_commands.revoke)
app.command("return")(member_commands.come_back)
app.command("rotate")(member_commands.rotate)
app.command("exit")(member_commands.leave)
app.command("migrate")(member_commands.migrate)
app.command("withdraw")(member_commands.withdraw)
app.command("claim")(member_commands.claim)
