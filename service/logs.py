"""Logs as one JSON object per line, and the one line that each request leaves."""

import json
import logging
import re
import sys
import time
import uuid
from dataclasses import dataclass, field

from service.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_FORMAT_TIME = "%Y-%m-%dT%H:%M:%S"

logger = logging.getLogger(__name__)


@dataclass
class RequestRecord:
    """What is known of a request by the time it has been answered.

    Attributes:
        code: "ok", or that of the error it ended in.
        status: what the transport calls that: an HTTP status, or the number of a gRPC status.
        key: the name of the key that it came with, where keys are asked for.
        frames: frames that got a pose.
        started_s: `time.monotonic()` at its first byte.
    """

    request_id: str
    transport: str
    method: str
    code: str = "ok"
    status: int = 0
    key: str | None = None
    frames: int = 0
    queue_s: float = 0.0
    inference_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s


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
        return json.dumps(line, default=str)


def configure() -> None:
    """Send the logs of the whole process to standard error as JSON lines."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[stream], force=True)
    # Its lines about starting and stopping say what ours already say.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def request_id(given: str | None) -> str:
    """The caller's own name for a request, when it is one that can be logged and sent back, or a fresh one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def close_request(record: RequestRecord, metrics: Metrics) -> None:
    """Count and log a request that has been answered: the one place, for every transport."""
    total_s = record.elapsed_s
    metrics.request(record.transport, record.code)
    if record.frames:
        metrics.lifted(
            record.transport,
            frames=record.frames,
            queue_s=record.queue_s,
            inference_s=record.inference_s,
            total_s=total_s,
        )
    _log_request(record, total_s)


def _log_request(record: RequestRecord, total_s: float) -> None:
    """Those about health, which come every few seconds, only at DEBUG."""
    logger.log(
        logging.INFO if record.frames or record.code != "ok" else logging.DEBUG,
        "%s",
        record.method,
        extra={
            "fields": {
                "request_id": record.request_id,
                "transport": record.transport,
                "code": record.code,
                "status": record.status,
                **({} if record.key is None else {"key": record.key}),
                "frames": record.frames,
                "queue_s": round(record.queue_s, 6),
                "inference_s": round(record.inference_s, 6),
                "total_s": round(total_s, 6),
            }
        },
    )
