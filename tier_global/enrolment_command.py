"""``collegium node enrol``: say which keys are the network's, for an invite of the council."""

from pathlib import Path
from typing import Annotated

import typer

from tier_global.member_commands import OwnerKeyOption, UrlOption
from tier_global.output import ConfigOption, ExitCode, JsonOption, fail, finish


def enrol(
    config: ConfigOption,
    network: Annotated[str, typer.Option("--name", help="The network's name, as in the invite.")],
    invite_file: Annotated[Path, typer.Option(help="The file with the invite.")],
    orchestrator_url: UrlOption,
    owner_key_file: OwnerKeyOption = None,
    flower_key: Annotated[
        Path | None, typer.Option(help="The SuperNode's public key, as ssh-keygen writes it.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="The certificate (PEM) of the network's NVFlare server.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bind the node's account, signing key, Flower key and NVFlare certificate in one signed statement.

    The council sees it and decides; `collegium node status` shows when the node is admitted.
    """
    from contracts.digests import ZERO_DIGEST
    from contracts.errors import ContractViolation
    from tier_global.enrolment import certificate_fingerprint, make_statement, read_flower_key, read_invite
    from tier_global.errors import HubRefused, NodeRefusal, SetupError, TierGlobalError
    from tier_global.hub import HttpHub
    from tier_global.membership import owner_key, signing_key
    from tier_global.node_config import NodeConfig
    from tier_global.node_process import read_deployment

    try:
        settings = NodeConfig.load(config)
        invite = read_invite(invite_file)
        statement, signature = make_statement(
            read_deployment(settings),
            owner_key(settings, owner_key_file),
            settings.address,
            signing_key(settings).address,
            network=network,
            invite=invite,
            flower_key="" if flower_key is None else read_flower_key(flower_key),
            certificate=ZERO_DIGEST if certificate is None else certificate_fingerprint(certificate),
        )
        enrolment = HttpHub(orchestrator_url, None).enrol(invite, statement, signature)
    except (HubRefused, NodeRefusal, ContractViolation) as error:
        fail(ExitCode.REFUSED, str(error), as_json)
    except SetupError as error:
        fail(ExitCode.BAD_INPUT, str(error), as_json)
    except TierGlobalError as error:
        fail(ExitCode.FAILED, str(error), as_json)
    finish(
        {"enrolment": enrolment, **statement.model_dump(mode="json")},
        f"enrolment {enrolment} of {network} waits for the council; ask them to compare "
        f"account {statement.node} and signing key {statement.signer}",
        as_json,
    )
