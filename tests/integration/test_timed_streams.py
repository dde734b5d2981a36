"""Streams whose frames carry times: over every transport they get the poses of POST /lift with the same timestamps."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.conftest import MODEL
from tests.integration.server_process import ANSWER_S, ServerProcess, running
from tests.integration.stream_clients import CLIENTS, Answer, Client, LiftedFrame, Refusal, Replica, open_session
from tests.integration.walking import IMAGE_SIZE, at_rate, body, keypoints, wandering

SAME_POSES_M = 1e-4  # guaranteed by the contract of sessions
FPS = 30
TIME_OF_DAY_S = 1.764e9
STABLE = f"{MODEL}@stable"

MakeClient = Callable[[Replica, str], Client]


@pytest.fixture(params=list(CLIENTS))
def connect(request: pytest.FixtureRequest) -> MakeClient:
    return CLIENTS[request.param]


@pytest.fixture(scope="module")
def replica(both: ServerProcess, grpc_port: int) -> Replica:
    return Replica(both.address, grpc_port)


@pytest.fixture(params=["memory", "redis"])
def servers(request: pytest.FixtureRequest) -> list[Replica]:
    """One server that keeps sessions in memory, or two that share a Redis."""
    return [request.getfixturevalue("replica")] if request.param == "memory" else request.getfixturevalue("replicas")


def lift(replica: Replica, points: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    clip = body(points, timestamps_s=times_s.tolist(), model=STABLE)
    del clip["fps"]
    answer = httpx.post(f"{replica.address}/lift", json=clip, timeout=ANSWER_S)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["poses"])


def stream(
    connections: list[Client], points: NDArray[np.float64], times_s: NDArray[np.float64] | None, sizes: list[int]
) -> list[LiftedFrame]:
    """Send all frames in messages of these sizes, over one connection after the other, and end the session."""
    bounds = [0]
    while bounds[-1] < len(points):
        bounds.append(min(len(points), bounds[-1] + sizes[(len(bounds) - 1) % len(sizes)]))
    lifted = []
    for number, (first, stop) in enumerate(pairwise(bounds)):
        client = connections[number * len(connections) // len(bounds)]
        client.send(first, points[first:stop], None if times_s is None else times_s[first:stop])
        lifted += client.receive().frames
    client.end(len(points))
    lifted += client.receive().frames
    assert [frame.index for frame in lifted] == list(range(len(points)))
    return lifted


def exchange(client: Client, first: int, points: NDArray[np.float64], times_s: NDArray[np.float64] | None) -> Answer:
    client.send(first, points, times_s)
    return client.receive()


def poses(lifted: list[LiftedFrame]) -> NDArray[np.float64]:
    return np.array([frame.pose for frame in lifted])


def person(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keypoints as a client with float32 sends them."""
    return keypoints(times_s).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("sizes", [[1], [1, 7, 2]], ids=str)
def test_streamed_poses_equal_those_of_the_clip(servers: list[Replica], connect: MakeClient, sizes: list[int]):
    times_s = TIME_OF_DAY_S + wandering(90)
    points = person(times_s - TIME_OF_DAY_S)
    session_id = open_session(servers[0], fps=None, model=STABLE)
    with ExitStack() as connections:
        # As one that was killed is left for another one.
        clients = [connections.enter_context(connect(server, session_id)) for server in servers]
        lifted = stream(clients, points, times_s, sizes)
    np.testing.assert_allclose(poses(lifted), lift(servers[0], points, times_s), atol=SAME_POSES_M)


@pytest.mark.parametrize("lookahead", [None, 0, 4])
def test_at_a_constant_rate_they_equal_those_of_a_session_with_that_rate(replica: Replica, lookahead: int | None):
    times_s = at_rate(FPS, 60)
    lifted = []
    for fps, sent in ((FPS, None), (None, times_s)):
        with CLIENTS["grpc"](replica, open_session(replica, fps=fps, lookahead=lookahead)) as client:
            lifted.append(stream([client], person(times_s), sent, [1]))
    constant, timed = lifted
    assert [frame.lookahead for frame in timed] == [frame.lookahead for frame in constant]
    np.testing.assert_allclose(poses(timed), poses(constant), atol=1e-6)


@pytest.mark.parametrize("lookahead", [None, 0])
def test_frames_that_are_sent_again_are_answered_again(
    servers: list[Replica], connect: MakeClient, lookahead: int | None
):
    times_s = wandering(80)
    points, session_id = person(times_s), open_session(servers[0], fps=None, lookahead=lookahead)
    answers: dict[int, NDArray[np.float64]] = {}
    with connect(servers[0], session_id) as client:
        for first in range(80):
            answer = exchange(client, first, points[first : first + 1], times_s[first : first + 1])
            answers |= {frame.index: frame.pose for frame in answer.frames}
    with connect(servers[-1], session_id) as client:
        for first in range(48, 80):
            for frame in exchange(client, first, points[first : first + 1], times_s[first : first + 1]).frames:
                np.testing.assert_allclose(frame.pose, answers[frame.index], atol=SAME_POSES_M)
    with connect(servers[-1], session_id) as client, pytest.raises(Refusal) as refusal:
        exchange(client, 79, points[79:], times_s[79:] + 0.001)
    assert (refusal.value.code, refusal.value.expected_frame_index) == ("session_conflict", 80)


