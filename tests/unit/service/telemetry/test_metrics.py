import contextlib
import shutil
import subprocess

import pytest
from poselift_service.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

# Labels that metrics may have: each takes few values, and none of them comes from a client.
LABELS = {"transport", "code", "stage", "model", "version", "digest", "outcome", "event", "operation", "device", "le"}


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    """Metrics, each observed once."""
    metrics = Metrics(registry)
    metrics.request_started("grpc")
    metrics.request_finished("grpc", "ok")
    metrics.observe_lift("grpc", frames=3, queue_s=0.0009, inference_s=0.2, total_s=40.0)
    queue = metrics.for_queue("tiny", 2, padded=lambda windows: 8)
    queue.batch_started(5)
    queue.batch_failed()
    queue.windows_refused(7)
    queue.entry_finished("cancelled")
    metrics.bind_model("tiny", 2, "0123", lambda: 11)
    metrics.bind_sessions(lambda: 12)
    metrics.count_session_event("opened")
    metrics.observe_store_call("advance", 0.002, failed=True)
    metrics.bind_state(is_ready=lambda: True, is_draining=lambda: False)
    metrics.bind_device_memory("cuda:0", lambda: (13, 7))
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
        ("poselift_device_memory_reserved_bytes", {"device": "cuda:0"}, 7),
    ],
)
def test_observations_are_exported(registry: CollectorRegistry, sample: str, labels: dict[str, str], value: float):
    assert registry.get_sample_value(sample, labels) == value


def test_open_requests_and_streams_are_counted_until_they_end(metrics: Metrics, registry: CollectorRegistry):
    def exported(name: str) -> float | None:
        return registry.get_sample_value(name, {"transport": "websocket"})

    metrics.request_started("websocket")
    with contextlib.suppress(ConnectionError), metrics.track_stream("websocket"):
        assert (exported("poselift_requests_in_flight"), exported("poselift_streams_open")) == (1, 1)
        raise ConnectionError
    metrics.request_finished("websocket", "client_left")
    assert (exported("poselift_requests_in_flight"), exported("poselift_streams_open")) == (0, 0)


def test_a_removed_model_is_no_longer_exported(metrics: Metrics, registry: CollectorRegistry):
    metrics.for_queue("tiny", 3, padded=lambda windows: windows).batch_started(1)
    metrics.remove_model("tiny", 2)
    exported = [sample for family in registry.collect() for sample in family.samples if sample.labels.get("model")]
    assert exported
    assert {sample.labels["version"] for sample in exported} == {"3"}
    # Later reports of its queue do no harm, and the model may be loaded again.
    metrics.bind_model("tiny", 2, "0123", lambda: 14)
    assert registry.get_sample_value("poselift_windows_queued", {"model": "tiny", "version": "2"}) == 14


@pytest.mark.usefixtures("metrics")
def test_names_follow_the_conventions_of_prometheus(registry: CollectorRegistry):
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    ours = [family for family in families if family.name.startswith("poselift_")]
    assert len(ours) > 15
    for family in ours:
        assert family.documentation.endswith("."), family.name
        assert {name for sample in family.samples for name in sample.labels} <= LABELS, family.name
    assert {family.name for family in families} - {family.name for family in ours} >= {"process_resident_memory_bytes"}


@pytest.mark.usefixtures("metrics")
def test_promtool_reports_no_problems(registry: CollectorRegistry):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; on Debian and Ubuntu it is in the package prometheus")
    page = generate_latest(registry)
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
