"""The interface for recording spans; `traces` implements it with OpenTelemetry.

All times are those of `time.monotonic()`.
"""

from collections.abc import Callable
from typing import Protocol

from poselift_service.telemetry.record import RequestSpan


class SpanRecorder(Protocol):
    """Records the span of each request, and the spans below it."""

    def begin(self, header: Callable[[str], str | None], *, started_s: float, is_stream: bool) -> RequestSpan:
        """Begin the span of the request that the current task works for.

        Args:
            header: returns the value of a request header, by lower-case name.
            is_stream: record no child spans: a stream would collect them without limit.
        """

    def record_batcher_entry(self, submitted_s: float, started_s: float | None, ended_s: float) -> None:
        """Record the queue and inference spans of a batcher entry of the current task's request.

        Args:
            started_s: when the entry first ran; None if it never did.
        """

    def record_store_call(self, operation: str, started_s: float, ended_s: float, *, failed: bool) -> None:
        """Record a call to the session store for the current task's request."""
