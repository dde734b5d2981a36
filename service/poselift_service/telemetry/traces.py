"""Traces of requests, for OpenTelemetry. The only place that knows it, and imported only where traces are switched on.

Each request is a span, whose parent is the caller's, if it named one. Below it stand the time its work waited, the time
it ran, and the calls to the store of sessions. These are told when they are over, with the moments at which they began
and ended, so nothing of a trace is kept open on the way.

All moments are those of `time.monotonic()`.
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

from poselift_service.telemetry.logs import RequestRecord

# Time in which the last spans have to be sent when the server ends.
_FLUSH_S = 5.0
# What OpenTelemetry calls the status of a request, by transport; for WebSockets it has no name yet.
_STATUS = {
    "http": "http.response.status_code",
    "grpc": "rpc.grpc.status_code",
    "websocket": "poselift.websocket.close_code",
}
_TRACE_CONTEXT = ("traceparent", "tracestate")
# What the server is to blame for; other errors are the caller's, and no errors of the span, by OpenTelemetry's rules.
_OUR_FAULTS = frozenset({"internal_error", "engine_failed", "session_store_down", "not_ready", "deadline_exceeded"})


@dataclass(frozen=True)
class _Epoch:
    """What time it is by the calendar; read once for each request, so that its moments keep their order."""

    ns: int = field(default_factory=lambda: time.time_ns() - time.monotonic_ns())

    def time_ns(self, moment_s: float) -> int:
        return self.ns + round(moment_s * 1e9)


class RequestSpan:
    """The span of one request."""

    def __init__(self, span: Span, epoch: _Epoch) -> None:
        self._span = span
        self._epoch = epoch
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, record: RequestRecord) -> None:
        """Tell what has become of the request."""
        attributes: dict[str, str | int | float] = {
            "poselift.request_id": record.request_id,
            "poselift.transport": record.transport,
            "poselift.code": record.code,
            _STATUS[record.transport]: record.status,
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
        if record.code in _OUR_FAULTS:
            self._span.set_status(StatusCode.ERROR, record.code)
        self._span.end(self._epoch.time_ns(time.monotonic()))


@dataclass(frozen=True)
class _Parent:
    """What spans below that of a request need of it."""

    context: Context
    epoch: _Epoch


# Of the request that this task works for, when its trace is one that is sent. Every request has a task of its own, so
# it is never set back.
_current: ContextVar[_Parent | None] = ContextVar("_current", default=None)


class Traces:
    """Sends spans to a collector, from a thread of its own."""

    def __init__(self, endpoint: str, *, version: str) -> None:
        """Args:
        endpoint: http://host:port, or https:// for TLS, where OTLP is taken over gRPC.
        version: of the software.
        """
        ours = Resource.create({"service.name": "poselift", "service.version": version})
        # Without one of its own, so that FastAPI, which looks for the global provider, does not trace everything again.
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer: Tracer = self._provider.get_tracer("poselift", version)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, header: Callable[[str], str | None], *, started_s: float, is_stream: bool) -> RequestSpan:
        """Begin the span of the request that this task works for.

        Args:
            header: gives the value that the request has sent under a name in lower case.
            is_stream: leave it at that span: a stream would gather others without end.
        """
        sent = {name: value for name in _TRACE_CONTEXT if (value := header(name)) is not None}
        parent = self._propagator.extract(sent, Context())
        epoch = _Epoch()
        span = self._tracer.start_span("request", parent, SpanKind.SERVER, start_time=epoch.time_ns(started_s))
        if span.is_recording() and not is_stream:
            _current.set(_Parent(set_span_in_context(span, parent), epoch))
        return RequestSpan(span, epoch)

    def work(self, submitted_s: float, started_s: float | None, ended_s: float) -> None:
        """Tell of work for the request of this task: when it was submitted, first ran (if it did), and ended."""
        self._child("queue", submitted_s, ended_s if started_s is None else started_s)
        if started_s is not None:
            self._child("inference", started_s, ended_s)

    def store_call(self, operation: str, started_s: float, ended_s: float, *, failed: bool) -> None:
        """Tell of a call to Redis for the request of this task."""
        attributes = {"db.system.name": "redis", "db.operation.name": operation}
        self._child(f"session store {operation}", started_s, ended_s, SpanKind.CLIENT, attributes, failed=failed)

    def close(self) -> None:
        """Send what is left, as far as it can be sent within some seconds."""
        # Closing the exporter ends a call that hangs, and makes all further ones fail at once.
        giving_up = threading.Timer(_FLUSH_S, self._exporter.shutdown)
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()

    def _child(
        self,
        name: str,
        started_s: float,
        ended_s: float,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: dict[str, str] | None = None,
        *,
        failed: bool = False,
    ) -> None:
        parent = _current.get()
        if parent is None:
            return
        started_ns = parent.epoch.time_ns(started_s)
        span = self._tracer.start_span(name, parent.context, kind, attributes, start_time=started_ns)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(parent.epoch.time_ns(ended_s))
