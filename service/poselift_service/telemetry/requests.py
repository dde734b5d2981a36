"""Logs as one JSON object per line, and the one line that each request leaves."""

import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from poselift_service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from poselift_service.telemetry.traces import RequestSpan, Traces

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_OUR_PACKAGES = ("poselift", "poselift_service")
_FORMAT_TIME = "%Y-%m-%dT%H:%M:%S"

logger = logging.getLogger(__name__)


@dataclass
class RequestRecord:
    """What is known of a request by the time it has been answered.

    Attributes:
        code: "ok", or that of the error it ended in.
        status: what the transport calls that: an HTTP status, or the number of a gRPC status.
        route: the method with names in place of what differs from request to request, where anything does.
        key: the name of the key that it came with, where keys are asked for.
        model: the model that lifted it.
        frames: frames that got a pose.
        queue_s, inference_s: how long it waited and ran; all messages of a stream together.
        messages: messages of a stream that were answered; None for what is no stream.
        started_s: `time.monotonic()` at its first byte.
        span: its span, where requests are traced.
    """

    request_id: str
    transport: str
    method: str
    code: str = "ok"
    status: int = 0
    route: str | None = None
    key: str | None = None
    model: str | None = None
    frames: int = 0
    queue_s: float = 0.0
    inference_s: float = 0.0
    messages: int | None = None
    started_s: float = field(default_factory=time.monotonic)
    span: "RequestSpan | None" = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What its answer says about it, in headers or in metadata: how to find it in logs and traces."""
        named = ("x-request-id", self.request_id)
        return (named,) if self.span is None else (named, ("traceparent", self.span.traceparent))

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def lifted(self, *, model: str, frames: int, queue_s: float, inference_s: float) -> None:
        """Note what the request got, and how long that waited and ran."""
        self.model, self.frames, self.queue_s, self.inference_s = model, frames, queue_s, inference_s


class JsonLines(logging.Formatter):
    """Format a record as one line of JSON; what is passed as `extra={"fields": {...}}` becomes its members."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime(_FORMAT_TIME, time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(level: str) -> None:
    """Send the logs of the whole process to standard error as JSON lines, from a level on: "debug", "info" ...

    Libraries never get below INFO: what some of them say there is long, and may hold what nobody should read.
    """
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines())
    lowest = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(lowest, logging.INFO), handlers=[stream], force=True)
    for package in _OUR_PACKAGES:
        logging.getLogger(package).setLevel(lowest)
    # Its lines about starting and stopping say what ours already say.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def open_request(
    transport: str,
    method: str,
    header: Callable[[str], str | None],
    metrics: Metrics,
    traces: "Traces | None" = None,
    *,
    is_stream: bool = False,
) -> RequestRecord:
    """Begin the record of a request, in the task that works for it; `close_request` must follow whatever happens.

    Args:
        header: gives the value that the request has sent under a name in lower case.
        traces: where its span goes to, if anywhere.
        is_stream: it may last for hours.
    """
    metrics.began(transport)
    record = RequestRecord(_request_id(header("x-request-id")), transport, method)
    if traces is not None:
        record.span = traces.begin(header, started_s=record.started_s, is_stream=is_stream)
    return record


def _request_id(given: str | None) -> str:
    """The caller's own name for a request, when it is one that can be logged and sent back, or a fresh one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def note_message(
    record: RequestRecord,
    metrics: Metrics,
    *,
    model: str,
    frames: int,
    queue_s: float,
    inference_s: float,
    total_s: float,
) -> None:
    """Count a message of a stream that has been answered; it leaves no line of its own.

    Args:
        frames: frames that got a pose.
        total_s: from the message to its answer.
    """
    record.messages = (record.messages or 0) + 1
    if frames:
        record.model = model
        record.frames += frames
        record.queue_s += queue_s
        record.inference_s += inference_s
        metrics.lifted(record.transport, frames=frames, queue_s=queue_s, inference_s=inference_s, total_s=total_s)


def close_request(record: RequestRecord, metrics: Metrics) -> None:
    """Count, log and trace a request that has been answered: the one place, for every transport."""
    total_s = record.elapsed_s
    metrics.request(record.transport, record.code)
    if record.frames and record.messages is None:
        metrics.lifted(
            record.transport,
            frames=record.frames,
            queue_s=record.queue_s,
            inference_s=record.inference_s,
            total_s=total_s,
        )
    if record.span is not None:
        record.span.end(record)
    _log_request(record, total_s)


def _log_request(record: RequestRecord, total_s: float) -> None:
    """Those about health, which come every few seconds, only at DEBUG."""
    logger.log(
        logging.INFO if record.frames or record.messages is not None or record.code != "ok" else logging.DEBUG,
        "%s",
        record.method,
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
