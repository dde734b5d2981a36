"""Process-wide logging: one JSON object per line on standard error."""

import logging
import sys
import time

import orjson

_OUR_PACKAGES = ("poselift", "poselift_service")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


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


def configure(level: str) -> None:
    """Send all logs of the process to standard error as JSON lines.

    Libraries never log below INFO: their DEBUG lines are long and may contain secrets.

    Args:
        level: lowest level of our own packages: "debug", "info" ...
    """
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines())
    lowest = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(lowest, logging.INFO), handlers=[stream], force=True)
    for package in _OUR_PACKAGES:
        logging.getLogger(package).setLevel(lowest)
    # uvicorn's lines about start and stop repeat ours.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
