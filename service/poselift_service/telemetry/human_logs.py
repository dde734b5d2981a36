"""Log lines for people who read them on a terminal."""

import logging
import time
from collections.abc import Mapping

# Only programs use them; JSON lines have them.
_HIDDEN_FIELDS = frozenset({"request_id"})


class HumanLines(logging.Formatter):
    """Formats a record as `12:30:05  INFO     message  name=value ...`, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock}  {record.levelname:<7}  {record.getMessage()}{_fields(getattr(record, 'fields', {}))}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(fields: Mapping[str, object]) -> str:
    """Format all fields but tables, which do not fit into a line."""
    shown = ((name, value) for name, value in fields.items() if name not in _HIDDEN_FIELDS)
    return "".join(f"  {name}={_value(value)}" for name, value in shown if not isinstance(value, Mapping))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
