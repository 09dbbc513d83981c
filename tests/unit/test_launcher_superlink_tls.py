"""What the launcher's SuperLink is known by."""

import ssl
from pathlib import Path

import pytest

from deploy.local.superlink_tls import SuperLinkTls


@pytest.fixture
def tls(tmp_path: Path) -> SuperLinkTls:
    tls = SuperLinkTls(tmp_path / "tls")
    tls.make("192.0.2.7")
    return tls


def shake_hands(server_tls: SuperLinkTls, trusted: Path, address: str) -> None:
    """A TLS handshake in memory; raises ssl.SSLError where the client does not trust the server."""
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_server.load_cert_chain(server_tls.certificate, server_tls.key)
    of_client = ssl.create_default_context(cafile=trusted)
    of_client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = of_client.wrap_bio(to_client, to_server, server_hostname=address)
    server = of_server.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_it_is_known_at_its_address_by_the_authority_of_the_run(tls: SuperLinkTls) -> None:
    shake_hands(tls, tls.root_certificate, "192.0.2.7")
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shake_hands(tls, tls.root_certificate, "192.0.2.8")


def test_another_runs_authority_does_not_know_it(tls: SuperLinkTls, tmp_path: Path) -> None:
    other = SuperLinkTls(tmp_path / "other")
    other.make("192.0.2.7")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tls, other.root_certificate, "192.0.2.7")


def test_its_key_is_private(tls: SuperLinkTls) -> None:
    assert tls.key.stat().st_mode & 0o777 == 0o600
