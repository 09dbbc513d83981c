"""The messages in Python and in Solidity are the same EIP-712 structs, and so are the hashes made of them."""

import re
from pathlib import Path

import pytest

from contracts import abi, messages

SOURCES = Path(abi.__file__).parent / "evm" / "src"
SIGNED = [messages.Approval, messages.Proposal, messages.Commit, messages.Attestation]


def fields_of(struct: str) -> list[tuple[str, str]]:
    """(type, name) of a struct's fields in Messages.sol."""
    source = (SOURCES / "Messages.sol").read_text()
    body = re.search(rf"struct {struct} \{{(.*?)\}}", source, re.DOTALL)
    assert body is not None
    return [(kind, name) for kind, name in re.findall(r"(\S+) (\w+);", body[1])]


@pytest.mark.parametrize("message", SIGNED, ids=lambda message: message.__name__)
def test_signed_structs_have_the_same_fields(message: type[messages.Approval]) -> None:
    assert fields_of(message.__name__) == [(kind, name) for _, kind, name in message.FIELDS]


@pytest.mark.parametrize("message", SIGNED, ids=lambda message: message.__name__)
def test_type_hashes_are_of_the_same_text(message: type[messages.Approval]) -> None:
    fields = ",".join(f"{kind} {name}" for _, kind, name in message.FIELDS)
    source = (SOURCES / "libraries" / "MessageHash.sol").read_text()
    assert f'"{message.__name__}({fields})"' in source


def test_a_reveal_has_the_same_fields() -> None:
    names = {"scores_micronats": "scores"}
    python = [names.get(name, name) for name in messages.Reveal.model_fields]
    assert [name for _, name in fields_of("Reveal")] == python


def test_limits_are_the_same() -> None:
    source = (SOURCES / "Types.sol").read_text()
    assert f"SCORE_LIMIT_MICRONATS = {messages.SCORE_LIMIT_MICRONATS:_};" in source
    assert f"MAX_PROPOSERS = {messages.MAX_PROPOSERS};" in source
    assert "INVALID_SCORE = type(int32).min;" in source
    assert messages.INVALID_SCORE == -(2**31)
    assert "UNAVAILABLE_SCORE = type(int32).min + 1;" in source
    assert messages.UNAVAILABLE_SCORE == messages.INVALID_SCORE + 1
