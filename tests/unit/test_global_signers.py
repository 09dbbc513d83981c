"""Whether a node has signed: keys, replaced keys, and contract wallets, which the hub asks about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from contracts.digests import digest_text
from contracts.signatures import address_of, new_private_key, personal_digest, sign
from tier_global.signers import Signers

KEY, OTHER_KEY = new_private_key(), new_private_key()
NODE, WALLET = "0x" + "0A" * 20, "0x" + "0b" * 20
DIGEST = personal_digest("anything")


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


def signature_by(key: str) -> str:
    return sign(DIGEST, key)


def test_what_the_key_signed_costs_one_read() -> None:
    book = Book({NODE: address_of(KEY)})
    signers = Signers(book)
    assert signers.have_signed(NODE, DIGEST, signature_by(KEY))
    assert signers.have_signed(NODE, DIGEST, signature_by(KEY))
    assert (book.reads, book.asked) == (1, [])


def test_a_replaced_key_is_read_again() -> None:
    book = Book({NODE: address_of(KEY)})
    signers = Signers(book)
    assert signers.knows(NODE)
    book.known[NODE] = address_of(OTHER_KEY)
    assert signers.have_signed(NODE, DIGEST, signature_by(OTHER_KEY))
    assert not signers.have_signed(NODE, DIGEST, signature_by(KEY))


def test_a_wallet_is_asked_about_what_no_key_signed() -> None:
    book = Book({NODE: WALLET})
    signers = Signers(book)
    assert signers.have_signed(NODE, DIGEST, signature_by(OTHER_KEY))
    assert book.asked == [(NODE, digest_text(DIGEST), signature_by(OTHER_KEY))]
    assert not signers.have_signed(NODE, DIGEST, signature_by(KEY))


@pytest.mark.parametrize("signature", ["0x" + "ff" * 65, "0x" + "00" * 1024])
def test_nonsense_is_no_keys_signature(signature: str) -> None:
    assert not Signers(Book({NODE: address_of(KEY)})).have_signed(NODE, DIGEST, signature)


def test_strangers_have_signed_nothing() -> None:
    book = Book({})
    assert not Signers(book).have_signed(NODE, DIGEST, signature_by(KEY))
    assert book.asked == []
