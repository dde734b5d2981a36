import json
import logging
from collections.abc import Iterator

import pytest
from poselift_service.telemetry.logs import JsonLines, close_request, configure, open_request
from poselift_service.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """Give the loggers back as they were."""
    names = ("", "poselift", "poselift_service", "uvicorn")
    before = {name: logging.getLogger(name).level for name in names}
    root = logging.getLogger()
    streams = root.handlers[:]
    yield
    root.handlers[:] = streams
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_a_request_is_in_flight_until_it_is_closed(registry: CollectorRegistry):
    metrics = Metrics(registry)
    record = open_request("http", "GET /", lambda name: None, metrics)
    assert registry.get_sample_value("poselift_requests_in_flight", {"transport": "http"}) == 1
    record.code = "client_left"
    close_request(record, metrics)
    assert registry.get_sample_value("poselift_requests_in_flight", {"transport": "http"}) == 0
    assert registry.get_sample_value("poselift_requests_total", {"transport": "http", "code": "client_left"}) == 1
    assert registry.get_sample_value("poselift_frames_lifted_total") == 0


@pytest.mark.parametrize(("given", "kept"), [("a-1", True), ("two words", False), ("x" * 200, False), (None, False)])
def test_a_name_for_the_request_is_kept_when_it_can_be(given: str | None, kept: bool):
    record = open_request("http", "GET /", lambda name: given, Metrics())
    assert (record.request_id == given) is kept
    assert len(record.request_id) <= 128


def test_the_line_says_what_the_request_got(caplog: pytest.LogCaptureFixture):
    metrics = Metrics()
    record = open_request("grpc", "Lift", lambda name: "7", metrics)
    record.lifted(model="tiny", frames=2, queue_s=0.25, inference_s=0.5)
    with caplog.at_level(logging.INFO, logger="poselift_service"):
        close_request(record, metrics)
    line = json.loads(JsonLines().format(caplog.records[-1]))
    told = {name: line[name] for name in ("request_id", "transport", "model", "frames", "queue_s", "inference_s")}
    assert told == {
        "request_id": "7",
        "transport": "grpc",
        "model": "tiny",
        "frames": 2,
        "queue_s": 0.25,
        "inference_s": 0.5,
    }
    assert line["message"] == "Lift"


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("level", "ours", "others"),
    [
        ("debug", "DEBUG", "INFO"),
        ("info", "INFO", "INFO"),
        ("warning", "WARNING", "WARNING"),
        ("error",) + ("ERROR",) * 2,
    ],
)
def test_libraries_never_say_more_than_we_do(level: str, ours: str, others: str):
    configure(level)
    assert logging.getLevelName(logging.getLogger("poselift_service.http.app").getEffectiveLevel()) == ours
    assert logging.getLevelName(logging.getLogger("botocore").getEffectiveLevel()) == others
