"""The reports of inner jobs, and the progress file while one runs.

A report is the network's: it holds no figure of a single hospital, and names those only that were left out.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.digests import Digest
from tier_local.files import replace_quickly, write_whole
from tier_local.network import SiteName

REPORT_FILE = "report.json"
ADAPTER_FILE = "adapter.safetensors"
SPEC_FILE = "task.json"
PROGRESS_FILE = "progress.json"
REFUSAL_FILE = "refusal.json"
NETWORK_POLICY_FILE = "network-policy.json"

LeftOut = Literal["no answer", "failed"]
"""Why a site is not in a result."""

Loss = Annotated[float, Field(allow_inf_nan=False)] | None
"""Nats per record; null where the loss is NaN or infinite, or no stratum holds enough records."""


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> bytes:
        """Indented JSON, ending with a line feed."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    def write(self, folder: Path) -> None:
        """Write ``report.json`` into ``folder``."""
        write_whole(folder / REPORT_FILE, self.to_json())


class TrainReport(_Written):
    """What a network says about an adapter that it trained."""

    kind: Literal["train"] = "train"
    task_digest: Digest
    network: str
    parent_digest: Digest
    adapter_digest: Digest
    adapter_bytes: int
    sites: int
    """Those whose work is in the adapter."""
    sites_left_out: dict[SiteName, LeftOut]
    records: int
    """Training records of these hospitals."""
    steps_per_site: int
    first_loss_nats: Loss
    """Mean training loss over the first quarter of the steps, equal weight per hospital."""
    last_loss_nats: Loss
    """The same over the last quarter."""
    seconds: float


class EvaluateReport(_Written):
    """A network's losses of the parent and of the candidates on its hospitals' held-out records."""

    kind: Literal["evaluate"] = "evaluate"
    task_digest: Digest
    network: str
    parent_digest: Digest
    candidates: dict[str, Digest]
    losses_nats: dict[str, Loss]
    """``parent`` and every candidate."""
    sites: int
    """Those whose records were measured."""
    sites_left_out: dict[SiteName, LeftOut]
    records: int
    strata: int
    """Strata that held enough records in the whole network to count."""
    seconds: float


class TestResult(_Written):
    """One adapter on public test records."""

    accuracy: float
    correct: int
    records: int
    interval_low: float
    interval_high: float
    """The accuracy's 95 % Wilson interval."""
    loss_nats: Loss


class TestReport(_Written):
    """Adapters on public test records."""

    kind: Literal["test"] = "test"
    task_digest: Digest
    results: dict[str, TestResult]
    seconds: float


class RefusalReport(BaseModel):
    """By which rule a hospital's policy refused a job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    site: str | None
    """None where the network as a whole refuses."""

    def write(self, folder: Path) -> None:
        """Write ``refusal.json`` into ``folder``."""
        write_whole(folder / REFUSAL_FILE, self.model_dump_json().encode())


class Stage(StrEnum):
    """What a job is doing."""

    PREPARING = "preparing"
    STARTING = "starting"
    LOADING = "loading"
    TRAINING = "training"
    MEASURING = "measuring"
    DONE = "done"


class Progress(BaseModel):
    """How far a job, or one site of it, has come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage
    done: int
    total: int
    unit: Literal["steps", "records"]

    def write(self, path: Path) -> None:
        """Replace the file at ``path``."""
        replace_quickly(path, self.model_dump_json().encode())


def finite(loss_nats: float) -> float | None:
    """The loss, or None when it is NaN or infinite (JSON has neither)."""
    return loss_nats if abs(loss_nats) < float("inf") else None
