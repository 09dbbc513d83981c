"""The task spec: what is fine-tuned, how, and by which rules; versioned, canonical JSON → digest.

A spec is JSON under RFC 8785 (JSON Canonicalization Scheme); its digest is the SHA-256 of those bytes
and goes on chain. Money, deadlines and quorums are not here: they are the chain's (``TaskConfig``).
"""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from contracts.aggregation.spec import AggregationRule, NoOuterOptimiser, OuterOptimiser
from contracts.digests import Digest, sha256_digest
from contracts.errors import InvalidTaskSpec
from contracts.manifest import MOMENTUM_PREFIX, Manifest

MAX_SPEC_BYTES = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BaseModelSpec(_Part):
    """The frozen model under the adapter: a source that ``tier_local.models`` knows, and its digest.

    ``digest`` is the SHA-256 of the weights in their canonical safetensors file, so that a network
    with another base model finds out before it trains.
    """

    source: Annotated[str, Field(min_length=1, max_length=100)]
    digest: Digest


class LoraSpec(_Part):
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on named linear layers of some blocks."""

    method: Literal["lora"] = "lora"
    rank: Annotated[int, Field(ge=1, le=512)]
    alpha: Annotated[float, Field(gt=0, le=4096)]
    target_modules: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]
    blocks: Annotated[tuple[int, ...], Field(min_length=1, max_length=512)]


class DataSpec(_Part):
    """How a record (JSON object with ``text`` and ``label``) becomes a prompt, and what is asked of it.

    The model answers with one label: the loss is the cross-entropy over the label tokens, in nats, at
    the prompt's last position. The stratum of a record is its label; strata weigh the same.
    """

    prompt: Annotated[str, Field(min_length=1, max_length=2000)]
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=1000)]
    max_prompt_tokens: Annotated[int, Field(ge=1, le=8192)]
    least_stratum_records: Annotated[int, Field(ge=1, le=10_000)]

    @field_validator("prompt")
    @classmethod
    def _prompt_has_the_text(cls, prompt: str) -> str:
        if prompt.count("{text}") != 1:
            raise ValueError("the prompt template holds {text} exactly once")
        return prompt


class TrainingSpec(_Part):
    """An inner round at each hospital: AdamW (Loshchilov & Hutter 2019) with linear warm-up."""

    steps: Annotated[int, Field(ge=1, le=100_000)]
    batch_records: Annotated[int, Field(ge=1, le=4096)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)]
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    gradient_clip_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=1 << 32)]


class TaskSpec(_Part):
    """Everything a node needs to know to train and to score; read with ``TaskSpec.parse``."""

    schema_version: Literal["collegium.task/1"] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9\-]{0,63}$")]
    base_model: BaseModelSpec
    adapter: LoraSpec
    manifest: Manifest
    genesis_digest: Digest
    data: DataSpec
    training: TrainingSpec
    aggregation: AggregationRule
    outer_optimiser: OuterOptimiser = NoOuterOptimiser()

    @model_validator(mode="after")
    def _labels_are_unique(self) -> Self:
        if len(set(self.data.labels)) != len(self.data.labels):
            raise ValueError("each label appears once")
        return self

    @model_validator(mode="after")
    def _a_parent_has_a_manifest(self) -> Self:
        reserved = [t.name for t in self.manifest.tensors if t.name.startswith(MOMENTUM_PREFIX)]
        if reserved:
            raise ValueError(f"tensor names that begin with {MOMENTUM_PREFIX} are the outer optimiser's")
        _ = self.parent_manifest
        return self

    @property
    def parent_manifest(self) -> Manifest:
        """The tensors of every parent but the first: the adapter's, and the outer optimiser's if any."""
        if isinstance(self.outer_optimiser, NoOuterOptimiser):
            return self.manifest
        return self.manifest.with_momentum()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The spec in ``data`` (JSON).

        Raises:
            InvalidTaskSpec: too large, not JSON, or not the schema; the message names the field.
        """
        if len(data) > MAX_SPEC_BYTES:
            raise InvalidTaskSpec(f"a task spec has at most {MAX_SPEC_BYTES} bytes, this one {len(data)}")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = PurePosixPath(*(str(part) for part in first["loc"])) if first["loc"] else "the spec"
            raise InvalidTaskSpec(f"{where}: {first['msg']}") from error

    def canonical_bytes(self) -> bytes:
        """The spec as RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return sha256_digest(self.canonical_bytes())
