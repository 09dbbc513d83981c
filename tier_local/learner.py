"""The model at work: train one adapter, or measure several on the same records. Knows no federation.

Shapes: B records of a batch, T tokens, H hidden size, S labels.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# peft and transformers are used by what loads the model and attaches the adapter, whose time was mostly these
# imports; a site imports this module while it connects.
import peft  # noqa: F401
import torch
import transformers.models.llama.modeling_llama  # noqa: F401
from torch import Tensor
from torch.nn import functional

from contracts.manifest import FloatArray, Tensors
from contracts.task import TaskSpec, TrainingSpec
from tier_local.adapters import AttachedAdapter, attach
from tier_local.frozen_prefix import FrozenPrefix
from tier_local.models import CachedModel
from tier_local.prompts import Batch, Example, batches_by_length
from tier_local.scoring import StratumSums

EVALUATION_BATCH_RECORDS = 32
_LENGTH_POOL_BATCHES = 8
"""So many batches of shuffled examples are sorted by length before they are cut apart."""

Progress = Callable[[int, int], None]
"""Told (done, total) after every step or batch."""


@dataclass(frozen=True)
class TrainedAdapter:
    """An adapter after training, and the mean training loss of its first and its last steps (nats)."""

    tensors: dict[str, FloatArray]
    first_loss_nats: float
    last_loss_nats: float


class Learner:
    """A base model with the task's adapter in it, on the best device there is, loaded once."""

    def __init__(self, base: CachedModel, spec: TaskSpec, label_tokens: Sequence[int], threads: int) -> None:
        # cuBLAS is deterministic only with a workspace of fixed size, told before its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._spec = spec
        model = base.load().to(self._device)
        self._adapter: AttachedAdapter = attach(model, spec.adapter)
        self._prefix = FrozenPrefix(model, self._adapter.first_block)
        # Only the labels' rows of the output layer are ever needed: (S, H).
        self._answers_SH = model.lm_head.weight[torch.tensor(label_tokens, device=self._device)].detach()

    def train(
        self, parent: Tensors, examples: Sequence[Example], seed: str, progress: Progress
    ) -> TrainedAdapter:
        """Train from ``parent`` for the task's number of steps; the same arguments give the same bytes.

        ``seed`` decides which examples a step sees; nothing else is random.
        """
        training = self._spec.training
        self._adapter.load(parent)
        parameters = list(self._adapter.parameters.values())
        optimizer = torch.optim.AdamW(
            parameters, lr=training.learning_rate, weight_decay=training.weight_decay
        )
        losses: list[float] = []
        batches = endless_batches(examples, training.batch_records, seed)
        for step in range(training.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, step)
            batch = next(batches)
            loss = functional.cross_entropy(self._logits(batch), self._labels(batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, training.gradient_clip_norm)
            optimizer.step()
            losses.append(loss.item())
            progress(step + 1, training.steps)
        ends = max(1, training.steps // 4)
        return TrainedAdapter(
            tensors=self._adapter.extract(),
            first_loss_nats=float(np.mean(losses[:ends])),
            last_loss_nats=float(np.mean(losses[-ends:])),
        )

    def measure(
        self, adapters: Mapping[str, Tensors], examples: Sequence[Example], progress: Progress
    ) -> dict[str, StratumSums]:
        """The losses of each adapter on all ``examples``, per stratum."""
        strata = len(self._spec.data.labels)
        parts: dict[str, list[StratumSums]] = {name: [StratumSums.none(strata)] for name in adapters}
        done = 0
        with torch.inference_mode():
            for batch in batches_by_length(examples, EVALUATION_BATCH_RECORDS):
                prefix = self._prefix.below(self._tokens(batch))
                for name, tensors in adapters.items():
                    self._adapter.load(tensors)
                    logits_BS = self._answer_logits(self._prefix.finish(prefix), batch)
                    parts[name].append(_sums(logits_BS, batch, strata))
                done += len(batch.labels)
                progress(done, len(examples))
        return {name: StratumSums.total(of_batches) for name, of_batches in parts.items()}

    def _logits(self, batch: Batch) -> Tensor:
        return self._answer_logits(self._prefix.finish(self._prefix.below(self._tokens(batch))), batch)

    def _answer_logits(self, hidden_BTH: Tensor, batch: Batch) -> Tensor:
        rows_B = torch.arange(hidden_BTH.shape[0], device=self._device)
        last_BH = hidden_BTH[rows_B, torch.from_numpy(batch.last).to(self._device)]
        return functional.linear(last_BH, self._answers_SH)

    def _tokens(self, batch: Batch) -> Tensor:
        return torch.from_numpy(batch.tokens).to(self._device)

    def _labels(self, batch: Batch) -> Tensor:
        return torch.from_numpy(batch.labels).to(self._device)


def learning_rate(training: TrainingSpec, step: int) -> float:
    """Linear warm-up to the task's rate, which then stays; ``step`` counts from 0."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    return training.learning_rate


def batch_seed(task_seed: int, site: str, parent_digest: str) -> str:
    """What decides a hospital's batches: other hospitals and other rounds see another order."""
    return hashlib.sha256(f"{task_seed}\n{site}\n{parent_digest}".encode()).hexdigest()


def endless_batches(examples: Sequence[Example], batch_records: int, seed: str) -> Iterator[Batch]:
    """Batches for ever: every example once per pass, in an order that ``seed`` decides.

    Examples of like length share a batch (little padding); which lengths come when stays random. Fewer
    examples than ``batch_records`` make smaller batches.
    """
    order = random.Random(seed)
    waiting: list[Example] = []
    batch_records = min(batch_records, len(examples))
    # A pool within one pass: sorted by length, the copies of an example would share a batch.
    pool_records = batch_records * min(_LENGTH_POOL_BATCHES, len(examples) // batch_records)
    while True:
        while len(waiting) < pool_records:
            waiting += order.sample(examples, len(examples))
        pool = sorted(waiting[:pool_records], key=lambda example: len(example.tokens))
        waiting = waiting[pool_records:]
        starts = range(0, pool_records, batch_records)
        for start in order.sample(starts, len(starts)):
            yield Batch.of(pool[start : start + batch_records])


def _sums(logits_BS: Tensor, batch: Batch, strata: int) -> StratumSums:
    # float64 on the host: the sums do not depend on how a device adds up.
    logits = logits_BS.double().cpu()
    losses_B = functional.cross_entropy(logits, torch.from_numpy(batch.labels), reduction="none").numpy()
    right_B = logits.argmax(dim=1).numpy() == batch.labels
    return StratumSums(
        loss_sums=np.bincount(batch.labels, weights=losses_B, minlength=strata).astype(np.float64),
        record_counts=np.bincount(batch.labels, minlength=strata),
        correct_counts=np.bincount(batch.labels, weights=right_B, minlength=strata).astype(np.int64),
    )