@pytest.mark.parametrize(
    ("times_s", "says"),
    [
        ([0.0, 0.03, 0.03], "increase"),
        ([0.0, 0.03, 0.02], "increase"),
        ([0.0, 33.3, 66.6], "in seconds"),
        ([0.0, 0.03, 11.0], "another session"),
        ([0.0, 1e12, 2e12], ""),
        (None, "needs its time_s"),
    ],
)
@pytest.mark.parametrize("at_a_time", [1, 3])
def test_times_that_no_camera_has_are_refused(
    replica: Replica, connect: MakeClient, times_s: list[float] | None, says: str, at_a_time: int
):
    session_id, points = open_session(replica, fps=None), person(at_rate(FPS, 3))

    def send_all(client: Client) -> None:
        for first in range(0, 3, at_a_time):
            sent = None if times_s is None else np.array(times_s[first : first + at_a_time])
            exchange(client, first, points[first : first + at_a_time], sent)

    with connect(replica, session_id) as client, pytest.raises(Refusal) as refusal:
        send_all(client)
    assert refusal.value.code == "invalid_request"
    assert says in refusal.value.message
    assert re.fullmatch(r"(frames\[\d\]\.)?time_s(\[\d\])?", refusal.value.path or "")
    state = httpx.get(f"{replica.address}/sessions/{session_id}").json()
    assert state["next_frame_index"] < 3, "what was refused is not stored"


def test_frames_that_come_too_fast_are_refused_and_the_session_goes_on(replica: Replica):
    session_id, points = open_session(replica, fps=None), person(at_rate(FPS, 250))
    with CLIENTS["post"](replica, session_id) as client:
        # The window of 1.6 s holds 390 of them at most.
        exchange(client, 0, points, np.linspace(0, 250e-6, 250, endpoint=False))
        with pytest.raises(Refusal) as refusal:
            exchange(client, 250, points, np.linspace(250e-6, 500e-6, 250))
        assert refusal.value.code == "invalid_request"
        assert exchange(client, 250, points[:10], 1 + at_rate(FPS, 10)).next_frame_index == 260


@pytest.mark.parametrize("lookahead", [193, 10**6])
def test_a_pose_waits_for_no_more_frames_than_its_window_can_hold(replica: Replica, lookahead: int):
    # 0.8 s at 240 frames per second; beyond, a session would keep frames that no pose uses.
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "lookahead": lookahead}
    refused = httpx.post(f"{replica.address}/sessions", json=opening).json()["error"]
    assert (refused["code"], refused["path"]) == ("invalid_request", "lookahead")
    assert "0 to 192 frames" in refused["message"]
    assert open_session(replica, fps=None, lookahead=192)


@pytest.mark.parametrize("lookahead", [193, 2**32 - 1])
def test_nor_over_grpc(replica: Replica, lookahead: int):
    size = pb.ImageSize(width_px=IMAGE_SIZE[0], height_px=IMAGE_SIZE[1])
    opening = pb.CreateSessionRequest(skeleton="coco17", image_size=size, lookahead=lookahead)
    with grpc.insecure_channel(f"127.0.0.1:{replica.grpc_port}") as channel:
        stub: Any = LiftingServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.CreateSession(opening, timeout=ANSWER_S)
    told: Any = refused.value
    assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "0 to 192 frames" in told.details()


def test_times_are_for_sessions_without_a_rate(replica: Replica, connect: MakeClient):
    with connect(replica, open_session(replica, fps=FPS)) as client, pytest.raises(Refusal) as refusal:
        exchange(client, 0, person(at_rate(FPS, 1)), np.zeros(1))
    assert (refusal.value.code, refusal.value.path) == ("invalid_request", "time_s")


def test_a_session_with_times_describes_itself(replica: Replica):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE}
    opened = httpx.post(f"{replica.address}/sessions", json=opening).json()
    assert (opened["fps"], opened["lookahead"], opened["full_lookahead"]) == (None, None, None)
    assert opened["full_lookahead_s"] == pytest.approx(0.8)  # 13 * 3 + 1 frames at 50 Hz
    constant = httpx.post(f"{replica.address}/sessions", json={**opening, "fps": 30}).json()
    assert (constant["lookahead"], constant["full_lookahead_s"]) == (24, pytest.approx(0.8))


@pytest.mark.parametrize(("default", "expected", "expected_timed"), [(3, 3, 3), (1000, 24, 192), ("full", 24, None)])
def test_the_operator_chooses_the_default_lookahead(
    models: Path, tmp_path: Path, default: Any, expected: int, expected_timed: int | None
):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 30}
    with running(models, tmp_path / "log", default_lookahead=default, default_model=STABLE) as server:
        for given, lookahead in (({}, expected), ({"lookahead": "full"}, 24), ({"lookahead": 1}, 1)):
            opened = httpx.post(f"{server.address}/sessions", json={**opening, **given}).json()
            assert opened["lookahead"] == lookahead
        del opening["fps"]
        assert httpx.post(f"{server.address}/sessions", json=opening).json()["lookahead"] == expected_timed
