"""Live sessions on real servers: streamed frames get the poses of POST /lift, whichever replica receives them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.conftest import MODEL
from tests.integration.redis_process import RedisProcess, running_redis
from tests.integration.server_process import ANSWER_S, ServerProcess, running
from tests.integration.walking import IMAGE_SIZE, at_rate, body, frames, keypoints

SAME_POSES_M = 1e-4  # guaranteed by the contract of sessions
FPS = 30


class Streamer:
    """A client that streams one person, each request to a chosen server, and collects the poses."""

    def __init__(self, client: httpx.Client, points: NDArray[np.float64], lookahead: int | str = "full") -> None:
        opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, "lookahead": lookahead}
        answer = client.post("/sessions", json=opening)
        assert answer.status_code == 201, answer.text
        self.opened = answer.json()
        self.path = f"/sessions/{self.opened['session_id']}"
        self.points = points
        self.lifted: list[Any] = []

    def send(self, client: httpx.Client, first: int, count: int = 1) -> httpx.Response:
        sent = {"frame_index": first, "keypoints": frames(self.points[first : first + count])}
        return client.post(f"{self.path}/frames", json=sent)

    def take(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        self.lifted += answer.json()["frames"]

    def poses(self) -> NDArray[np.float64]:
        """All poses, after checking that each was received once and in order."""
        assert [frame["frame_index"] for frame in self.lifted] == list(range(len(self.points)))
        return np.array([frame["pose"] for frame in self.lifted])


def whole(client: httpx.Client, points: NDArray[np.float64]) -> Any:
    answer = client.post("/lift", json=body(points, fps=FPS))
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def start(
    redis_server: RedisProcess, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], ServerProcess]]:
    """A function that starts replicas that share one Redis."""
    with ExitStack() as running_servers:

        def start() -> ServerProcess:
            log = tmp_path_factory.mktemp("replica") / "log"
            settings = {"default_model": f"{MODEL}@stable", "redis_url": redis_server.url, "session_store_timeout_s": 1}
            return running_servers.enter_context(running(models, log, **settings))

        yield start


@pytest.fixture(scope="module")
def replicas(start: Callable[[], ServerProcess]) -> Iterator[list[httpx.Client]]:
    with ExitStack() as clients:
        yield [clients.enter_context(httpx.Client(base_url=start().address, timeout=ANSWER_S)) for _ in range(2)]


@pytest.fixture(params=["memory", "redis"])
def servers(request: pytest.FixtureRequest) -> list[httpx.Client]:
    """The replicas that receive frames: one that keeps sessions in memory, or two that share a Redis."""
    return request.getfixturevalue("replicas") if request.param == "redis" else [request.getfixturevalue("client")]


def person(length: int) -> NDArray[np.float64]:
    points = keypoints(at_rate(FPS, length))
    points[length // 3 : length // 2, 9] = np.nan
    return points


@pytest.mark.parametrize(("length", "piece"), [(1, 1), (2, 1), (40, 1), (90, 7), (400, 60)])
def test_poses_with_full_lookahead_equal_those_of_the_whole_clip(servers: list[httpx.Client], length: int, piece: int):
    points = person(length)
    stream = Streamer(servers[0], points)
    turns = cycle(servers)
    for first in range(0, length, piece):
        stream.take(stream.send(next(turns), first, piece))
    stream.take(next(turns).delete(stream.path))
    expected = whole(servers[0], points)
    np.testing.assert_allclose(stream.poses(), expected["poses"], atol=SAME_POSES_M)
    assert [frame["imputed"] for frame in stream.lifted] == expected["imputed"]
    assert servers[-1].get(stream.path).status_code == 404


def test_without_lookahead_every_frame_is_answered_at_once(servers: list[httpx.Client]):
    points = person(12)
    stream = Streamer(servers[0], points, lookahead=0)
    for first in range(12):
        answer = stream.send(servers[first % len(servers)], first)
        assert [(frame["frame_index"], frame["lookahead"]) for frame in answer.json()["frames"]] == [(first, 0)]
        stream.take(answer)
        so_far = whole(servers[0], points[: first + 1])["poses"][-1]
        np.testing.assert_allclose(stream.lifted[-1]["pose"], so_far, atol=SAME_POSES_M)
    assert servers[0].delete(stream.path).json()["frames"] == []


def test_a_session_describes_itself(servers: list[httpx.Client]):
    stream = Streamer(servers[0], person(5), lookahead=3)
    assert stream.opened["model"]["name"] == MODEL
    assert (stream.opened["lookahead"], stream.opened["fps"], stream.opened["next_frame_index"]) == (3, FPS, 0)
    assert stream.opened["full_lookahead"] == 24  # 13 * 3 + 1 frames at 50 Hz, at 30 fps
    assert len(stream.opened["joint_names"]) == 17
    assert stream.send(servers[0], 0, 4).json()["next_frame_index"] == 4
    assert servers[-1].get(stream.path).json() == {**stream.opened, "next_frame_index": 4}


def test_resent_frames_get_the_same_answer(servers: list[httpx.Client]):
    stream = Streamer(servers[0], person(60), lookahead=2)
    assert stream.send(servers[0], 0, 50).status_code == 200
    first = stream.send(servers[0], 50, 5).json()
    for server in servers * 2:
        again = stream.send(server, 50, 5).json()
        assert again["next_frame_index"] == first["next_frame_index"] == 55
        for one, other in zip(again["frames"], first["frames"], strict=True):
            assert (one["frame_index"], one["lookahead"]) == (other["frame_index"], other["lookahead"])
            np.testing.assert_allclose(one["pose"], other["pose"], atol=SAME_POSES_M)


def test_a_gap_or_an_older_frame_is_refused_and_changes_nothing(servers: list[httpx.Client]):
    stream = Streamer(servers[0], person(102), lookahead=0)
    assert stream.send(servers[0], 0, 60).status_code == 200
    assert stream.send(servers[0], 60, 40).status_code == 200
    for server in servers:
        for first in (3, 59, 101):
            refusal = stream.send(server, first)
            error = refusal.json()["error"]
            assert (refusal.status_code, error["code"], error["path"]) == (409, "session_conflict", "frame_index")
            assert error["expected_frame_index"] == 100
    assert stream.send(servers[0], 100).json()["next_frame_index"] == 101


def test_frames_that_differ_from_the_stored_ones_are_refused(servers: list[httpx.Client]):
    """No client gets the poses of frames that another one has sent."""
    stream = Streamer(servers[0], person(10), lookahead=0)
    rival = Streamer(servers[0], keypoints(at_rate(FPS, 10), person=1), lookahead=0)
    rival.path = stream.path
    assert stream.send(servers[0], 0, 5).status_code == 200
    for server in servers:
        error = rival.send(server, 4).json()["error"]
        assert (error["code"], error["expected_frame_index"]) == ("session_conflict", 5)
    assert rival.send(servers[-1], 5).json()["next_frame_index"] == 6
    assert stream.send(servers[0], 4).json()["next_frame_index"] == 6


def test_a_repeated_end_gets_the_same_answer(servers: list[httpx.Client]):
    stream = Streamer(servers[0], person(41))
    stream.take(stream.send(servers[0], 0, 40))
    first, again = servers[0].delete(stream.path).json(), servers[-1].delete(stream.path).json()
    assert [frame["frame_index"] for frame in first["frames"]] == list(range(16, 40))
    assert {**again, "timing_ms": first["timing_ms"]} == first
    assert stream.send(servers[-1], 40).status_code == servers[0].get(stream.path).status_code == 404


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"fps": 0.5}, "fps"),
        ({"fps": 0}, "fps"),
        ({"lookahead": 1000}, "lookahead"),
        ({"lookahead": -1}, "lookahead"),
        ({"lookahead": "most"}, "lookahead"),
        ({"skeleton": "dog"}, "skeleton"),
        ({"image_size": [0, 1]}, "image_size[0]"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_refused_opening_names_the_field(client: httpx.Client, changes: dict[str, Any], path: str):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, "lookahead": 0, **changes}
    answer = client.post("/sessions", json=opening)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["path"].startswith(path)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"frame_index": -1}, "frame_index"),
        ({"frame_index": 2**53}, "frame_index"),
        ({"keypoints": []}, "keypoints"),
        ({"keypoints": [[[1, 2, 3]]]}, "keypoints[0]"),
        ({"keypoints": [[[1e9, 2, 1]] * 17]}, "keypoints[0][0][0]"),
    ],
)
def test_invalid_frames_are_refused_and_change_nothing(client: httpx.Client, changes: dict[str, Any], path: str):
    stream = Streamer(client, person(2), lookahead=0)
    sent = {"frame_index": 0, "keypoints": frames(stream.points[:1]), **changes}
    answer = client.post(f"{stream.path}/frames", json=sent)
    assert (answer.status_code, answer.json()["error"]["path"]) == (422, path)
    assert client.get(stream.path).json()["next_frame_index"] == 0


@pytest.mark.parametrize("name", ["x" * 1000, "0123456789abcdef-0123456789abcdef0123456789abcdef"])
def test_an_unknown_session(servers: list[httpx.Client], name: str):
    path = f"/sessions/{name}"
    sent = {"frame_index": 0, "keypoints": [None]}
    for answer in (
        servers[0].get(path),
        servers[0].delete(path),
        servers[0].post(f"{path}/frames", json=sent),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_session")


def test_when_a_replica_is_killed_another_continues(start: Callable[[], ServerProcess], replicas: list[httpx.Client]):
    points = person(70)
    stream = Streamer(replicas[0], points)
    doomed = start()
    with httpx.Client(base_url=doomed.address, timeout=ANSWER_S) as client:
        for first in range(45):
            stream.take(stream.send(client, first))
        doomed.process.kill()
        doomed.process.wait()
        with pytest.raises(httpx.TransportError):
            stream.send(client, 45)
    for first in range(45, 70):
        stream.take(stream.send(replicas[1], first))
    stream.take(replicas[0].delete(stream.path))
    np.testing.assert_allclose(stream.poses(), whole(replicas[0], points)["poses"], atol=SAME_POSES_M)


def test_without_redis_sessions_fail_and_clips_are_lifted(redis_server: RedisProcess, replicas: list[httpx.Client]):
    points = person(10)
    stream = Streamer(replicas[0], points)
    assert stream.send(replicas[0], 0).status_code == 200
    redis_server.kill()
    try:
        for answer in (stream.send(replicas[0], 1), replicas[1].get(stream.path), replicas[0].delete(stream.path)):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "session_store_down")
            assert answer.headers["retry-after"] == "1"
        assert whole(replicas[0], points)["poses"]
        assert replicas[0].get("/healthz").status_code == replicas[0].get("/readyz").status_code == 200
    finally:
        redis_server.start()
    assert stream.send(replicas[0], 1).json()["error"]["code"] == "unknown_session"
    assert Streamer(replicas[1], points).opened["next_frame_index"] == 0


def test_the_calls_are_documented(client: httpx.Client):
    paths = client.get("/openapi.json").json()["paths"]
    frames_call = paths["/sessions/{session_id}/frames"]["post"]
    assert {"200", "404", "409", "503"} <= frames_call["responses"].keys()
    schema = frames_call["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == {"frame_index", "keypoints"}
    assert "$ref" not in str(schema)


def test_streams_are_described(client: httpx.Client):
    assert "/sessions/{session_id}/stream" in client.get("/openapi.json").json()["info"]["description"]
