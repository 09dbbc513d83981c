"""A network's statement about its keys, for the invite that it got from the council.

The keys are made here and stay here; the statement holds their addresses, the Flower node's public key and
the fingerprint of the NVFlare certificate.
"""

import hashlib
import ssl
from pathlib import Path

from contracts.deployment import Deployment
from contracts.digests import ZERO_DIGEST, sha256_digest
from contracts.messages import Enrolment
from tier_global.errors import NodeRefusal, SetupError
from tier_global.keys import SigningKey

_MOST_FILE_BYTES = 1 << 16
_BEGIN = "-----BEGIN CERTIFICATE-----"


def read_invite(path: Path) -> str:
    """The invite in a file. Raises SetupError."""
    invite = _text(path).strip()
    if not invite or len(invite.split()) != 1:
        raise SetupError(f"{path} does not hold one invite")
    return invite


def read_flower_key(path: Path) -> str:
    """A SuperNode's public key as ``ssh-keygen`` writes it, without its comment. Raises SetupError."""
    parts = _text(path).split()
    if len(parts) < 2 or not parts[0].startswith("ecdsa-sha2-"):
        raise SetupError(f"{path} is no public key of `ssh-keygen -t ecdsa -b 384` (its .pub file)")
    return " ".join(parts[:2])


def certificate_fingerprint(path: Path) -> str:
    """The SHA-256 of the first certificate in a PEM file, over its DER. Raises SetupError."""
    _, begin, rest = _text(path).partition(_BEGIN)
    try:
        der = ssl.PEM_cert_to_DER_cert(
            begin + rest[: rest.index("-----END") + len("-----END CERTIFICATE-----")]
        )
    except ValueError as error:
        raise SetupError(f"{path} holds no certificate in PEM") from error
    return sha256_digest(der)


def make_statement(
    deployment: Deployment,
    account: SigningKey,
    address: str,
    signer: str,
    *,
    network: str,
    invite: str,
    flower_key: str = "",
    certificate: str = ZERO_DIGEST,
) -> tuple[Enrolment, str]:
    """The statement, and its signature by the node's own account.

    Raises:
        NodeRefusal: the key is not the account's.
        InvalidMessage: a part of it is not what it should be.
    """
    if account.address != address:
        raise NodeRefusal(
            "wrong_key",
            f"this is signed by the node's own account, {address}, and the key is {account.address}'s; "
            "name the file of the account's key with --owner-key-file",
        )
    statement = Enrolment.parse(
        {
            "node": address,
            "signer": signer,
            "network": network,
            "flower_key": flower_key,
            "certificate": certificate,
            "invite": "0x" + hashlib.sha256(invite.encode()).hexdigest(),
        }
    )
    return statement, statement.sign(deployment.registry_domain, account.reveal())


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_FILE_BYTES).decode("ascii", errors="replace")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from error
