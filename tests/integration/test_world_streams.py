"""Motion in the world of live streams: the same rows over every transport, on every replica, and when one is killed."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from poselift.client import Client, StreamWorld
from tests.integration.client import node
from tests.integration.conftest import MODEL
from tests.integration.redis_process import free_port, running_redis
from tests.integration.server_process import ANSWER_S, ServerProcess, running
from tests.integration.stream_clients import CLIENTS, FrameWorld, Post, Replica, open_session
from tests.integration.walking import IMAGE_SIZE, at_rate, body, frames, keypoints

FPS, FRAMES = 30, 80
# Answers are rounded to 10 micrometres, and networks of servers add in another order.
ROUNDED_M = 3e-4
KNOWN: dict[str, Any] = {"camera": {"fov_deg": 65, "pitch_deg": 15}, "person": {"height_m": 1.8}}
WORLD: dict[str, Any] = {"rotations": True, "angles": True}
POINTS = keypoints(at_rate(FPS, FRAMES))
POINTS[30:40, 9] = np.nan

Rows = dict[int, FrameWorld]


class Servers:
    """Servers that share one Redis."""

    def __init__(self, start: ExitStack, models: Path, folder: Path) -> None:
        self._running, self._models, self._folder = start, models, folder
        self._url = start.enter_context(running_redis(folder)).url

    def start(self) -> tuple[Replica, ServerProcess]:
        port = free_port()
        settings = {"default_model": f"{MODEL}@stable", "redis_url": self._url, "grpc_port": port}
        log = self._folder / f"{port}.log"
        server = self._running.enter_context(running(self._models, log, **settings))
        return Replica(server.address, port), server


@pytest.fixture(scope="module")
def servers(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as started:
        yield Servers(started, models, tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="module")
def replica(servers: Servers) -> Replica:
    return servers.start()[0]


@pytest.fixture(scope="module")
def other(servers: Servers) -> Replica:
    return servers.start()[0]


def opened(replica: Replica, lookahead: float = 3, **more: Any) -> str:
    return open_session(replica, fps=FPS, lookahead=lookahead, **{"world": WORLD, **KNOWN, **more})


def take(rows: Rows, client: Any) -> dict[str, Any] | None:
    """Receive an answer, and check what came before; returns what its frames have in common."""
    answer = client.receive()
    assert (answer.world is None) is (not answer.frames)
    for frame in answer.frames:
        assert frame.world is not None
        np.testing.assert_allclose(frame.world.pose, rows.setdefault(frame.index, frame.world).pose, atol=ROUNDED_M)
    common: dict[str, Any] | None = answer.world
    return common


def streamed(replica: Replica, kind: str, **more: Any) -> Rows:
    rows: Rows = {}
    with CLIENTS[kind](replica, opened(replica, **more)) as client:
        for first in range(0, FRAMES, 5):
            client.send(first, POINTS[first : first + 5])
            take(rows, client)
        client.end(FRAMES)
        take(rows, client)
    return rows


@pytest.fixture(scope="module")
def expected(replica: Replica) -> Rows:
    """What one server answers that nothing happens to."""
    return streamed(replica, "post")


def assert_same(rows: Rows, expected: Rows) -> None:
    assert sorted(rows) == sorted(expected) == list(range(FRAMES))
    for index, row in rows.items():
        wanted = expected[index]
        np.testing.assert_allclose(row.pose, wanted.pose, atol=ROUNDED_M)
        np.testing.assert_allclose(row.root, wanted.root, atol=ROUNDED_M)
        np.testing.assert_allclose(row.contacts, wanted.contacts, atol=2e-3)
        assert row.rotations is not None
        assert wanted.rotations is not None
        np.testing.assert_allclose(row.rotations, wanted.rotations, atol=2e-3)
        assert row.angles == pytest.approx(wanted.angles, abs=0.2)
        assert "left_knee_flexion" in row.angles


@pytest.mark.parametrize("kind", [kind for kind in CLIENTS if kind != "post"])
def test_rows_are_the_same_over_every_transport(replica: Replica, expected: Rows, kind: str):
    assert_same(streamed(replica, kind), expected)


def test_what_frames_have_in_common_is_told_once(replica: Replica):
    with Post(replica, opened(replica)) as client:
        client.send(0, POINTS[:2])
        assert take({}, client) is None
        client.send(2, POINTS[2:50])
        common = take({}, client)
    assert common is not None
    assert common["unit"] == "m"
    assert "y up" in common["axes"]
    assert common["height_m"] == pytest.approx(1.8, abs=1e-4)
    assert common["gravity"]["given"]
    assert common["gravity"]["direction"] == pytest.approx(
        [0, np.cos(np.radians(15)), np.sin(np.radians(15))], abs=1e-4
    )
    assert common["camera"] == {"focal_px": pytest.approx(500 / np.tan(np.radians(32.5)), abs=0.01), "given": True}


@pytest.mark.parametrize("kind", ["post", "grpc", "websocket-json"])
def test_a_killed_server_changes_no_row(servers: Servers, other: Replica, expected: Rows, kind: str):
    """The message that it was given is sent to another one, with some that were answered before."""
    doomed, server = servers.start()
    session_id = opened(doomed)
    rows: Rows = {}
    with CLIENTS[kind](doomed, session_id) as client:
        for first in range(0, 45, 5):
            client.send(first, POINTS[first : first + 5])
            take(rows, client)
        client.send(45, POINTS[45:46])
        server.process.kill()
        server.process.wait()
    with CLIENTS[kind](other, session_id) as client:
        for first in [*range(38, 46), *range(46, FRAMES, 2)]:
            stop = first + 1 if first < 46 else first + 2
            client.send(first, POINTS[first:stop])
            take(rows, client)
        client.end(FRAMES)
        take(rows, client)
    assert_same(rows, expected)


def test_any_replica_continues_and_answers_again(replica: Replica, other: Replica, expected: Rows):
    session_id = opened(replica)
    rows: Rows = {}
    with Post(replica, session_id) as one, Post(other, session_id) as two:
        for first in range(0, FRAMES, 4):
            for again in (first, max(0, first - 17)):
                for client in (one, two):
                    client.send(again, POINTS[again : first + 4])
                    take(rows, client)
        two.end(FRAMES)
        take(rows, two)
    assert_same(rows, expected)


def test_poses_before_the_camera_are_the_same_as_without(replica: Replica):
    answers = []
    for world in ({"world": WORLD}, {"world": False}):
        with Post(replica, opened(replica, **world)) as client:
            client.send(0, POINTS[:20])
            answers.append(client.receive())
    for one, without in zip(answers[0].frames, answers[1].frames, strict=True):
        np.testing.assert_allclose(one.pose, without.pose, atol=1e-4)
        assert without.world is None
    assert answers[1].world is None


def test_with_gravity_given_bodies_are_those_of_a_clip(replica: Replica):
    """But for bones, which a stream has to get to know, and for the way that the person faces at first."""
    asked: dict[str, Any] = {**KNOWN, "world": {"foot_lock": "off"}}
    rows = streamed(replica, "post", lookahead=24, **asked)
    answer = httpx.post(f"{replica.address}/lift", json=body(POINTS, fps=FPS, **asked), timeout=ANSWER_S)
    clip = np.array(answer.json()["world"]["poses"])
    live = np.stack([rows[index].pose for index in range(FRAMES)])
    live, clip = (live - live[:, :1])[40:], (clip - clip[:, :1])[40:]
    np.testing.assert_allclose(live[..., 1], clip[..., 1], atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(live, axis=-1), np.linalg.norm(clip, axis=-1), atol=0.1)


@pytest.mark.parametrize("grpc", [False, True])
def test_the_client_hands_rows_over(replica: Replica, expected: Rows, *, grpc: bool):
    port = f"127.0.0.1:{replica.grpc_port}" if grpc else None
    opening: dict[str, Any] = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, "lookahead": 3}
    with Client(replica.address, grpc=port) as client, client.stream(**opening, **KNOWN, world=WORLD) as stream:
        poses = list(stream.poses(POINTS))
        assert isinstance(stream.world, StreamWorld)
        assert stream.world.height_m == pytest.approx(1.8, abs=1e-4)
        assert stream.world.gravity["given"]
    rows = {}
    for pose in poses:
        assert pose.world is not None
        assert pose.world.angles is not None
        told = pose.world
        joints, root, contacts = np.array(told.joints), np.array(told.root), np.array(told.contacts)
        rows[pose.frame_index] = FrameWorld(joints, root, contacts, np.array(told.rotations), pose.world.angles)
    assert_same(rows, expected)
    with Client(replica.address, grpc=port) as client, client.stream(**opening) as stream:
        assert all(pose.world is None for pose in stream.poses(POINTS[:5]))
        assert stream.world is None


@pytest.mark.skipif(not node.has_websockets(), reason="Node.js with WebSockets is not installed")
def test_the_javascript_client_hands_rows_over(replica: Replica, expected: Rows):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, "lookahead": 3, "world": WORLD, **KNOWN}
    task = {
        "opening": opening,
        "keypoints": frames(POINTS),
        "times_s": None,
        "pause_ms": 0,
        "give_up_after_s": ANSWER_S,
    }
    rows = {}
    for frame in node.run(task, replica.address, 4 * ANSWER_S):
        world = {name: np.array(frame["world"][name]) for name in ("pose", "root", "contacts", "rotations")}
        rows[frame["frame_index"]] = FrameWorld(**world, angles=frame["world"]["angles"])
    assert_same(rows, expected)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"world": {"foot_lock": "sometimes"}}, "world.foot_lock"),
        ({"world": {"up_axis": "x"}}, "world.up_axis"),
        ({"world": {"targets": [0]}}, "world.targets"),
    ],
)
def test_what_cannot_be_is_refused(replica: Replica, more: dict[str, Any], path: str):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, **more}
    error = httpx.post(f"{replica.address}/sessions", json=opening, timeout=ANSWER_S).json()["error"]
    assert (error["code"], error["path"]) == ("invalid_request", path)
    assert error["message"].endswith(".")
