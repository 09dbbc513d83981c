"""Where the verifier gets artifacts: a folder and an orchestrator's address behave the same."""

import gzip
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from contracts.digests import sha256_digest
from contracts.verify.artifact_source import (
    MAPPED_FROM_BYTES,
    ArtifactSource,
    FolderSource,
    HttpSource,
    open_source,
)
from contracts.verify.errors import ArtifactSourceFailed, CannotVerify, ChainUnavailable
from contracts.verify.rpc import JsonRpc

DATA = b"an artifact of some bytes"
DIGEST = sha256_digest(DATA)
TOKEN = "a reader's token"


@contextmanager
def serving(answer: Callable[[str, str | None], tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server that answers GET requests by path and Authorization header."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with running(Handler) as url:
        yield url


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of an HTTP server that answers by ``handler``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def orchestrator(path: str, authorization: str | None) -> tuple[int, bytes]:
    if authorization != f"Bearer {TOKEN}":
        return 401, b"{}"
    return (200, DATA) if path == f"/v1/artifacts/{DIGEST}" else (404, b"{}")


@pytest.fixture(params=["folder", "http"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactSource]:
    if request.param == "folder":
        path = tmp_path / DIGEST[2:4] / DIGEST[2:]
        path.parent.mkdir()
        path.write_bytes(DATA)
        yield open_source(str(tmp_path))
    else:
        with serving(orchestrator) as url:
            yield open_source(url, token=TOKEN)


def test_what_is_there_is_read_whole(source: ArtifactSource) -> None:
    assert source.read(DIGEST, most_bytes=len(DATA)) == DATA


def test_what_is_missing_is_none(source: ArtifactSource) -> None:
    assert source.read(sha256_digest(b"nothing"), most_bytes=100) is None


def test_no_more_than_one_byte_too_many_is_read(source: ArtifactSource) -> None:
    assert source.read(DIGEST, most_bytes=4) == DATA[:5]


def test_a_large_file_of_a_folder_is_mapped_and_read_only(tmp_path: Path) -> None:
    data = b"adapter!" * (MAPPED_FROM_BYTES // 8)
    digest = sha256_digest(data)
    (tmp_path / digest[2:4]).mkdir()
    (tmp_path / digest[2:4] / digest[2:]).write_bytes(data)
    found = FolderSource(tmp_path).read(digest, most_bytes=len(data))
    assert isinstance(found, memoryview)
    assert found.readonly
    assert sha256_digest(found) == digest
    assert FolderSource(tmp_path).read(digest, most_bytes=7) == data[:8]


def test_a_refusal_and_a_dead_address_are_failures_and_not_missing_artifacts() -> None:
    with serving(orchestrator) as url:
        with pytest.raises(ArtifactSourceFailed, match="401"):
            HttpSource(url).read(DIGEST, most_bytes=100)
        with pytest.raises(ArtifactSourceFailed, match="401") as refusal:
            HttpSource(url, token="wrong").read(DIGEST, most_bytes=100)
        assert "wrong" not in str(refusal.value)
    with pytest.raises(ArtifactSourceFailed):
        HttpSource("http://127.0.0.1:1").read(DIGEST, most_bytes=100)


def test_an_address_that_is_none_is_a_failure() -> None:
    for location in ("http://[", "http://", "https://:99999"):
        with pytest.raises(ArtifactSourceFailed):
            open_source(location).read(DIGEST, most_bytes=100)


def test_a_source_that_drips_is_given_up() -> None:
    """Each byte comes in time, the artifact never does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b".")
            except OSError:
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with running(Handler) as url:
        source = HttpSource(url, timeout_s=0.3)
        with pytest.raises(ArtifactSourceFailed, match=r"did not come within 0\.3 s"):
            source.read(DIGEST, most_bytes=1 << 40)


def read_artifact(url: str) -> None:
    HttpSource(url).read(DIGEST, most_bytes=100)


def ask_endpoint(url: str) -> None:
    JsonRpc(url, most_bytes=100).ask("eth_chainId")


@pytest.mark.parametrize(
    ("ask", "failure"),
    [(read_artifact, ArtifactSourceFailed), (ask_endpoint, ChainUnavailable)],
    ids=["artifact", "endpoint"],
)
def test_what_is_compressed_twice_is_never_unpacked(
    ask: Callable[[str], None], failure: type[CannotVerify]
) -> None:
    """A few hundred bytes on the wire, 64 MB in one piece once unpacked."""
    bomb = gzip.compress(gzip.compress(bytes(64 << 20), 9), 9)
    assert len(bomb) < 1_000

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip, gzip")
            self.send_header("Content-Length", str(len(bomb)))
            self.end_headers()
            self.wfile.write(bomb)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with running(Handler) as url:
        tracemalloc.start()
        try:
            with pytest.raises(failure, match="compressed"):
                ask(url)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 16 << 20


def test_an_empty_artifact_is_read(tmp_path: Path) -> None:
    path = tmp_path / DIGEST[2:4] / DIGEST[2:]
    path.parent.mkdir()
    path.touch()
    assert FolderSource(tmp_path).read(DIGEST, most_bytes=10) == b""


def test_a_folder_must_exist_and_its_files_be_readable(tmp_path: Path) -> None:
    with pytest.raises(ArtifactSourceFailed, match="not a folder"):
        FolderSource(tmp_path / "nothing")
    (tmp_path / DIGEST[2:4] / DIGEST[2:]).mkdir(parents=True)
    with pytest.raises(ArtifactSourceFailed, match="cannot be read"):
        FolderSource(tmp_path).read(DIGEST, most_bytes=100)
