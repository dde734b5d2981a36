"""Opens and closes the record of each request: its metrics, its log line and its span, for every transport."""

import logging
import re
import uuid
from collections.abc import Callable

from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.telemetry.spans import SpanRecorder

# The artifact and the first digits of a session's ID; the ID itself would let whoever reads the log use the session.
_SESSION_ID = re.compile(r"([0-9a-f]{16}-[0-9a-f]{8})[0-9a-f]{24}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

logger = logging.getLogger(__name__)


def open_request(
    transport: str,
    method: str,
    header: Callable[[str], str | None],
    metrics: Metrics,
    spans: SpanRecorder | None = None,
    *,
    is_stream: bool = False,
) -> RequestRecord:
    """Open the record of a request, in the task that handles it; `close_request` must always follow.

    Args:
        header: returns the value of a request header, by lower-case name.
        spans: receives the span of the request; None where requests are not traced.
        is_stream: whether the request is a stream, which may last for hours.
    """
    metrics.request_started(transport)
    record = RequestRecord(_request_id(header("x-request-id")), transport, method)
    if spans is not None:
        record.span = spans.begin(header, started_s=record.started_s, is_stream=is_stream)
    return record


def _request_id(sent: str | None) -> str:
    """The client's own request ID if it is safe to log and to send back, otherwise a new one."""
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def record_message(
    record: RequestRecord,
    metrics: Metrics,
    *,
    model: str,
    frames: int,
    queue_s: float,
    inference_s: float,
    total_s: float,
) -> None:
    """Add an answered message of a stream to the stream's record and to the metrics; it is not logged by itself.

    Args:
        frames: number of frames answered with a pose.
        total_s: time from the message to its answer.
    """
    record.messages = (record.messages or 0) + 1
    if frames:
        record.model = model
        record.frames += frames
        record.queue_s += queue_s
        record.inference_s += inference_s
        metrics.observe_lift(record.transport, frames=frames, queue_s=queue_s, inference_s=inference_s, total_s=total_s)


def close_request(record: RequestRecord, metrics: Metrics) -> None:
    """Count, trace and log a request that has been answered."""
    total_s = record.elapsed_s
    metrics.request_finished(record.transport, record.code)
    if record.frames and record.messages is None:
        metrics.observe_lift(
            record.transport,
            frames=record.frames,
            queue_s=record.queue_s,
            inference_s=record.inference_s,
            total_s=total_s,
        )
    if record.span is not None:
        record.span.end(record)
    _log_request(record, total_s)


def shorten_session_ids(text: str) -> str:
    """Cut the IDs of sessions in a text."""
    return _SESSION_ID.sub(r"\1...", text)


def _log_request(record: RequestRecord, total_s: float) -> None:
    """Log a request at INFO; one without frames or error, such as a health probe every few seconds, at DEBUG."""
    logger.log(
        logging.INFO if record.frames or record.messages is not None or record.code != "ok" else logging.DEBUG,
        "%s",
        shorten_session_ids(record.method),
        extra={
            "fields": {
                "request_id": record.request_id,
                **({} if record.span is None else {"trace_id": record.span.trace_id}),
                "transport": record.transport,
                "code": record.code,
                "status": record.status,
                **({} if record.key is None else {"key": record.key}),
                **({} if record.model is None else {"model": record.model}),
                "frames": record.frames,
                **({} if record.messages is None else {"messages": record.messages}),
                "queue_s": round(record.queue_s, 6),
                "inference_s": round(record.inference_s, 6),
                "total_s": round(total_s, 6),
            }
        },
    )
