"""Traces of requests, as a collector receives them."""

import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from poselift_service.telemetry.record import RequestRecord
from poselift_service.telemetry.traces import Traces

from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.conftest import MODEL
from tests.integration.otlp_collector import Collector, running_collector
from tests.integration.redis_process import free_port, running_redis
from tests.integration.server_process import ANSWER_S, ServerProcess, eventually, running
from tests.integration.test_observability import message, streaming
from tests.integration.walking import IMAGE_SIZE, at_rate, body, frames, keypoints

SAMPLED, NOT_SAMPLED = "01", "00"
# Both formats give stage times in milliseconds, JSON rounded to a microsecond.
ROUNDED_S = 2e-6


class Traced:
    """A server that traces requests, and a caller with its own trace."""

    def __init__(self, server: ServerProcess, collector: Collector, grpc_port: int) -> None:
        self.server = server
        self.collector = collector
        self.grpc_port = grpc_port

    def http(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        return httpx.request(method, f"{self.server.address}{path}", headers=headers, timeout=ANSWER_S, **more)

    def grpc(self, metadata: tuple[tuple[str, str], ...], length: int) -> tuple[Any, dict[str, str]]:
        """Return the answer and the trailing metadata of Lift."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            stub: Any = LiftingServiceStub(channel)
            answer, call = stub.Lift.with_call(message(length), metadata=metadata, timeout=ANSWER_S)
            return answer, dict(call.trailing_metadata())

    def spans(self, trace_id: str, *names: str) -> dict[str, Span]:
        """Wait for spans of a trace with these names, and check that there are no others."""

        def sent() -> dict[str, Span] | None:
            spans = self.collector.of_trace(trace_id)
            return spans if spans.keys() >= set(names) else None

        spans = eventually(sent)
        assert spans.keys() == set(names)
        return spans


@pytest.fixture(scope="module")
def traced(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    with ExitStack() as running_parts:
        collector = running_parts.enter_context(running_collector())
        redis = running_parts.enter_context(running_redis(folder))
        environment = running_parts.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        environment.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        settings = {"otlp_endpoint": collector.endpoint, "redis_url": redis.url, "grpc_port": (port := free_port())}
        server = running_parts.enter_context(running(models, folder / "log", **settings))
        yield Traced(server, collector, port)


def parent(flags: str = SAMPLED) -> tuple[str, str, str]:
    """A caller's trace: its ID, the ID of the caller's span, and the header with both."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{flags}"


def attributes(span: Span) -> dict[str, str | int | float]:
    def value(item: Any) -> str | int | float:
        given: str | int | float = getattr(item.value, item.value.WhichOneof("value"))
        return given

    return {item.key: value(item) for item in span.attributes}


def seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


def named(span: Span, trace_id: str) -> str:
    """The `traceparent` that identifies a span in an answer."""
    return f"00-{trace_id}-{span.span_id.hex()}-{SAMPLED}"


def test_an_http_request_is_a_span_of_its_callers_trace(traced: Traced):
    trace_id, caller, traceparent = parent()
    sent = {"traceparent": traceparent, "tracestate": "vendor=1", "x-request-id": "traced-http"}
    answer = traced.http("POST", "/lift", sent, json=body(keypoints(at_rate(50, 5))))
    spans = traced.spans(trace_id, "POST /lift", "queue", "inference")
    request = spans["POST /lift"]
    assert (request.kind, request.parent_span_id.hex(), request.trace_state) == (
        Span.SPAN_KIND_SERVER,
        caller,
        "vendor=1",
    )
    assert answer.headers["traceparent"] == named(request, trace_id)
    told = attributes(request)
    assert told["http.response.status_code"] == 200
    assert {name.removeprefix("poselift."): value for name, value in told.items() if name.startswith("poselift")} == {
        "request_id": "traced-http",
        "transport": "http",
        "code": "ok",
        "model": MODEL,
        "frames": 5,
        "queue_s": pytest.approx(answer.json()["timing_ms"]["queue"] / 1000, abs=ROUNDED_S),
        "inference_s": pytest.approx(answer.json()["timing_ms"]["inference"] / 1000, abs=ROUNDED_S),
    }
    assert traced.server.request_line("traced-http")["trace_id"] == trace_id
    assert traced.collector.service["service.name"] == "poselift"
    assert traced.collector.service["deployment.environment.name"] == "test"


def test_a_grpc_call_is_a_span_of_its_callers_trace(traced: Traced):
    trace_id, caller, traceparent = parent()
    answer, trailing = traced.grpc((("traceparent", traceparent), ("x-request-id", "traced-grpc")), 3)
    name = "poselift.v1.LiftingService/Lift"
    spans = traced.spans(trace_id, name, "queue", "inference")
    assert spans[name].parent_span_id.hex() == caller
    assert trailing["traceparent"] == named(spans[name], trace_id)
    told = attributes(spans[name])
    assert (told["poselift.transport"], told["rpc.grpc.status_code"], told["poselift.frames"]) == ("grpc", 0, 3)
    assert seconds(spans["inference"]) == pytest.approx(answer.timing_ms.inference / 1000, rel=0.05, abs=1e-3)
    assert traced.server.request_line("traced-grpc")["trace_id"] == trace_id


def test_the_stages_of_a_request_follow_each_other_within_its_span(traced: Traced):
    trace_id, _, traceparent = parent()
    clip = body(keypoints(at_rate(50, 400)))
    assert traced.http("POST", "/lift", {"traceparent": traceparent}, json=clip).status_code == 200
    spans = traced.spans(trace_id, "POST /lift", "queue", "inference")
    request, queue, inference = spans["POST /lift"], spans["queue"], spans["inference"]
    assert {queue.parent_span_id, inference.parent_span_id} == {request.span_id}
    assert (
        request.start_time_unix_nano
        < queue.start_time_unix_nano
        < queue.end_time_unix_nano
        == inference.start_time_unix_nano
        < inference.end_time_unix_nano
        < request.end_time_unix_nano
    )


def test_store_calls_are_spans_and_span_names_hold_no_session_id(traced: Traced):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 50, "lookahead": 0}
    session = traced.http("POST", "/sessions", {}, json=opening).json()["session_id"]
    trace_id, _, traceparent = parent()
    sent = {"frame_index": 0, "keypoints": frames(keypoints(at_rate(50, 1)))}
    headers = {"traceparent": traceparent}
    assert traced.http("POST", f"/sessions/{session}/frames", headers, json=sent).status_code == 200
    name = "POST /sessions/{session_id}/frames"
    spans = traced.spans(trace_id, name, "session store advance", "queue", "inference")
    store = spans["session store advance"]
    assert (store.parent_span_id, store.kind) == (spans[name].span_id, Span.SPAN_KIND_CLIENT)
    assert attributes(store) == {"db.system.name": "redis", "db.operation.name": "advance"}
    assert seconds(store) > 0


