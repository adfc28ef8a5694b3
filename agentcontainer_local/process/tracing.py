"""OpenTelemetry traces, if the extra `otel` is installed and an OTEL_EXPORTER_OTLP_… endpoint is set.

Each request is a span. A run is sent when it has ended, as a tree of spans.

Traces contain ids, names of models and tools, and numbers, but no text that a user or an agent wrote.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.types import Scope

from agentcontainer_local import __version__

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
MAX_QUEUED_SPANS = 20_000  # spans that were not sent yet; more are dropped


@dataclass(frozen=True)
class Span:
    """A completed operation. `error`: the kind of error, if it failed."""

    name: str
    began: datetime
    ended: datetime
    attributes: Mapping[str, Any]
    error: str | None = None
    events: tuple[tuple[str, datetime, Mapping[str, Any]], ...] = ()
    within: tuple["Span", ...] = field(default=(), repr=False)


class Traces:
    def __init__(self, tracer: Any):
        from opentelemetry import propagate, trace

        self._tracer, self._propagate, self._trace = tracer, propagate, trace

    @contextlib.contextmanager
    def request(self, scope: Scope, id: str) -> Iterator[Callable[[int], None]]:
        """The span of a request, within the `traceparent` header's. Call the yielded function with the HTTP status."""
        carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        kind, method = self._trace.SpanKind.SERVER, scope["method"]
        with self._tracer.start_as_current_span(method, self._propagate.extract(carried), kind) as span:
            # the path without the query, which may contain a key or a signature
            span.set_attributes({"http.request.method": method, "url.path": scope["path"], "request.id": id})

            def ended(status: int) -> None:
                span.set_attribute("http.response.status_code", status)
                if route := getattr(scope.get("route"), "path", None):
                    span.set_attribute("http.route", route)
                    span.update_name(f"{method} {route}")
                if status >= 500:
                    span.set_status(self._trace.StatusCode.ERROR)

            yield ended

    def tell(self, span: Span, parent: Any = None) -> None:
        """Sends a complete tree. Without `parent` it is a trace of its own, even during a request."""
        context = self._trace.set_span_in_context(parent or self._trace.INVALID_SPAN)
        told = self._tracer.start_span(span.name, context, attributes=span.attributes, start_time=_ns(span.began))
        for name, at, attributes in span.events:
            told.add_event(name, attributes, _ns(at))
        if span.error is not None:
            told.set_attribute("error.type", span.error)
            told.set_status(self._trace.StatusCode.ERROR)
        for one in span.within:
            self.tell(one, told)
        told.end(_ns(span.ended))


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1000) * 1_000_000


@contextlib.asynccontextmanager
async def opened(environ: Mapping[str, str]) -> AsyncIterator[Traces | None]:
    """The traces; None if they are not enabled. Raises RuntimeError without the extra. Closing sends what is left."""
    if not any(environ.get(name) for name in VARIABLES):
        yield None
        return
    provider = _provider(environ)
    try:
        yield Traces(provider.get_tracer("agentcontainer_local", __version__))
    finally:
        await asyncio.to_thread(provider.shutdown)


def _provider(environ: Mapping[str, str]) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise RuntimeError(
            "An OTEL_EXPORTER_OTLP_… endpoint is set, but OpenTelemetry is not installed:"
            " `pip install agentcontainer-local[otel]`, or unset it."
        ) from None
    about = {"service.name": environ.get("OTEL_SERVICE_NAME") or "agentcontainer", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=MAX_QUEUED_SPANS))
    return provider
