"""How a node's signing key proves itself to a hub: a text after EIP-4361, signed as a personal message.

The node writes the text itself, out of the address that it dialled and the deployment that it trusts; of the
hub's challenge it takes the nonce and the times only. So no hub gets a signature that another would accept.
A contract wallet (ERC-1271) signs in too, where it accepts the digest of the text.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from contracts.errors import InvalidMessage
from contracts.signatures import personal_digest, recover_signer, sign

LONGEST_CHALLENGE_S = 600
_NONCE = re.compile(r"[A-Za-z0-9]{16,64}")


@dataclass(frozen=True)
class SignIn:
    """What is signed: who (``signer``, for ``node``), where (``url``, chain, registry), and when."""

    url: str
    node: str
    signer: str
    chain_id: int
    registry: str
    nonce: str
    issued_unix_s: int
    expires_unix_s: int

    def __post_init__(self) -> None:
        if _NONCE.fullmatch(self.nonce) is None:
            raise InvalidMessage("a sign-in's nonce has 16 to 64 letters and digits")
        if not 0 < self.expires_unix_s - self.issued_unix_s <= LONGEST_CHALLENGE_S:
            raise InvalidMessage(f"a sign-in lasts at most {LONGEST_CHALLENGE_S} s")

    @property
    def domain(self) -> str:
        """The hub's host, with its port where it is not the usual one."""
        return domain_of(self.url)

    @property
    def text(self) -> str:
        """What a person would read before signing."""
        return (
            f"{self.domain} wants you to sign in with your Ethereum account:\n"
            f"{self.signer}\n\n"
            f"Operate the node {self.node} of the Collegium registry {self.registry}.\n\n"
            f"URI: {origin_of(self.url)}\n"
            "Version: 1\n"
            f"Chain ID: {self.chain_id}\n"
            f"Nonce: {self.nonce}\n"
            f"Issued At: {_time(self.issued_unix_s)}\n"
            f"Expiration Time: {_time(self.expires_unix_s)}"
        )

    def sign(self, private_key: str) -> str:
        """The signature by a key, 65 bytes in hex."""
        return sign(self.digest, private_key)

    @property
    def digest(self) -> bytes:
        """What a key signs, and what a contract wallet is asked about."""
        return personal_digest(self.text)

    def signer_of(self, signature: str) -> str:
        """Who signed this text. Raises InvalidMessage."""
        return recover_signer(self.digest, signature)


def domain_of(url: str) -> str:
    """Host and port of a URL, lower case."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    return f"{urlsplit(url).scheme.lower()}://{domain_of(url)}"


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
