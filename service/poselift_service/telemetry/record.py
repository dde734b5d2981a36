"""What is known about one request: its record, and the span that belongs to it."""

import time
from dataclasses import dataclass, field
from typing import Protocol


class RequestSpan(Protocol):
    """The trace span of one request."""

    @property
    def trace_id(self) -> str:
        """Trace identifier, 32 hexadecimal digits."""

    @property
    def traceparent(self) -> str:
        """The span as a W3C `traceparent` header."""

    def end(self, record: "RequestRecord") -> None:
        """End the span with the outcome of the request."""


@dataclass
class RequestRecord:
    """The outcome of one request, complete once it has been answered.

    Attributes:
        code: "ok", or the code of the error that ended the request.
        status: the transport's own status: an HTTP status, or the number of a gRPC status.
        route: the method with placeholders instead of identifiers; None where the method contains none.
        key: name of the API key, where keys are required.
        peer: address of the client, as far as the connection shows it.
        model: the model that lifted the request.
        frames: number of frames answered with a pose.
        queue_s, inference_s: time spent waiting and running; for a stream, the sum over its messages.
        messages: number of answered messages of a stream, those about several sessions counted once for each;
            None for a request that is not a stream.
        started_s: `time.monotonic()` at the first byte.
        span: the span of the request, where requests are traced.
    """

    request_id: str
    transport: str
    method: str
    code: str = "ok"
    status: int = 0
    route: str | None = None
    key: str | None = None
    peer: str = ""
    model: str | None = None
    frames: int = 0
    queue_s: float = 0.0
    inference_s: float = 0.0
    messages: int | None = None
    started_s: float = field(default_factory=time.monotonic)
    span: RequestSpan | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Response headers (gRPC: metadata) that identify the request in logs and traces."""
        request_id = ("x-request-id", self.request_id)
        return (request_id,) if self.span is None else (request_id, ("traceparent", self.span.traceparent))

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def set_result(self, *, model: str, frames: int, queue_s: float, inference_s: float) -> None:
        """Store the model, the number of poses and the stage times of a lifted request."""
        self.model, self.frames, self.queue_s, self.inference_s = model, frames, queue_s, inference_s
