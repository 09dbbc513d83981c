"""A SuperNode's key, as ``ssh-keygen -t ecdsa -b 384`` makes it; that program need not be installed."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from deploy.local.layout import write_secret


def make_flower_key(file: Path) -> Path:
    """Write the private key to ``file`` and the public one beside it. Returns the public one's file."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_secret(file, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())
    public_file = file.with_suffix(".pub")
    public_file.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    return public_file
