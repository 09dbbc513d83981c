"""Traces: off without a setting; with one, requests and sends to the chain are spans, without secrets."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator.services.tracing import set_tracer, span
from orchestrator.settings import Settings, SettingsError
from orchestrator.telemetry import start_tracing, trace_requests
from tests.integration.orchestrator_double_rig import Rig

TOKEN_IN_QUERY = "planted-in-the-query"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    yield InMemorySpanExporter()
    set_tracer(None)


def test_requests_and_sends_are_spans(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer(provider.get_tracer("tests"))
    rig = Rig(tmp_path, prepare=lambda app: trace_requests(app, provider))
    try:
        rig.order_admission(0)
        rig.auditor.get(f"/v1/nodes?token={TOKEN_IN_QUERY}")
        rig.auditor.get("/healthz")
        for _ in range(2):
            rig.turn()
        intent = rig.get("/v1/intents/1")
    finally:
        rig.close()
    spans = exporter.get_finished_spans()
    assert [each.name for each in spans if each.name.startswith("POST")] == ["POST /v1/nodes"]
    assert not [each for each in spans if "healthz" in each.name]
    (sent,) = [each for each in spans if each.name == "outbox.send"]
    assert sent.attributes is not None
    assert dict(sent.attributes) == {
        "collegium.intents": (1,),
        "collegium.kinds": ("admit",),
        "collegium.correlation_ids": (intent["correlation_id"],),
        "collegium.transaction": intent["transaction_hash"],
    }
    written = "".join(each.to_json() for each in spans)
    assert TOKEN_IN_QUERY not in written
    assert "Bearer" not in written


def test_without_a_setting_nothing_is_traced(rig: Rig) -> None:
    assert start_tracing(Settings(otlp_endpoint=None), "tests") is None
    with span("anything", {"a": 1}):
        pass


def test_without_the_extra_a_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"collegium\[telemetry\]"):
        start_tracing(Settings(otlp_endpoint="http://127.0.0.1:4318"), "tests")


def test_spans_reach_the_endpoint(exporter: InMemorySpanExporter) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        provider = start_tracing(Settings(otlp_endpoint=endpoint), "collegium-tests")
        assert provider is not None
        with span("outbox.send", {"collegium.intents": [7]}):
            pass
        provider.shutdown()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    ((path, body),) = received
    assert path == "/v1/traces"
    assert b"outbox.send" in body
    assert b"collegium-tests" in body


def test_the_app_does_not_import_it() -> None:
    code = "import sys, orchestrator.app, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
    modules = json.loads(done.stdout)
    assert not [name for name in modules if name.split(".")[0] in ("opentelemetry", "torch", "flwr")]
