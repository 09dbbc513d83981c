"""What the SuperLink of a run is known by: an authority for this run alone, and a certificate of it."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local.layout import write_secret

_CLOCK_SKEW = timedelta(hours=1)
_VALID = timedelta(days=7)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class SuperLinkTls:
    """The files in one folder."""

    folder: Path

    @property
    def root_certificate(self) -> Path:
        """The authority's, which the nodes and ``flwr`` trust."""
        return self.folder / "root.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "superlink.pem"

    @property
    def key(self) -> Path:
        return self.folder / "superlink.key"

    def make(self, address: str) -> None:
        """Make them for a SuperLink that is reached at an IP address. Nobody keeps the authority's key."""
        self.folder.mkdir(parents=True)
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name, name = _named("Collegium, local run"), _named(address)
        root = (
            _builder(root_name, root_name, root_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .sign(root_key, hashes.SHA256())
        )
        reached_at = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        certificate = (
            _builder(name, root_name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(reached_at, critical=False)
            .add_extension(authority, critical=False)
            .sign(root_key, hashes.SHA256())
        )
        self.root_certificate.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_secret(self.key, pem.decode())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
