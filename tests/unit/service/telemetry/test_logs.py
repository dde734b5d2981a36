import logging
from collections.abc import Iterator

import pytest
from poselift_service.telemetry.logs import configure


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
