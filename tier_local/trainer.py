"""What runs at a hospital: an NVFlare client script that trains or measures on the hospital's records.

NVFlare runs this file in the site's own process. It answers one task and ends. The records never leave
this process; what does is an adapter, or sums of losses. What is wrong with a hospital's input is said
in the answer, so that the operator reads a sentence and not a log.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from contracts.errors import ContractViolation
from contracts.manifest import FloatArray
from contracts.task import TaskSpec
from tier_local.data import HELDOUT_FILE, TRAINING_FILE, read_records
from tier_local.errors import BadInput, InnerRoundError
from tier_local.exchange import (
    PARENT,
    SiteFile,
    failure_meta,
    pack_adapters,
    pack_sums,
    unpack_adapters,
)
from tier_local.imports import without_collecting
from tier_local.models import prepare_exactly
from tier_local.prompts import PromptEncoder
from tier_local.report import Progress, Stage

_SECONDS_BETWEEN_PROGRESS = 0.5


class _ProgressFile:
    """Rewrites a site's progress file, but not more often than someone could look."""

    def __init__(self, path: Path, stage: Stage, unit: Literal["steps", "records"]) -> None:
        self._path, self._stage, self._unit = path, stage, unit
        self._next_unix_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        if done < total and time.monotonic() < self._next_unix_s:
            return
        self._next_unix_s = time.monotonic() + _SECONDS_BETWEEN_PROGRESS
        Progress(stage=self._stage, done=done, total=total, unit=self._unit).write(self._path)


class _Hospital:
    """One site: its records as examples and the model, both loaded before the task is looked at."""

    def __init__(self, site: SiteFile) -> None:
        self._site = site
        self._spec = TaskSpec.parse(site.spec_file.read_bytes())
        base = self._spec.base_model
        cached = prepare_exactly(base.source, base.digest, site.model_cache)
        encoder = PromptEncoder(cached.tokenizer(), self._spec.data)
        file_name = TRAINING_FILE if site.kind == "train" else HELDOUT_FILE
        self._examples = encoder.encode(read_records(site.data_folder / file_name, self._spec.data))
        # Late, so that bad records are reported without the seconds that this import takes.
        with without_collecting():
            from tier_local.learner import Learner

            self._learner = Learner(cached, self._spec, encoder.label_tokens, site.threads)

    def answer(self, adapters: Mapping[str, Mapping[str, FloatArray]]) -> FLModel:
        """The answer to the server's task.

        Raises:
            InvalidAdapter: an adapter breaks the manifest.
        """
        for tensors in adapters.values():
            self._spec.manifest.check(tensors)
        return self._train(adapters[PARENT]) if self._site.kind == "train" else self._measure(adapters)

    def _train(self, parent: Mapping[str, FloatArray]) -> FLModel:
        from tier_local.learner import batch_seed

        seed = batch_seed(self._spec.training.seed, self._site.site, self._site.parent_digest)
        progress = _ProgressFile(self._site.progress_file, Stage.TRAINING, "steps")
        trained = self._learner.train(parent, self._examples, seed, progress)
        return FLModel(
            params=pack_adapters({PARENT: trained.tensors}),
            params_type=ParamsType.FULL,
            metrics={
                "records": len(self._examples),
                "first": trained.first_loss_nats,
                "last": trained.last_loss_nats,
            },
        )

    def _measure(self, adapters: Mapping[str, Mapping[str, FloatArray]]) -> FLModel:
        progress = _ProgressFile(self._site.progress_file, Stage.MEASURING, "records")
        sums = self._learner.measure(adapters, self._examples, progress)
        return FLModel(params=pack_sums(sums), params_type=ParamsType.FULL)


def _answer(site: SiteFile) -> FLModel:
    try:
        hospital = _Hospital(site)
        task = flare.receive()
        if task is None:
            raise BadInput("the server ended the job before it sent a task")
        return hospital.answer(unpack_adapters(task.params))
    except ContractViolation as error:
        return _failure(BadInput(str(error)))
    except InnerRoundError as error:
        return _failure(error)


def _failure(error: InnerRoundError) -> FLModel:
    # NVFlare wants something in every answer.
    return FLModel(metrics={"failed": 1}, meta=failure_meta(error))


def main(arguments: list[str]) -> None:
    """Answer the one task of the job whose description lies in ``--site-file``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--site-file", type=Path, required=True)
    site = SiteFile.read(parser.parse_args(arguments).site_file)
    site.process_file.write_text(str(os.getpid()))
    flare.init()
    Progress(stage=Stage.LOADING, done=0, total=1, unit="steps" if site.kind == "train" else "records").write(
        site.progress_file
    )
    answer: Any = _answer(site)
    if flare.receive() is not None:
        flare.send(answer)


if __name__ == "__main__":
    main(sys.argv[1:])
