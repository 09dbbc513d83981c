"""An RPC endpoint that trickles, hangs or redirects holds nobody for longer than its timeout."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from orchestrator.adapters.chain.connection import open_web3, translated_errors
from orchestrator.adapters.chain.deadline import DeadlineSession
from orchestrator.domain.chain import ChainError
from tests.integration.certificates import self_signed

TIMEOUT_S = 0.4
PATIENCE_S = 20.0
"""Far more than a timeout on a busy machine, and far less than a trickling answer takes."""
BODY = b'{"jsonrpc": "2.0", "id": 0, "result": "0x7"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)

Answer = Callable[[socket.socket, threading.Event], None]


class Node:
    """A server that answers every request on a connection in a certain way."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self._answer, self._context = answer, context
        self._stop = threading.Event()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop, whatever is under way."""
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with connection, suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.connections += 1
                self._connections.append(connection.dup())
                self._threads.append(threading.Thread(target=self._serve, args=[connection]))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE_S)
            served = connection
            if self._context is not None:
                served = self._context.wrap_socket(connection, server_side=True)
            with served:
                asked = b""
                while received := served.recv(1 << 16):
                    asked += received
                    if asked.endswith(b"}"):
                        asked = b""
                        self._answer(served, self._stop)


def trickle(data: bytes) -> Answer:
    """A byte at a time, each long before any silence would be too long; without end."""

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        at = 0
        while not stop.wait(TIMEOUT_S / 8):
            connection.sendall(data[at : at + 1] or b" ")
            at += 1

    return answer


def silent(connection: socket.socket, stop: threading.Event) -> None:
    stop.wait(PATIENCE_S)


def well(connection: socket.socket, stop: threading.Event) -> None:
    connection.sendall(HEAD + BODY)


def redirect(connection: socket.socket, stop: threading.Event) -> None:
    connection.sendall(
        b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    )


@pytest.fixture
def make_node() -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(answer: Answer, context: ssl.SSLContext | None = None) -> Node:
        made.append(Node(answer, context))
        return made[-1]

    yield make
    for node in made:
        node.close()


def block_number(node: Node) -> int:
    with translated_errors():
        return int(open_web3(node.url, timeout_s=TIMEOUT_S).eth.block_number)


@pytest.mark.parametrize(
    "answer",
    [
        silent,
        trickle(b"H" * 10_000),
        trickle(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000),
        trickle(HEAD + b" " * 10_000),
        trickle(b"HTTP/1.1 200 OK\r\n\r\n" + BODY),
        trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1_000),
    ],
    ids=["silent", "status", "headers", "body", "body without a length", "chunks"],
)
def test_nobody_is_held_by_an_endpoint(make_node: Callable[..., Node], answer: Answer) -> None:
    node, began_s = make_node(answer), time.monotonic()
    with pytest.raises(ChainError):
        block_number(node)
    assert TIMEOUT_S * 0.9 <= time.monotonic() - began_s < PATIENCE_S


def test_nobody_is_held_in_a_tls_handshake_or_behind_it(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # A ticket that comes after the answer makes the client's pool think that the connection was dropped.
    context.num_tickets = 0
    session = DeadlineSession()
    good = make_node(well, context)
    for _ in range(2):
        answer = session.post(good.url, data=b"{}", verify=str(certificate), timeout=PATIENCE_S)
        assert answer.content == BODY
    assert good.connections == 1, "a connection is used again"
    for node in (make_node(trickle(HEAD), context), make_node(silent)):
        url = node.url.replace("http:", "https:")
        with pytest.raises(requests.RequestException):
            session.post(url, data=b"{}", verify=str(certificate), timeout=TIMEOUT_S)


def test_an_exchange_after_one_that_took_too_long_is_fine(make_node: Callable[..., Node]) -> None:
    slow, good = make_node(trickle(HEAD)), make_node(well)
    session = DeadlineSession()
    for _ in range(2):
        with pytest.raises(requests.Timeout, match="no whole answer within"):
            session.post(slow.url, data=b"{}", timeout=TIMEOUT_S)
        assert session.post(good.url, data=b"{}", timeout=PATIENCE_S).content == BODY
    assert (slow.connections, good.connections) == (2, 1)


def test_threads_do_not_end_one_anothers_exchanges(make_node: Callable[..., Node]) -> None:
    slow, good = make_node(trickle(HEAD)), make_node(well)
    session = DeadlineSession()
    failures: list[requests.Timeout] = []

    def ask_the_slow_one() -> None:
        try:
            session.post(slow.url, data=b"{}", timeout=TIMEOUT_S)
        except requests.Timeout as error:
            failures.append(error)

    thread = threading.Thread(target=ask_the_slow_one)
    thread.start()
    while thread.is_alive():
        assert session.post(good.url, data=b"{}", timeout=PATIENCE_S).content == BODY
    thread.join()
    assert len(failures) == 1


def test_a_redirect_is_not_followed(make_node: Callable[..., Node]) -> None:
    with pytest.raises(ChainError, match="redirect"):
        block_number(make_node(redirect))
