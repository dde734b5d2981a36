import logging
import re
import sys

from poselift_service.telemetry.human_logs import HumanLines


def record_of(message: str, *, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "levelno": level, "levelname": logging.getLevelName(level)} | fields)


def test_a_line_has_the_time_the_level_the_message_and_the_fields():
    line = HumanLines().format(record_of("POST /lift", fields={"code": "ok", "frames": 27, "total_s": 0.0312345}))
    assert re.fullmatch(r"\d\d:\d\d:\d\d  INFO     POST /lift  code=ok  frames=27  total_s=0.03123", line)


def test_lists_are_written_with_commas():
    assert HumanLines().format(record_of("serving", fields={"models": ["a@1", "b@2"]})).endswith("models=a@1,b@2")


def test_tables_and_request_ids_are_left_out():
    line = HumanLines().format(record_of("warm", fields={"request_id": "7", "windows_per_s": {"1": 446.6}}))
    assert line.endswith("  INFO     warm")


def test_a_traceback_follows_the_line():
    try:
        raise ValueError("broken")
    except ValueError:
        record = record_of("failed", level=logging.ERROR, exc_info=sys.exc_info())
    first, *rest = HumanLines().format(record).splitlines()
    assert first.endswith("  ERROR    failed")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: broken"
