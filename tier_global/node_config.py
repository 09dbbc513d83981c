"""A node's configuration file, ``node.json``."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
        fields = ("key_file", "deployment_file", "state_folder", "network_file")
        return config.model_copy(update={name: folder / getattr(config, name) for name in fields})
