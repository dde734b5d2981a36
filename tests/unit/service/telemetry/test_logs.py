import io
import json
import logging
from collections.abc import Iterator

import pytest
from poselift_service.telemetry.logs import LogFormat, configure


@pytest.fixture
def restored_loggers() -> Iterator[None]:
    """Restore all loggers afterwards."""
    names = ("", "poselift", "poselift_service", "uvicorn")
    before = {name: logging.getLogger(name).level for name in names}
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("restored_loggers")
@pytest.mark.parametrize(
    ("level", "ours", "others"),
    [
        ("debug", "DEBUG", "INFO"),
        ("info", "INFO", "INFO"),
        ("warning", "WARNING", "WARNING"),
        ("error", "ERROR", "ERROR"),
    ],
)
def test_libraries_never_log_below_info(level: str, ours: str, others: str):
    configure(level)
    assert logging.getLevelName(logging.getLogger("poselift_service.http.app").getEffectiveLevel()) == ours
    assert logging.getLevelName(logging.getLogger("botocore").getEffectiveLevel()) == others


@pytest.mark.usefixtures("restored_loggers")
@pytest.mark.parametrize(
    ("log_format", "is_terminal", "is_human"),
    [("auto", True, True), ("auto", False, False), ("human", False, True), ("json", True, False)],
)
def test_logs_are_for_people_on_a_terminal_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, log_format: LogFormat, is_terminal: bool, is_human: bool
):
    standard_error = io.StringIO()
    monkeypatch.setattr(standard_error, "isatty", lambda: is_terminal)
    monkeypatch.setattr("sys.stderr", standard_error)
    configure("info", log_format)
    logging.getLogger("poselift_service").info("serving", extra={"fields": {"port": 8000}})
    line = standard_error.getvalue()
    if is_human:
        assert line.endswith("  INFO     serving  port=8000\n")
    else:
        assert json.loads(line)["port"] == 8000
