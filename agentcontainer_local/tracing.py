"""OpenTelemetry traces of requests, where the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from starlette.types import Scope

from agentcontainer_local import __version__

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def tracer(environ: Mapping[str, str]) -> Callable | None:
    """How `Observed` traces a request, or None where that is not asked for; raises RuntimeError without the extra."""
    if not any(environ.get(name) for name in VARIABLES):
        return None
    try:
        from opentelemetry import propagate, trace
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
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    traced = provider.get_tracer("agentcontainer_local")

    @contextlib.contextmanager
    def request(scope: Scope, id: str) -> Iterator[Callable[[int], None]]:
        carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parent = propagate.extract(carried)
        path = scope["path"]
        with traced.start_as_current_span(scope["method"], context=parent, kind=trace.SpanKind.SERVER) as span:
            span.set_attributes({"http.request.method": scope["method"], "url.path": path, "request.id": id})

            def ended(status: int) -> None:
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(trace.StatusCode.ERROR)

            yield ended

    return request
