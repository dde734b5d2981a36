"""Process-wide logging on standard error: one JSON object per line, or lines for people."""

import logging
import sys
import time
from typing import Literal

import orjson

from poselift_service.telemetry.human_logs import HumanLines

_OUR_PACKAGES = ("poselift", "poselift_service")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"

LogFormat = Literal["auto", "human", "json"]


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime(_TIME_FORMAT, time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(level: str, log_format: LogFormat = "json") -> None:
    """Send all logs of the process to standard error.

    Libraries never log below INFO: their DEBUG lines are long and may contain secrets.

    Args:
        level: lowest level of our own packages: "debug", "info" ...
        log_format: "json" writes a JSON object per line, "human" lines for people; "auto" takes "human" where standard
            error is a terminal.
    """
    stream = logging.StreamHandler(sys.stderr)
    is_human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    stream.setFormatter(HumanLines() if is_human else JsonLines())
    lowest = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(lowest, logging.INFO), handlers=[stream], force=True)
    for package in _OUR_PACKAGES:
        logging.getLogger(package).setLevel(lowest)
    # uvicorn's lines about start and stop repeat ours.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
