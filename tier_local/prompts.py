"""From records to token rows: the task's prompt around the text, right-padded batches.

Shapes: B records of a batch, T tokens of its longest prompt. Rows are padded on the right: attention
is causal, so a pad never reaches a real token, and no attention mask is needed. The answer is read at
each row's own last token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from contracts.task import DataSpec
from tier_local.data import Record
from tier_local.errors import BadInput

_PAD_TOKEN = 0
"""Any token will do: what a pad holds is never read."""


@dataclass(frozen=True)
class Example:
    """One prompt as tokens, and the index of its answer in the task's labels."""

    tokens: tuple[int, ...]
    label: int


@dataclass(frozen=True)
class Batch:
    """Token rows for one pass: ``tokens`` (B, T), each row's ``last`` position (B), ``labels`` (B)."""

    tokens: NDArray[np.int64]
    last: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Batch":
        """The examples padded to the longest of them."""
        lengths = [len(example.tokens) for example in examples]
        tokens_BT = np.full((len(examples), max(lengths)), _PAD_TOKEN, dtype=np.int64)
        for row, example in enumerate(examples):
            tokens_BT[row, : len(example.tokens)] = example.tokens
        return cls(
            tokens=tokens_BT,
            last=np.array(lengths, dtype=np.int64) - 1,
            labels=np.array([example.label for example in examples], dtype=np.int64),
        )


class PromptEncoder:
    """Encodes records of one task with the base model's tokenizer."""

    def __init__(self, tokenizer: Tokenizer, spec: DataSpec) -> None:
        """Raises BadInput when a label is not exactly one token, or two labels are the same token."""
        self._tokenizer = tokenizer
        self._spec = spec
        self.label_tokens = tuple(self._label_token(label) for label in spec.labels)
        if len(set(self.label_tokens)) != len(self.label_tokens):
            raise BadInput("two labels of the task are the same token to the base model's tokenizer")

    def encode(self, records: Sequence[Record]) -> list[Example]:
        """The records as examples; of a prompt that is too long, the oldest tokens are dropped."""
        # str.replace and not str.format: a text may hold braces.
        prompts = [self._spec.prompt.replace("{text}", record.text) for record in records]
        encodings = self._tokenizer.encode_batch_fast(prompts, add_special_tokens=False)
        limit = self._spec.max_prompt_tokens
        return [
            Example(tokens=tuple(encoding.ids[-limit:]), label=record.label)
            for encoding, record in zip(encodings, records, strict=True)
        ]

    def _label_token(self, label: str) -> int:
        tokens = self._tokenizer.encode(label, add_special_tokens=False).ids
        if len(tokens) != 1:
            raise BadInput(
                f"the label {label!r} is {len(tokens)} tokens to the base model's tokenizer, not one"
            )
        return int(tokens[0])


def batches_by_length(examples: Sequence[Example], batch_records: int) -> list[Batch]:
    """All examples in batches of at most ``batch_records``, sorted by length so that little is padding."""
    ordered = sorted(examples, key=lambda example: len(example.tokens))
    return [
        Batch.of(ordered[start : start + batch_records]) for start in range(0, len(ordered), batch_records)
    ]
