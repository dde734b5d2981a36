import json
import logging

import pytest
from poselift_service.telemetry.logs import JsonLines
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.requests import close_request, open_request
from prometheus_client import CollectorRegistry


def test_a_request_is_in_flight_until_it_is_closed(registry: CollectorRegistry):
    metrics = Metrics(registry)
    record = open_request("http", "GET /", lambda name: None, metrics)
    assert registry.get_sample_value("poselift_requests_in_flight", {"transport": "http"}) == 1
    record.code = "client_left"
    close_request(record, metrics)
    assert registry.get_sample_value("poselift_requests_in_flight", {"transport": "http"}) == 0
    assert registry.get_sample_value("poselift_requests_total", {"transport": "http", "code": "client_left"}) == 1
    assert registry.get_sample_value("poselift_frames_lifted_total") == 0


@pytest.mark.parametrize(("sent", "kept"), [("a-1", True), ("two words", False), ("x" * 200, False), (None, False)])
def test_a_request_id_is_kept_when_it_is_safe(sent: str | None, kept: bool):
    record = open_request("http", "GET /", lambda name: sent, Metrics())
    assert (record.request_id == sent) is kept
    assert len(record.request_id) <= 128


def test_the_log_line_holds_the_result(caplog: pytest.LogCaptureFixture):
    metrics = Metrics()
    record = open_request("grpc", "Lift", lambda name: "7", metrics)
    record.set_result(model="tiny", frames=2, queue_s=0.25, inference_s=0.5)
    with caplog.at_level(logging.INFO, logger="poselift_service"):
        close_request(record, metrics)
    line = json.loads(JsonLines().format(caplog.records[-1]))
    logged = {name: line[name] for name in ("request_id", "transport", "model", "frames", "queue_s", "inference_s")}
    assert logged == {
        "request_id": "7",
        "transport": "grpc",
        "model": "tiny",
        "frames": 2,
        "queue_s": 0.25,
        "inference_s": 0.5,
    }
    assert line["message"] == "Lift"
