"""Whether a node has signed: keys, replaced keys, and contract wallets, which the hub asks about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from contracts.accounts import Account, encode_defunct, message_digest
from tier_global.signers import Signers

KEY, OTHER_KEY = Account.create(), Account.create()
NODE, WALLET = "0x" + "0A" * 20, "0x" + "0b" * 20
TEXT = encode_defunct(text="anything")


@dataclass
class Book:
    """``SignerBook`` that remembers how often it was asked; a wallet accepts what OTHER_KEY signed."""

    known: dict[str, str]
    reads: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def signers(self) -> Mapping[str, str]:
        """The keys now."""
        self.reads += 1
        return dict(self.known)

    def accepts(self, node: str, digest: str, signature: str) -> bool:
        """Whether the node's wallet, if it has one, accepts that."""
        self.asked.append((node, digest, signature))
        return self.known[node] == WALLET and signature == signature_by(OTHER_KEY)


def signature_by(key: object) -> str:
    return "0x" + bytes(key.sign_message(TEXT).signature).hex()  # type: ignore[attr-defined]


def test_what_the_key_signed_costs_one_read() -> None:
    book = Book({NODE: KEY.address})
    signers = Signers(book)
    assert signers.have_signed(NODE, TEXT, signature_by(KEY))
    assert signers.have_signed(NODE, TEXT, signature_by(KEY))
    assert (book.reads, book.asked) == (1, [])


def test_a_replaced_key_is_read_again() -> None:
    book = Book({NODE: KEY.address})
    signers = Signers(book)
    assert signers.knows(NODE)
    book.known[NODE] = OTHER_KEY.address
    assert signers.have_signed(NODE, TEXT, signature_by(OTHER_KEY))
    assert not signers.have_signed(NODE, TEXT, signature_by(KEY))


def test_a_wallet_is_asked_about_what_no_key_signed() -> None:
    book = Book({NODE: WALLET})
    signers = Signers(book)
    assert signers.have_signed(NODE, TEXT, signature_by(OTHER_KEY))
    assert book.asked == [(NODE, message_digest(TEXT), signature_by(OTHER_KEY))]
    assert not signers.have_signed(NODE, TEXT, signature_by(KEY))


@pytest.mark.parametrize("signature", ["0x" + "ff" * 65, "0x" + "00" * 1024])
def test_nonsense_is_no_keys_signature(signature: str) -> None:
    assert not Signers(Book({NODE: KEY.address})).have_signed(NODE, TEXT, signature)


def test_strangers_have_signed_nothing() -> None:
    book = Book({})
    assert not Signers(book).have_signed(NODE, TEXT, signature_by(KEY))
    assert book.asked == []
