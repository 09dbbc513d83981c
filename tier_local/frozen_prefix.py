"""The blocks below the adapter, computed once for all the adapters that are compared.

Everything below the lowest adapted block is frozen, so for one batch it gives the same hidden states
whatever the adapter. ``FrozenPrefix.below`` runs the model up to that block and keeps what the block
would have been called with; ``finish`` runs the rest with the adapter that is loaded at that time.

Shapes: B records, T tokens, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Prefix:
    """What the lowest adapted block is called with for one batch: hidden states (B, T, H) and the rest."""

    hidden: Tensor
    arguments: dict[str, Any]


class _PrefixReached(Exception):
    """No error: carries the block's call out of the forward pass, so that no block above runs."""

    def __init__(self, prefix: Prefix) -> None:
        super().__init__()
        self.prefix = prefix


class FrozenPrefix:
    """Splits a model's forward pass at the block ``first_block``."""

    def __init__(self, model: LlamaForCausalLM, first_block: int) -> None:
        self._body = model.model
        self._upper = list(model.model.layers[first_block:])

    def below(self, tokens_BT: Tensor) -> Prefix:
        """Run the embedding and the blocks below; no gradient is kept."""
        hook = self._upper[0].register_forward_pre_hook(_stop_with_the_call, with_kwargs=True)
        try:
            with torch.no_grad():
                self._body(input_ids=tokens_BT, use_cache=False)
        except _PrefixReached as reached:
            return reached.prefix
        finally:
            hook.remove()
        raise RuntimeError("the forward pass ended without a call of the first adapted block")

    def finish(self, prefix: Prefix) -> Tensor:
        """The model's last hidden states, ``(B, T, H)``, with the adapter that is loaded now."""
        hidden_BTH = prefix.hidden
        for block in self._upper:
            hidden_BTH = block(hidden_BTH, **prefix.arguments)
        normed_BTH: Tensor = self._body.norm(hidden_BTH)
        return normed_BTH


def _stop_with_the_call(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    (hidden_BTH,) = args
    raise _PrefixReached(Prefix(hidden=hidden_BTH, arguments=kwargs))
