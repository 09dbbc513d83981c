"""A node's configuration file, ``node.json``."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contracts.digests import Digest
from contracts.messages import Address
from tier_global.errors import SetupError

CONFIG_VARIABLE = "COLLEGIUM_NODE_CONFIG"


class NodeConfig(BaseModel):
    """Who the node is, and where key, chain, state and inner tier are; paths may be relative to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Address
    key_file: Path
    rpc_url: Annotated[str, Field(pattern=r"^https?://")]
    deployment_file: Path
    state_folder: Path
    network_file: Path
    inner_command: Annotated[tuple[str, ...], Field(min_length=1)]
    allowed_bundles: Annotated[tuple[Digest, ...], Field(min_length=1)]
    """SHA-256 of the app bundles whose messages the node answers; two while hub and node are upgraded."""
    superlink_certificates: Path | None = None
    """Root certificates (PEM) of the hub's SuperLink; without them the link is not encrypted."""
    flower_key_file: Path | None = None
    """The private key (of `ssh-keygen -t ecdsa -b 384`) whose public key is in the network's enrolment."""
    signer_socket: Path | None = None
    """Where `collegium node signer` answers; without it the node's own process reads the key file."""
    wallet: Address | None = None
    """The contract wallet (ERC-1271) that is the node's signing key, where the key signs for one."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """The configuration in ``path``, with absolute paths.

        Raises:
            SetupError: missing, not JSON or not the schema; the message names the field.
        """
        try:
            config = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SetupError(f"the node's configuration {path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise SetupError(f"{path}, {where}: {first['msg']}") from error
        folder = path.resolve().parent
        paths = {name: value for name, value in config if isinstance(value, Path)}
        return config.model_copy(update={name: folder / value for name, value in paths.items()})

    @model_validator(mode="after")
    def _key_needs_certificates(self) -> Self:
        if self.flower_key_file is not None and self.superlink_certificates is None:
            raise ValueError("flower_key_file needs superlink_certificates")
        return self
