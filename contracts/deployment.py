"""Where the contracts of one consortium live: chain, addresses, and the block to read events from."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import ContractViolation
from contracts.messages import Address, Domain


class InvalidDeployment(ContractViolation):
    """A deployment file does not follow the schema."""

    code = "invalid_deployment"


class Deployment(BaseModel):
    """The addresses of one deployment, as ``collegium deploy-contracts`` writes them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain_id: Annotated[int, Field(ge=1)]
    registry: Address
    tasks: Address
    rounds: Address
    lens: Address
    anchors: Address
    token: Address
    block: Annotated[int, Field(ge=0)]
    """The first block that can hold an event of these contracts."""

    @property
    def registry_domain(self) -> Domain:
        """The EIP-712 domain of rotations, exits, migrations and returns."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.registry)

    @property
    def tasks_domain(self) -> Domain:
        """The EIP-712 domain of approvals and revocations."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.tasks)

    @property
    def rounds_domain(self) -> Domain:
        """The EIP-712 domain of the messages of rounds."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.rounds)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The deployment in ``data`` (JSON).

        Raises:
            InvalidDeployment: not JSON or not the schema; the message names the field.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise InvalidDeployment(f"deployment {where}: {first['msg']}") from error

    def to_json(self) -> bytes:
        """The deployment as indented JSON, ending with a line feed."""
        return (self.model_dump_json(indent=2) + "\n").encode()
