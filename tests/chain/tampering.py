"""A JSON-RPC proxy that lies: it passes requests on and lets a test alter the answers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


class AnswerWithError(Exception):
    """Raised by an alteration: the proxy answers with a JSON-RPC error of that message."""


Alter = Callable[[dict[str, Any], Any], Any]
"""(request, honest result) → result."""


@contextmanager
def tampering_proxy(rpc_url: str, alter: Alter) -> Iterator[str]:
    """The address of a proxy in front of ``rpc_url``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = client.post(rpc_url, json=request).json()
            if isinstance(request, list):
                for one_request, one_answer in zip(request, answer, strict=True):
                    _alter(one_request, one_answer)
            else:
                _alter(request, answer)
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    def _alter(request: dict[str, Any], answer: dict[str, Any]) -> None:
        if "result" in answer:
            try:
                answer["result"] = alter(request, answer["result"])
            except AnswerWithError as error:
                del answer["result"]
                answer["error"] = {"code": -32000, "message": str(error)}

    client = httpx.Client(timeout=10)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        client.close()
