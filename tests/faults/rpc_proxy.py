"""A faulty way to the chain's RPC: every request fails the first time that it is asked.

A request is what is asked at one height of the chain; asked again, it is passed on.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

_TIMEOUT_S = 10.0
GARBAGE = b"<html><body>Bad gateway</body></html>"


class Fault(StrEnum):
    """What happens to a request."""

    SILENCE = "no answer until the client gives up"
    LOST_REQUEST = "connection closed before the chain heard it"
    LOST_ANSWER = "connection closed after the chain did it"
    UNAVAILABLE = "HTTP 503"
    TOO_MANY = "HTTP 429"
    ERROR = "JSON-RPC error"
    NULL = "null as the result"
    GARBAGE = "an answer that is no JSON"
    TRUNCATED = "an answer that breaks off"
    FOREIGN = "JSON of another kind"
    NO_LOGS = "logs left out"


@dataclass
class FaultyRpc:
    """Where the proxy listens, and what it has let fail, by method (``batch:`` and it, for several)."""

    url: str
    fault: Fault
    head: Callable[[], int]
    failed: Counter[str] = field(default_factory=Counter)
    _asked: set[tuple[str, int]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _released: threading.Event = field(default_factory=threading.Event)

    def fails(self, body: bytes) -> bool:
        """Whether the request fails now."""
        request = json.loads(body)
        requests = request if isinstance(request, list) else [request]
        if self.fault is Fault.NO_LOGS and requests[0]["method"] != "eth_getLogs":
            return False
        what = json.dumps([[each["method"], each.get("params")] for each in requests])
        asked = what, self.head()
        with self._lock:
            if asked in self._asked:
                return False
            self._asked.add(asked)
            method = str(requests[0]["method"])
            self.failed[f"batch:{method}" if isinstance(request, list) else method] += 1
        return True

    def hold(self) -> None:
        """Keep a client waiting until the test is over."""
        self._released.wait()

    def release(self) -> None:
        """Let go of whoever waits."""
        self._released.set()


@contextmanager
def faulty_rpc(target: str, fault: Fault, head: Callable[[], int]) -> Iterator[FaultyRpc]:
    """A proxy in front of an RPC endpoint; ``head`` says how high the chain is."""
    client = httpx.Client(timeout=_TIMEOUT_S, headers={"Content-Type": "application/json"})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer is two small writes; the second would wait for the client to confirm the first.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not rpc.fails(body):
                self._answer(200, forward(body))
                return
            match fault:
                case Fault.SILENCE:
                    rpc.hold()
                    self.close_connection = True
                case Fault.LOST_REQUEST:
                    self.close_connection = True
                case Fault.LOST_ANSWER:
                    forward(body)
                    self.close_connection = True
                case Fault.UNAVAILABLE:
                    self._answer(503, b"")
                case Fault.TOO_MANY:
                    self._answer(429, b"")
                case Fault.ERROR:
                    problem = {"code": -32603, "message": "internal error"}
                    self._answer(200, _in_place_of_results(body, {"error": problem}))
                case Fault.NULL:
                    self._answer(200, _in_place_of_results(body, {"result": None}))
                case Fault.NO_LOGS:
                    self._answer(200, _in_place_of_results(body, {"result": []}))
                case Fault.GARBAGE:
                    self._answer(200, GARBAGE)
                case Fault.TRUNCATED:
                    answer = forward(body)
                    self._answer(200, answer[: len(answer) // 2], len(answer))
                    self.close_connection = True
                case Fault.FOREIGN:
                    self._answer(200, b'{"status": "ok"}')

        def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    def forward(body: bytes) -> bytes:
        return client.post(target, content=body).content

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    rpc = FaultyRpc(f"http://127.0.0.1:{server.server_port}", fault, head)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield rpc
    finally:
        rpc.release()
        server.shutdown()
        thread.join()
        server.server_close()
        client.close()


def _in_place_of_results(body: bytes, answer: dict[str, Any]) -> bytes:
    """An answer in the form of the request: one, or several."""
    request = json.loads(body)
    if isinstance(request, list):
        return json.dumps([{"jsonrpc": "2.0", "id": each["id"], **answer} for each in request]).encode()
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}).encode()
