"""From records to token rows, with a tokenizer of single bytes."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from contracts.task import DataSpec
from tier_local.data import Record
from tier_local.errors import BadInput
from tier_local.prompts import Batch, Example, PromptEncoder, batches_by_length


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def data_spec(prompt: str = "<{text}>", labels: tuple[str, ...] = ("a", "b"), limit: int = 100) -> DataSpec:
    return DataSpec(prompt=prompt, labels=labels, max_prompt_tokens=limit, least_stratum_records=1)


def test_the_text_stands_in_the_prompt_even_with_braces(tokenizer: Tokenizer) -> None:
    encoder = PromptEncoder(tokenizer, data_spec(prompt="{{}}{text}="))
    (example,) = encoder.encode([Record(text="{0}{text}", label=1)])
    assert example.label == 1
    assert tokenizer.decode(list(example.tokens)).replace(" ", "") == "{{}}{0}{text}="


def test_of_a_prompt_that_is_too_long_the_question_at_its_end_stays(tokenizer: Tokenizer) -> None:
    encoder = PromptEncoder(tokenizer, data_spec(prompt="{text}=", limit=3))
    (example,) = encoder.encode([Record(text="wxyz", label=0)])
    assert example.tokens == tuple(tokenizer.encode("yz=").ids)


def test_a_label_that_is_not_one_token_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadInput, match="'ab' is 2 tokens"):
        PromptEncoder(tokenizer, data_spec(labels=("a", "ab")))


def test_a_batch_is_padded_to_its_longest_row_and_knows_the_last_positions() -> None:
    batch = Batch.of([Example((5, 6, 7), 1), Example((8,), 0)])
    np.testing.assert_array_equal(batch.tokens, [[5, 6, 7], [8, 0, 0]])
    np.testing.assert_array_equal(batch.last, [2, 0])
    np.testing.assert_array_equal(batch.labels, [1, 0])


def test_batches_by_length_hold_every_example_once_with_little_padding() -> None:
    examples = [Example(tuple(range(1, 1 + length)), length % 2) for length in (9, 2, 8, 1, 3)]
    batches = batches_by_length(examples, 2)
    assert [batch.tokens.shape for batch in batches] == [(2, 2), (2, 8), (1, 9)]
    assert sorted(int(last) + 1 for batch in batches for last in batch.last) == [1, 2, 3, 8, 9]
