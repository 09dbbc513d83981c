"""Adapters on a model: attach (PEFT), load, extract, and export for other people's tools.

Tensor names are PEFT's own (``get_peft_model_state_dict``), so that an exported adapter loads anywhere;
tensors are float32. What may be in an adapter is the manifest's word.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.manifest import FloatArray, Manifest, Tensors
from contracts.task import LoraSpec, TaskSpec
from tier_local.errors import BadInput
from tier_local.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import LlamaForCausalLM

_LORA_A = ".lora_A.weight"
_LORA_B = ".lora_B.weight"
_ADAPTER_NAME = "default"
_CONFIG_FILE = "adapter_config.json"
_WEIGHTS_FILE = "adapter_model.safetensors"


@dataclass(frozen=True)
class AttachedAdapter:
    """A base model with one adapter in it whose values can be exchanged.

    ``model`` is the base model itself, its layers wrapped by PEFT; ``parameters`` are the adapter's, by
    the names that they have in a file.
    """

    model: LlamaForCausalLM
    parameters: dict[str, nn.Parameter]
    first_block: int
    """No block below this one is adapted."""

    def load(self, tensors: Tensors) -> None:
        """Give the adapter these values; they must have been checked against the manifest."""
        import torch

        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.tensor(tensors[name]))

    def extract(self) -> dict[str, FloatArray]:
        """The adapter's values as new arrays."""
        return {name: _to_numpy(parameter) for name, parameter in self.parameters.items()}


def attach(model: LlamaForCausalLM, spec: LoraSpec) -> AttachedAdapter:
    """Put an adapter into ``model`` (changed in place); its values are not set yet.

    Raises:
        BadInput: the model has no such blocks or modules.
    """
    from peft import get_peft_model, get_peft_model_state_dict

    blocks = len(model.model.layers)
    if max(spec.blocks) >= blocks:
        raise BadInput(f"the task adapts block {max(spec.blocks)}, the base model has {blocks}")
    try:
        with warnings.catch_warnings():
            # PEFT asks transformers for this by a name that transformers is about to drop.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            wrapped = get_peft_model(model, _peft_config(spec))
    except ValueError as error:
        raise BadInput(f"the task's target modules do not fit the base model: {error}") from error
    saved = get_peft_model_state_dict(wrapped)
    # In the running model PEFT names the adapter between module and weight; in a file it does not.
    parameters = {
        name.replace(f".{_ADAPTER_NAME}.", "."): parameter
        for name, parameter in wrapped.named_parameters()
        if parameter.requires_grad
    }
    if parameters.keys() != saved.keys():
        raise BadInput("the task's target modules do not give a plain LoRA adapter on the base model")
    return AttachedAdapter(model=model, parameters=parameters, first_block=min(spec.blocks))


def genesis(spec: LoraSpec, model: LlamaForCausalLM, seed: int) -> dict[str, FloatArray]:
    """The first adapter of a task: A uniform within ±1/√columns, B zero, so that it changes nothing.

    The bound is that of PEFT's own initialisation (Kaiming uniform with a = √5). numpy promises that
    RandomState's stream never changes, and a uniform number takes no libm call: equal on any machine.
    """
    random = np.random.RandomState(seed)
    shapes = {name: tuple(p.shape) for name, p in attach(model, spec).parameters.items()}
    tensors: dict[str, FloatArray] = {}
    for name in sorted(shapes):
        if name.endswith(_LORA_A):
            bound = shapes[name][1] ** -0.5
            tensors[name] = random.uniform(-bound, bound, shapes[name]).astype(np.float32)
        else:
            tensors[name] = np.zeros(shapes[name], dtype=np.float32)
    return tensors


def base_alone(manifest: Manifest) -> dict[str, FloatArray]:
    """The adapter that changes nothing: all zeros."""
    return {tensor.name: np.zeros(tensor.shape, dtype=np.float32) for tensor in manifest.tensors}


def export(spec: TaskSpec, adapter: bytes, base_model_folder: Path, folder: Path) -> None:
    """Write a folder that ``PeftModel.from_pretrained(base, folder)`` loads."""
    config = _peft_config(spec.adapter).to_dict()
    config["base_model_name_or_path"] = str(base_model_folder.resolve())
    config["inference_mode"] = True
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    write_whole(folder / _CONFIG_FILE, (json.dumps(plain, indent=2, sort_keys=True) + "\n").encode())
    write_whole(folder / _WEIGHTS_FILE, adapter)


def _peft_config(spec: LoraSpec):  # type: ignore[no-untyped-def]
    from peft import LoraConfig, TaskType

    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=0.0,
        target_modules=list(spec.target_modules),
        layers_to_transform=list(spec.blocks),
        layers_pattern="layers",
        # The values come from the genesis artifact: drawing random ones would only take time.
        init_lora_weights=False,
    )


def _to_numpy(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.detach().cpu().numpy().astype(np.float32, copy=True)
    return array