@pytest.mark.parametrize(
    ("transport", "name"),
    [("grpc", "poselift.v1.LiftingService/LiftStream"), ("websocket", "WEBSOCKET /sessions/{session_id}/stream")],
)
def test_a_stream_is_one_span_however_long_it_is(traced: Traced, transport: str, name: str):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 50, "lookahead": 0}
    session = traced.http("POST", "/sessions", {}, json=opening).json()["session_id"]
    trace_id, caller, traceparent = parent()
    with streaming(transport, traced.server.address, traced.grpc_port, session, {"traceparent": traceparent}) as send:
        for index in range(3):
            send(index)
    stream = traced.spans(trace_id, name)[name]
    assert stream.parent_span_id.hex() == caller
    told = attributes(stream)
    assert [told[f"poselift.{what}"] for what in ("messages", "frames", "model", "code")] == [3, 3, MODEL, "ok"]


def test_refusals_are_traced_and_only_faults_of_the_server_are_errors(traced: Traced):
    trace_id, _, traceparent = parent()
    assert traced.http("POST", "/lift", {"traceparent": traceparent}, json={}).status_code == 422
    refused = traced.spans(trace_id, "POST /lift")["POST /lift"]
    assert (attributes(refused)["poselift.code"], refused.status.code) == ("invalid_request", 0)
    trace_id, _, traceparent = parent()
    assert traced.http("GET", "/no-such-path", {"traceparent": traceparent}).status_code == 404
    assert traced.spans(trace_id, "GET")


def test_without_a_callers_trace_a_new_one_begins(traced: Traced):
    for headers in ({}, {"traceparent": "nonsense"}):
        trace_id = traced.http("GET", "/models", headers).headers["traceparent"].split("-")[1]
        assert traced.spans(trace_id, "GET /models")["GET /models"].parent_span_id == b""


def test_a_request_that_its_caller_does_not_sample_is_not_exported(traced: Traced):
    unsampled, _, traceparent = parent(NOT_SAMPLED)
    answer = traced.http("POST", "/lift", {"traceparent": traceparent}, json=body(keypoints(at_rate(50, 2))))
    assert answer.headers["traceparent"].split("-")[1::2] == [unsampled, NOT_SAMPLED]
    # Any span exported before that of the next request would have arrived by now.
    sampled, _, traceparent = parent()
    traced.http("GET", "/models", {"traceparent": traceparent})
    traced.spans(sampled, "GET /models")
    assert not traced.collector.of_trace(unsampled)


def test_probes_are_not_traced(traced: Traced):
    assert "traceparent" not in traced.http("GET", "/readyz", {}).headers


def finished_request(traces: Traces) -> str:
    """Trace a request; return the ID of its trace."""
    record = RequestRecord("1", "http", "GET /")
    record.span = traces.begin(lambda name: None, started_s=record.started_s, is_stream=False)
    record.span.end(record)
    return record.span.trace_id


def test_remaining_spans_are_sent_at_shutdown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with running_collector() as collector:
        traces = Traces(collector.endpoint, version="1")
        trace_id = finished_request(traces)
        traces.close()
        assert list(collector.of_trace(trace_id)) == ["GET /"]


def test_a_collector_that_hangs_does_not_delay_shutdown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("poselift_service.telemetry.traces._FLUSH_S", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    with running_collector() as collector:
        collector.answers.clear()
        traces = Traces(collector.endpoint, version="1")
        finished_request(traces)
        started = time.monotonic()
        traces.close()
        assert time.monotonic() - started < 20  # the library's own timeout is 30 s


def test_tracing_without_opentelemetry_is_refused_at_the_start(
    models: Path, failed_start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "poselift_service.telemetry.traces")
    assert "poselift[otel]" in failed_start(models, otlp_endpoint="http://127.0.0.1:4317")
    assert "otlp_endpoint" in failed_start(models, otlp_endpoint="collector:4317")
