"""The metrics page of a running server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.conftest import MODEL
from tests.integration.redis_process import RedisProcess, free_port, running_redis
from tests.integration.server_process import ANSWER_S, ServerProcess, eventually, running
from tests.integration.test_life import LONG_DEADLINE
from tests.integration.walking import IMAGE_SIZE, at_rate, body, frames, keypoints

LONG = 3000  # frames; they take seconds to lift


@dataclass(frozen=True)
class Watched:
    """A server, its ports, and the Redis in which it keeps sessions."""

    server: ServerProcess
    grpc_port: int
    metrics_port: int
    redis: RedisProcess

    def page(self) -> "Page":
        return Page(httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=ANSWER_S).text)

    def settled(self) -> "Page":
        """The page once nothing is in flight: requests are counted after their answers have been sent."""
        return eventually(lambda: page if (page := self.page()).total("poselift_requests_in_flight") == 0 else None)


class Page:
    """The metrics at one time."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.name
        ]
        self.text = text

    def total(self, name: str, **labels: str) -> float:
        """Sum of all samples with a name and labels; zero if there are none."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def watched(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    ports = {"grpc_port": free_port(), "metrics_port": free_port()}
    with (
        running_redis(folder) as redis,
        running(models, folder / "server.log", redis_url=redis.url, **ports, **LONG_DEADLINE) as server,
    ):
        yield Watched(server, ports["grpc_port"], ports["metrics_port"], redis)


def lift_over_http(watched: Watched, length: int, **more: Any) -> httpx.Response:
    return httpx.post(
        f"{watched.server.address}/lift", json={**body(keypoints(at_rate(50, length))), **more}, timeout=ANSWER_S
    )


def message(length: int) -> pb.LiftRequest:
    size = pb.ImageSize(width_px=IMAGE_SIZE[0], height_px=IMAGE_SIZE[1])
    points = keypoints(at_rate(50, length)).ravel().tolist()
    return pb.LiftRequest(keypoints=points, skeleton="coco17", image_size=size, fps=50)


def lift_over_grpc(watched: Watched, length: int) -> pb.LiftResponse:
    with grpc.insecure_channel(f"127.0.0.1:{watched.grpc_port}") as channel:
        stub: Any = LiftingServiceStub(channel)
        answer: pb.LiftResponse = stub.Lift(message(length), timeout=ANSWER_S)
    return answer


def test_both_transports_are_counted(watched: Watched):
    before = watched.settled()
    assert lift_over_http(watched, 5).status_code == 200
    assert len(lift_over_grpc(watched, 7).joints) == 7 * 51
    after = watched.settled()

    def counted(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    for transport in ("http", "grpc"):
        assert counted("poselift_requests_total", transport=transport, code="ok") == 1
        for stage in ("queue", "inference", "total"):
            assert counted("poselift_stage_seconds_count", transport=transport, stage=stage) == 1
        assert counted("poselift_stage_seconds_sum", transport=transport, stage="inference") > 0
    assert counted("poselift_frames_lifted_total") == 12
    assert counted("poselift_batch_windows_sum", model=MODEL) == 12
    assert counted("poselift_entries_total", model=MODEL, version="1", outcome="ok") == 2
    assert after.total("poselift_windows_queued", model=MODEL) == 0
    assert after.total("poselift_model_info", model=MODEL, version="1") == 1
    assert (after.total("poselift_ready"), after.total("poselift_draining")) == (1, 0)
    assert after.total("process_resident_memory_bytes") > 1e6


def test_client_input_never_becomes_a_label(watched: Watched):
    assert lift_over_http(watched, 1, model="no-such-model").json()["error"]["code"] == "unknown_model"
    assert httpx.get(f"{watched.server.address}/no-such-path").status_code == 404
    session = opened(watched)
    page = watched.settled()
    assert page.total("poselift_requests_total", code="unknown_model") >= 1
    for sent in ("no-such-model", "no-such-path", session):
        assert sent not in page.text


def opened(watched: Watched) -> str:
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 50, "lookahead": 0}
    answer = httpx.post(f"{watched.server.address}/sessions", json=opening, timeout=ANSWER_S)
    return str(answer.json()["session_id"])


@contextmanager
def streaming(
    transport: str, address: str, grpc_port: int, session: str, headers: dict[str, str]
) -> Iterator[Callable[[int], None]]:
    """Open a stream of a session; yield a function that sends a frame and waits for its answer."""
    points = keypoints(at_rate(50, 10))
    if transport == "websocket":
        place = f"{address.replace('http', 'ws', 1)}/sessions/{session}/stream"
        with connect(place, additional_headers=headers, open_timeout=ANSWER_S) as socket:

            def send_text(index: int) -> None:
                socket.send(json.dumps({"frame_index": index, "keypoints": frames(points[index : index + 1])}))
                assert len(json.loads(socket.recv(ANSWER_S))["frames"]) == 1

            yield send_text
        return
    sent: SimpleQueue[pb.LiftStreamRequest | None] = SimpleQueue()
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub: Any = LiftingServiceStub(channel)
        call = stub.LiftStream(iter(sent.get, None), metadata=tuple(headers.items()), timeout=ANSWER_S)

        def send_message(index: int) -> None:
            frame = pb.Frame(frame_index=index, keypoints=points[index].ravel().tolist())
            sent.put(pb.LiftStreamRequest(session_id=session, frames=[frame]))
            assert len(next(call).frames) == 1

        yield send_message
        sent.put(None)
        assert list(call) == []


@pytest.mark.parametrize("transport", ["grpc", "websocket"])
def test_streams_are_counted_by_message(watched: Watched, transport: str):
    before = watched.settled()
    with streaming(transport, watched.server.address, watched.grpc_port, opened(watched), {}) as send:
        for index in range(3):
            send(index)
        during = watched.page()
        assert during.total("poselift_streams_open", transport=transport) == 1
        assert during.total("poselift_requests_in_flight", transport=transport) == 1
    after = watched.settled()
    for name, labels, counted in (
        ("poselift_frames_lifted_total", {}, 3),
        ("poselift_stage_seconds_count", {"transport": transport, "stage": "total"}, 3),
        ("poselift_entries_total", {"outcome": "ok"}, 3),
        ("poselift_requests_total", {"transport": transport, "code": "ok"}, 1),
    ):
        assert after.total(name, **labels) - before.total(name, **labels) == counted, name
    assert after.total("poselift_streams_open") == 0


def test_sessions_and_store_calls_are_counted(watched: Watched):
    def send(session: str, index: int) -> httpx.Response:
        sent = {"frame_index": index, "keypoints": frames(keypoints(at_rate(50, 1)))}
        return httpx.post(f"{watched.server.address}/sessions/{session}/frames", json=sent, timeout=ANSWER_S)

    before = watched.settled()
    session = opened(watched)
    assert send(session, 0).status_code == 200
    assert httpx.delete(f"{watched.server.address}/sessions/{session}", timeout=ANSWER_S).status_code == 200
    session = opened(watched)
    between = watched.settled()
    for operation, calls in (("open", 2), ("advance", 1), ("read", 1), ("close", 1)):
        name = "poselift_session_store_seconds_count"
        assert between.total(name, operation=operation) - before.total(name, operation=operation) == calls, operation
    events = "poselift_session_events_total"
    assert between.total(events, event="opened") - before.total(events, event="opened") == 2
    assert between.total(events, event="closed") - before.total(events, event="closed") == 1
    assert between.total("poselift_sessions_held") - before.total("poselift_sessions_held") == 1
    assert between.total("poselift_session_store_errors_total") == 0
    watched.redis.kill()
    try:
        assert send(session, 0).json()["error"]["code"] == "session_store_down"
    finally:
        watched.redis.start()
    down = watched.settled()
    assert down.total("poselift_session_store_errors_total", operation="advance") == 1
    assert down.total("poselift_requests_total", transport="http", code="session_store_down") == 1
    assert send(session, 0).json()["error"]["code"] == "unknown_session"
    assert watched.settled().total(events, event="lost") == 1


@pytest.mark.parametrize("transport", ["http", "grpc"])
async def test_a_disconnected_client_is_no_longer_in_flight(watched: Watched, transport: str):
    before = watched.settled()

    def is_running() -> bool | None:
        page = watched.page()
        in_flight = page.total("poselift_requests_in_flight", transport=transport)
        has_begun = page.total("poselift_batch_windows_count") > before.total("poselift_batch_windows_count")
        return (in_flight, page.total("poselift_windows_queued"), has_begun) == (1, LONG, True) or None

    async with (
        httpx.AsyncClient(base_url=watched.server.address, timeout=ANSWER_S) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{watched.grpc_port}") as channel,
    ):
        stub: Any = LiftingServiceStub(channel)
        if transport == "http":
            lifting = asyncio.create_task(client.post("/lift", json=body(keypoints(at_rate(50, LONG)))))
        else:
            lifting = stub.Lift(message(LONG))
        await asyncio.to_thread(eventually, is_running)
        lifting.cancel()
        with suppress(asyncio.CancelledError):
            await lifting
    after = await asyncio.to_thread(watched.settled)
    for name, labels in (
        ("poselift_requests_total", {"transport": transport, "code": "client_left"}),
        ("poselift_entries_total", {"outcome": "cancelled"}),
    ):
        assert after.total(name, **labels) - before.total(name, **labels) == 1
    assert after.total("poselift_windows_queued") == 0


async def test_a_draining_server_is_shown_as_draining(models: Path, tmp_path: Path):
    port = free_port()

    def page() -> Page:
        return Page(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER_S).text)

    with running(models, tmp_path / "log", metrics_port=port, **LONG_DEADLINE) as server:
        async with httpx.AsyncClient(base_url=server.address, timeout=LONG_DEADLINE["deadline_s"]) as client:
            lifting = asyncio.create_task(client.post("/lift", json=body(keypoints(at_rate(50, LONG)))))
            await asyncio.to_thread(eventually, lambda: page().total("poselift_windows_queued") == LONG or None)
            server.terminate()
            await asyncio.to_thread(eventually, lambda: page().total("poselift_draining") == 1 or None)
            assert page().total("poselift_ready") == 0
            assert (await lifting).status_code == 200
