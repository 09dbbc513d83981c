"""Traces over OTLP: off without ``COLLEGIUM_OTLP_ENDPOINT``; needs the extra ``telemetry``."""

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from orchestrator.services.tracing import set_tracer
from orchestrator.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_QUIET = "healthz,readyz,metrics"
_ADDRESSES = ("http.url", "url.full", "http.target", "url.path", "url.query")
"""Attributes that would repeat what a caller wrote into the address, which may be a secret."""


def start_tracing(settings: Settings, service: str) -> "TracerProvider | None":
    """Send this process's spans to the endpoint in the settings; None without one.

    Raises:
        SettingsError: the extra is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "COLLEGIUM_OTLP_ENDPOINT is set, but collegium[telemetry] is not installed"
        ) from error
    provider = TracerProvider(resource=Resource({"service.name": service}))
    endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    set_tracer(provider.get_tracer(service))
    return provider


def trace_requests(app: FastAPI, provider: "TracerProvider") -> None:
    """Make every request of the app a span."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=_QUIET,
        exclude_spans=["receive", "send"],
        server_request_hook=_without_address,
    )


def _without_address(span: "Span", _: dict[str, Any]) -> None:
    for name in _ADDRESSES:
        span.set_attribute(name, "")
