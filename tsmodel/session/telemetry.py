"""Requests of a session as OpenTelemetry spans and metrics.

Names follow OpenTelemetry's semantic conventions for database client calls: the span's name is the operation's, and the
histogram `db.client.operation.duration` counts seconds. Records and bytes are counted besides.
"""

from __future__ import annotations

from typing import Any

from tsmodel.frames.libraries import library
from tsmodel.session.observing import Request, Response

__all__ = ["OpenTelemetry"]

_SYSTEM = "tstorage"


class OpenTelemetry:
    """Hooks that make a client span of each request, and count: give it to `connect(..., telemetry=...)`.

    Args:
        tracer_provider: makes spans; None for the global one.
        meter_provider: makes metrics; None for the global one.

    Raises:
        MissingLibraryError: when opentelemetry-api is not installed.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._trace = library("opentelemetry.trace", "telemetry")
        metrics = library("opentelemetry.metrics", "telemetry")
        self._tracer = self._trace.get_tracer("tsmodel", tracer_provider=tracer_provider)
        meter = metrics.get_meter("tsmodel", meter_provider=meter_provider)
        self._duration = meter.create_histogram("db.client.operation.duration", "s", "Duration of requests")
        self._records = meter.create_counter("tsmodel.client.records", "{record}", "Records received and sent")
        self._bytes = meter.create_counter("tsmodel.client.bytes", "By", "Bytes of these records")

    def on_request(self, request: Request) -> None:
        """Begins a span, below the current one."""
        kind = self._trace.SpanKind.CLIENT
        request.notes["span"] = self._tracer.start_span(request.operation, kind=kind, attributes=_attributes(request))

    def on_response(self, response: Response) -> None:
        """Ends it, and counts."""
        request = response.request
        attributes = _attributes(request)
        span = request.notes.pop("span")
        if response.error is not None:
            error_type = type(response.error).__qualname__
            attributes["error.type"] = error_type
            span.set_attribute("error.type", error_type)
            span.record_exception(response.error)
            span.set_status(self._trace.StatusCode.ERROR, str(response.error))
        span.set_attribute("tsmodel.records", response.records)
        span.set_attribute("tsmodel.bytes", response.bytes)
        span.set_attribute("tsmodel.complete", response.complete)
        span.end()
        self._duration.record(response.seconds, attributes)
        self._records.add(response.records, attributes)
        self._bytes.add(response.bytes, attributes)


def _attributes(request: Request) -> dict[str, str]:
    # Without the options behind the "?": they name files of certificates.
    namespace = request.target.partition("?")[0]
    return {"db.system.name": _SYSTEM, "db.operation.name": request.operation, "db.namespace": namespace}
