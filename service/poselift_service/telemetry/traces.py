"""Traces requests with OpenTelemetry. Only this module imports it, and only where tracing is enabled is it loaded.

Each request is a span; its parent is the caller's span, if the request names one. Its children are the time its work
was queued, the time it ran, and the calls to the session store. Children are recorded after they end, with their start
and end times, so no span has to be kept open across function calls.

All times are those of `time.monotonic()`.
"""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from poselift_service.telemetry.record import RequestRecord

# Time limit for sending the last spans at shutdown.
_FLUSH_S = 5.0
# OpenTelemetry's attribute for the status of a request, by transport; it defines none for WebSockets yet.
_STATUS_ATTRIBUTES = {
    "http": "http.response.status_code",
    "grpc": "rpc.grpc.status_code",
    "websocket": "poselift.websocket.close_code",
}
_TRACE_CONTEXT_HEADERS = ("traceparent", "tracestate")
# Faults of the server. By OpenTelemetry's conventions, an error of the caller does not make its span an error.
_SERVER_FAULTS = frozenset({"internal_error", "engine_failed", "session_store_down", "not_ready", "deadline_exceeded"})


@dataclass(frozen=True)
class _Epoch:
    """Offset from the monotonic clock to Unix time, read once per request so that its times keep their order."""

    offset_ns: int = field(default_factory=lambda: time.time_ns() - time.monotonic_ns())

    def unix_ns(self, monotonic_s: float) -> int:
        return self.offset_ns + round(monotonic_s * 1e9)


class OpenTelemetrySpan:
    """The span of one request, as `record.RequestSpan` describes it."""

    def __init__(self, span: Span, epoch: _Epoch) -> None:
        self._span = span
        self._epoch = epoch
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, record: RequestRecord) -> None:
        """End the span with the outcome of the request."""
        attributes: dict[str, str | int | float] = {
            "poselift.request_id": record.request_id,
            "poselift.transport": record.transport,
            "poselift.code": record.code,
            _STATUS_ATTRIBUTES[record.transport]: record.status,
        }
        if record.model is not None:
            attributes["poselift.model"] = record.model
            attributes["poselift.frames"] = record.frames
            attributes["poselift.queue_s"] = record.queue_s
            attributes["poselift.inference_s"] = record.inference_s
        if record.messages is not None:
            attributes["poselift.messages"] = record.messages
        self._span.update_name(record.route or record.method)
        self._span.set_attributes(attributes)
        if record.code in _SERVER_FAULTS:
            self._span.set_status(StatusCode.ERROR, record.code)
        self._span.end(self._epoch.unix_ns(time.monotonic()))


@dataclass(frozen=True)
class _Parent:
    """What child spans need to know of their request's span."""

    context: Context
    epoch: _Epoch


# The span of the request that the current task works for, when its trace is exported. Each request has its own task,
# so the variable is never reset.
_current_parent: ContextVar[_Parent | None] = ContextVar("_current_parent", default=None)


class Traces:
    """Exports spans to a collector from a background thread; a `spans.SpanRecorder`."""

    def __init__(self, endpoint: str, *, version: str) -> None:
        """Connect to a collector.

        Args:
            endpoint: its OTLP/gRPC address, http://host:port, or https://host:port for TLS.
            version: version of the service.
        """
        ours = Resource.create({"service.name": "poselift", "service.version": version})
        # Not registered as the global provider: FastAPI would find it there and trace every request a second time.
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer: Tracer = self._provider.get_tracer("poselift", version)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, header: Callable[[str], str | None], *, started_s: float, is_stream: bool) -> OpenTelemetrySpan:
        """Begin the span of the request that the current task works for.

        Args:
            header: returns the value of a request header, by lower-case name.
            is_stream: record no child spans: a stream would collect them without limit.
        """
        sent = {name: value for name in _TRACE_CONTEXT_HEADERS if (value := header(name)) is not None}
        parent = self._propagator.extract(sent, Context())
        epoch = _Epoch()
        span = self._tracer.start_span("request", parent, SpanKind.SERVER, start_time=epoch.unix_ns(started_s))
        if span.is_recording() and not is_stream:
            _current_parent.set(_Parent(set_span_in_context(span, parent), epoch))
        return OpenTelemetrySpan(span, epoch)

    def record_batcher_entry(self, submitted_s: float, started_s: float | None, ended_s: float) -> None:
        """Record the queue and inference spans of a batcher entry of the current task's request.

        Args:
            started_s: when the entry first ran; None if it never did.
        """
        self._record_child("queue", submitted_s, ended_s if started_s is None else started_s)
        if started_s is not None:
            self._record_child("inference", started_s, ended_s)

    def record_store_call(self, operation: str, started_s: float, ended_s: float, *, failed: bool) -> None:
        """Record a call to Redis for the current task's request."""
        attributes = {"db.system.name": "redis", "db.operation.name": operation}
        self._record_child(f"session store {operation}", started_s, ended_s, SpanKind.CLIENT, attributes, failed=failed)

    def close(self) -> None:
        """Export the remaining spans; drop those that cannot be sent within a few seconds."""
        # Shutting the exporter down ends a call that hangs and makes all later ones fail at once.
        abort_timer = threading.Timer(_FLUSH_S, self._exporter.shutdown)
        abort_timer.start()
        self._provider.shutdown()
        abort_timer.cancel()

    def _record_child(
        self,
        name: str,
        started_s: float,
        ended_s: float,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: dict[str, str] | None = None,
        *,
        failed: bool = False,
    ) -> None:
        parent = _current_parent.get()
        if parent is None:
            return
        started_ns = parent.epoch.unix_ns(started_s)
        span = self._tracer.start_span(name, parent.context, kind, attributes, start_time=started_ns)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(parent.epoch.unix_ns(ended_s))
