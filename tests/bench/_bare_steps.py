"""The training steps of a network's hospitals in one process, one hospital after the other, no federation.

    python -m tests.bench._bare_steps SPEC PARENT MODEL_CACHE THREADS DATA_FOLDER…

prints as JSON how long the imports, the model and the steps took.
"""

import json
import sys
import time
from pathlib import Path

from contracts.parent import adapter_of
from contracts.task import TaskSpec
from tier_local.data import TRAINING_FILE, read_records
from tier_local.models import prepare_exactly
from tier_local.prompts import PromptEncoder


def main(spec_file: str, parent_file: str, model_cache: str, threads: str, *data_folders: str) -> None:
    """Train, and say how long it took."""
    began_s = time.perf_counter()
    from tier_local.imports import without_collecting

    with without_collecting():
        from tier_local.learner import Learner, batch_seed

    imports_s = time.perf_counter() - began_s
    spec = TaskSpec.parse(Path(spec_file).read_bytes())
    data = Path(parent_file).read_bytes()
    parent = adapter_of(spec, data)
    began_s = time.perf_counter()
    base = prepare_exactly(spec.base_model.source, spec.base_model.digest, Path(model_cache))
    encoder = PromptEncoder(base.tokenizer(), spec.data)
    learner = Learner(base, spec, encoder.label_tokens, int(threads))
    model_s = time.perf_counter() - began_s
    steps_s = []
    for number, folder in enumerate(data_folders, start=1):
        examples = encoder.encode(read_records(Path(folder) / TRAINING_FILE, spec.data))
        seed = batch_seed(spec.training.seed, f"hospital-{number}", spec.genesis_digest)
        began_s = time.perf_counter()
        learner.train(parent, examples, seed, lambda _done, _total: None)
        steps_s.append(time.perf_counter() - began_s)
    sys.stdout.write(json.dumps({"imports_s": imports_s, "model_s": model_s, "steps_s": steps_s}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
