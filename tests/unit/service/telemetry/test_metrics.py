import contextlib
import shutil
import subprocess

import pytest
from poselift_service.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

# What a label may be about: each has few values, and none comes from a client.
LABELS = {"transport", "code", "stage", "model", "version", "digest", "outcome", "event", "operation", "device", "le"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    """Metrics that have each been observed once."""
    metrics = Metrics(registry)
    metrics.began("grpc")
    metrics.request("grpc", "ok")
    metrics.lifted("grpc", frames=3, queue_s=0.0009, inference_s=0.2, total_s=40.0)
    queue = metrics.queue("tiny", 2, padded=lambda windows: 8)
    queue.batch(5)
    queue.batch_failed()
    queue.refused(7)
    queue.entry("cancelled")
    metrics.model("tiny", 2, "0123", lambda: 11)
    metrics.sessions(lambda: 12)
    metrics.session("opened")
    metrics.store_call("advance", 0.002, failed=True)
    metrics.life(is_ready=lambda: True, is_draining=lambda: False)
    metrics.device_memory("cuda:0", lambda: 13)
    return metrics


@pytest.mark.usefixtures("metrics")
@pytest.mark.parametrize(
    ("sample", "labels", "value"),
    [
        ("poselift_requests_total", {"transport": "grpc", "code": "ok"}, 1),
        ("poselift_requests_in_flight", {"transport": "grpc"}, 0),
        ("poselift_frames_lifted_total", {}, 3),
        ("poselift_stage_seconds_bucket", {"transport": "grpc", "stage": "queue", "le": "0.001"}, 1),
        ("poselift_stage_seconds_sum", {"transport": "grpc", "stage": "inference"}, 0.2),
        ("poselift_stage_seconds_bucket", {"transport": "grpc", "stage": "total", "le": "30.0"}, 0),
        ("poselift_stage_seconds_count", {"transport": "grpc", "stage": "total"}, 1),
        ("poselift_batch_windows_sum", {"model": "tiny", "version": "2"}, 5),
        ("poselift_padding_windows_total", {"model": "tiny", "version": "2"}, 3),
        ("poselift_engine_failures_total", {"model": "tiny", "version": "2"}, 1),
        ("poselift_windows_refused_total", {"model": "tiny", "version": "2"}, 7),
        ("poselift_entries_total", {"model": "tiny", "version": "2", "outcome": "cancelled"}, 1),
        ("poselift_windows_queued", {"model": "tiny", "version": "2"}, 11),
        ("poselift_model_info", {"model": "tiny", "version": "2", "digest": "0123"}, 1),
        ("poselift_sessions_held", {}, 12),
        ("poselift_session_events_total", {"event": "opened"}, 1),
        ("poselift_session_store_seconds_count", {"operation": "advance"}, 1),
        ("poselift_session_store_errors_total", {"operation": "advance"}, 1),
        ("poselift_ready", {}, 1),
        ("poselift_draining", {}, 0),
        ("poselift_device_memory_bytes", {"device": "cuda:0"}, 13),
    ],
)
def test_what_is_observed_is_shown(registry: CollectorRegistry, sample: str, labels: dict[str, str], value: float):
    assert registry.get_sample_value(sample, labels) == value


def test_requests_and_streams_that_go_on_are_counted_as_long(metrics: Metrics, registry: CollectorRegistry):
    def shown(name: str) -> float | None:
        return registry.get_sample_value(name, {"transport": "websocket"})

    metrics.began("websocket")
    with contextlib.suppress(ConnectionError), metrics.stream("websocket"):
        assert (shown("poselift_requests_in_flight"), shown("poselift_streams_open")) == (1, 1)
        raise ConnectionError
    metrics.request("websocket", "client_left")
    assert (shown("poselift_requests_in_flight"), shown("poselift_streams_open")) == (0, 0)


def test_a_model_that_is_gone_is_shown_no_more(metrics: Metrics, registry: CollectorRegistry):
    metrics.queue("tiny", 3, padded=lambda windows: windows).batch(1)
    metrics.forget_model("tiny", 2)
    shown = [sample for family in registry.collect() for sample in family.samples if sample.labels.get("model")]
    assert shown
    assert {sample.labels["version"] for sample in shown} == {"3"}
    # Whatever its queue still says harms nobody, and the model may come again.
    metrics.model("tiny", 2, "0123", lambda: 14)
    assert registry.get_sample_value("poselift_windows_queued", {"model": "tiny", "version": "2"}) == 14


@pytest.mark.usefixtures("metrics")
def test_everything_is_named_as_prometheus_wants_it(registry: CollectorRegistry):
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    ours = [family for family in families if family.name.startswith("poselift_")]
    assert len(ours) > 15
    for family in ours:
        assert family.documentation.endswith("."), family.name
        assert {name for sample in family.samples for name in sample.labels} <= LABELS, family.name
    assert {family.name for family in families} - {family.name for family in ours} >= {"process_resident_memory_bytes"}


@pytest.mark.usefixtures("metrics")
def test_promtool_finds_nothing_to_say(registry: CollectorRegistry):
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool here; Debian and Ubuntu have it in the package prometheus")
    page = generate_latest(registry)
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
