"""Streams continue when their Redis fails over or is restarted, and never return a wrong pose.

The client here does what docs/streaming.md asks of any ("The reconnect protocol"): it sends again what was not
answered, goes back to the frame that a conflict names, and takes the newest answer for a frame.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from poselift_service.errors import SessionConflict, SessionStoreDown
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.session import Caller, Opening, Session
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import Append, ReplicaCursor

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from tests.integration.conftest import MODEL
from tests.integration.redis_process import (
    RedisProcess,
    free_port,
    running_cluster,
    running_redis,
    running_replica,
    running_sentinel,
)
from tests.integration.server_process import ANSWER_S, running
from tests.integration.stream_clients import CLIENTS, Refusal, Replica, open_session
from tests.integration.walking import COCO, IMAGE_SIZE, at_rate, body, frames, keypoints, sequence

CALLER = Caller()

SAME_POSES_M = 1e-4  # guaranteed by the contract of sessions
FPS = 30
FAILOVER_S = 60.0
# Wait of a client before it retries; short, to keep the tests short.
RETRY_S = 0.05


class Camera:
    """A client that streams one person with full lookahead and retries until every frame is answered."""

    def __init__(self, client: httpx.Client, points: NDArray[np.float64]) -> None:
        opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, "lookahead": "full"}
        answer = client.post("/sessions", json=opening)
        assert answer.status_code == 201, answer.text
        self.session_id: str = answer.json()["session_id"]
        self.codes: list[str] = []
        self.poses: dict[int, Any] = {}
        self._client = client
        self._points = points
        self._next = 0

    def stream_to(self, stop: int, *, at_a_time: int = 2) -> None:
        """Send frames until the session has all frames before `stop`."""
        giving_up = time.monotonic() + FAILOVER_S
        while self._next < stop:
            assert time.monotonic() < giving_up, self.codes
            sent = {
                "frame_index": self._next,
                "keypoints": frames(self._points[self._next : min(self._next + at_a_time, stop)]),
            }
            answer = self._client.post(f"/sessions/{self.session_id}/frames", json=sent)
            match self._code(answer):
                case "ok":
                    self._take(answer)
                    self._next = min(self._next + at_a_time, stop)
                case "session_conflict":
                    expected = answer.json()["error"]["expected_frame_index"]
                    assert expected < self._next, "the session has frames that were never sent"
                    self._next = expected
                case "session_store_down":
                    time.sleep(RETRY_S)

    def end(self) -> NDArray[np.float64]:
        """End the session and return the poses of all frames."""
        giving_up = time.monotonic() + FAILOVER_S
        answer = self._client.delete(f"/sessions/{self.session_id}")
        while self._code(answer) == "session_store_down":
            assert time.monotonic() < giving_up, self.codes
            time.sleep(RETRY_S)
            answer = self._client.delete(f"/sessions/{self.session_id}")
        self._take(answer)
        assert sorted(self.poses) == list(range(len(self._points)))
        return np.array([self.poses[index] for index in range(len(self._points))])

    def _take(self, answer: httpx.Response) -> None:
        for frame in answer.json()["frames"]:
            earlier = self.poses.setdefault(frame["frame_index"], frame["pose"])
            np.testing.assert_allclose(frame["pose"], earlier, atol=SAME_POSES_M, err_msg="answered differently")

    def _code(self, answer: httpx.Response) -> str:
        code = "ok" if answer.is_success else answer.json()["error"]["code"]
        assert code in ("ok", "session_conflict", "session_store_down"), answer.text
        self.codes.append(code)
        return code


def person(length: int) -> NDArray[np.float64]:
    points = keypoints(at_rate(FPS, length))
    points[length // 3 : length // 2, 9] = np.nan
    return points


def whole(client: httpx.Client, points: NDArray[np.float64]) -> NDArray[np.float64]:
    answer = client.post("/lift", json=body(points, fps=FPS))
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["poses"])


# Returns the master that holds a session, and its replica.
Servers = Callable[[str], tuple[RedisProcess, RedisProcess]]


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, Servers]]:
    with running_cluster(folder, replicas=1) as processes:
        yield processes.url, lambda session_id: processes.servers_of(f"poselift:{{{session_id}}}:session")


@contextmanager
def sentinel(folder: Path) -> Iterator[tuple[str, Servers]]:
    with ExitStack() as stack:
        for name in ("master", "replica"):
            (folder / name).mkdir()
        master = stack.enter_context(running_redis(folder / "master"))
        replica = stack.enter_context(running_replica(folder / "replica", master))
        url = stack.enter_context(running_sentinel(folder, master, down_after_ms=1000))
        yield url, lambda session_id: (master, replica)


@pytest.fixture(params=[cluster, sentinel], ids=["cluster", "sentinel"])
def replicated(request: pytest.FixtureRequest, models: Path, tmp_path: Path) -> Iterator[tuple[httpx.Client, Servers]]:
    """A server whose Redis has replicas."""
    with (
        request.param(tmp_path) as (url, servers),
        running(models, tmp_path / "log", default_model=f"{MODEL}@stable", redis_url=url) as server,
        httpx.Client(base_url=server.address, timeout=ANSWER_S) as client,
    ):
        yield client, servers


def test_a_stream_continues_when_the_master_of_its_session_dies(replicated: tuple[httpx.Client, Servers]):
    """Frames that had not been replicated die with it; the client is asked to resend them."""
    client, servers = replicated
    points = person(90)
    camera = Camera(client, points)
    camera.stream_to(40)
    master, replica = servers(camera.session_id)
    with replica.held_up():
        master.ask("CLIENT KILL", "TYPE", "replica")
        camera.stream_to(48)
        master.kill()
    camera.stream_to(90)
    np.testing.assert_allclose(camera.end(), whole(client, points), atol=SAME_POSES_M)
    assert {"session_store_down", "session_conflict"} <= set(camera.codes)


@pytest.mark.parametrize("kind", [kind for kind in CLIENTS if kind != "post"])
def test_a_stream_does_not_end_without_the_frames_that_redis_has_lost(models: Path, tmp_path: Path, kind: str):
    """Even if its client does not say how many there were."""
    points, port = person(40), free_port()
    with (
        running_redis(tmp_path) as redis,
        running(models, tmp_path / "server.log", redis_url=redis.url, grpc_port=port) as server,
    ):
        replica = Replica(server.address, port)
        session_id = open_session(replica, fps=FPS)
        with CLIENTS[kind](replica, session_id) as client:
            for first in range(0, 40, 10):
                if first == 30:
                    redis.ask("SAVE")
                client.send(first, points[first : first + 10])
                client.receive()
            redis.kill()
            redis.start()
            client.end()
            with pytest.raises(Refusal) as refusal:
                client.receive()
        assert (refusal.value.code, refusal.value.expected_frame_index) == ("session_conflict", 30)


Connect = Callable[[str, float], RedisStore]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A function that creates a store from a URL and a timeout."""
    async with AsyncExitStack() as closing:

        def connect(url: str, timeout_s: float) -> RedisStore:
            store = RedisStore(url, ttl_s=60, timeout_s=timeout_s)
            closing.push_async_callback(store.close)
            return store

        yield connect


async def test_when_a_master_of_a_cluster_hangs_its_replica_takes_over(tmp_path: Path, connect: Connect):
    """Sessions of other masters are hardly affected."""
    with running_cluster(tmp_path, replicas=1, cluster_require_full_coverage="no") as processes:
        store = connect(processes.url, 2.0)
        ids = [f"{1:016x}-{number:032x}" for number in range(20)]
        for session_id in ids:
            await store.open(session_id, b"")
        masters = {session_id: processes.servers_of(f"poselift:{{{session_id}}}:session")[0] for session_id in ids}
        other = next(session_id for session_id in ids if masters[session_id] is not masters[ids[0]])
        masters[ids[0]].wait_for_replica()
        with masters[ids[0]].held_up():
            stranded = asyncio.create_task(_send_until_accepted(store, ids[0]))
            accepted = refused = 0
            while not stranded.done():
                try:
                    await _send(store, other, accepted)
                    accepted += 1
                except SessionStoreDown:
                    refused += 1
                await asyncio.sleep(RETRY_S)
            assert await stranded > 0, "the session was never unavailable"
        assert accepted > 5 * refused


async def _send_until_accepted(store: RedisStore, session_id: str) -> int:
    """Send the first frame of a session until it is accepted; return how often it was refused."""
    giving_up, refused = time.monotonic() + FAILOVER_S, 0
    while time.monotonic() < giving_up:
        try:
            await _send(store, session_id, 0)
            return refused
        except SessionStoreDown:
            refused += 1
    raise AssertionError("no replica has taken over")


async def _send(store: RedisStore, session_id: str, first: int) -> None:
    sent = Append(first, [b"frame %d" % first], b"a stamp.", needed_before=0, kept_before=9)
    await store.advance(session_id, sent, cursor=ReplicaCursor(first, b"a stamp."))


@pytest.fixture(params=["token", "hold"])
def manifest(request: pytest.FixtureRequest, artifact: Artifact) -> Manifest:
    return artifact.manifest.model_copy(update={"missing_joints": request.param})


class Replicas:
    """Replicas that share a Redis, and a session whose frames are sent to them."""

    def __init__(self, connect: Connect, url: str, manifest: Manifest) -> None:
        self._connect = connect
        self._url = url
        self._manifest = manifest
        self._session_id = ""

    def another(self) -> Sessions:
        return Sessions(self._connect(self._url, 5.0), ttl_s=60, limits=SessionLimits(10))

    async def open(self, replica: Sessions) -> None:
        opening = Opening(COCO, *IMAGE_SIZE, FPS, None)
        self._session_id = (await replica.open(opening, self._manifest, CALLER)).session_id

    async def send(self, replica: Sessions, points: NDArray[np.float64], first: int, stop: int) -> Session:
        """Send frames one by one; return the session after the last one."""
        session = await replica.find(self._session_id, self._manifest)
        for frame in range(first, stop):
            session = await replica.append(session, frame, sequence(points[frame : frame + 1], fps=FPS))
        return session


async def alone(manifest: Manifest, points: NDArray[np.float64]) -> Session:
    """The session as it would be with a store that never fails."""
    sessions = Sessions(MemoryStore(ttl_s=60), ttl_s=60, limits=SessionLimits(1))
    session = await sessions.open(Opening(COCO, *IMAGE_SIZE, FPS, None), manifest, CALLER)
    for frame in range(len(points)):
        session = await sessions.append(session, frame, sequence(points[frame : frame + 1], fps=FPS))
    return session


def assert_same(one: Session, other: Session) -> None:
    """Check that both have the same frames, and so the same windows and poses."""
    assert one.frames.start == other.frames.start
    np.testing.assert_array_equal(one.frames.screen, other.frames.screen)
    np.testing.assert_array_equal(one.frames.imputed, other.frames.imputed)


async def test_a_redis_with_a_durable_log_can_be_restarted(tmp_path: Path, connect: Connect, manifest: Manifest):
    points = person(60)
    with running_redis(tmp_path, appendonly="yes", appendfsync="always") as redis:
        replicas = Replicas(connect, redis.url, manifest)
        one, other = replicas.another(), replicas.another()
        await replicas.open(one)
        await replicas.send(one, points, 0, 40)
        redis.kill()
        with pytest.raises(SessionStoreDown):
            await replicas.send(one, points, 40, 41)
        redis.start()
        await replicas.send(one, points, 40, 50)
        assert_same(await replicas.send(other, points, 50, 60), await alone(manifest, points))


async def test_after_a_restore_no_replica_mixes_lost_frames_with_their_replacements(
    tmp_path: Path, connect: Connect, manifest: Manifest
):
    """Frames 30 to 39 are lost, and the client, which no longer has them, sends others in their place."""
    points, lost = person(60), keypoints(at_rate(FPS, 60), person=1)
    with running_redis(tmp_path) as redis:
        replicas = Replicas(connect, redis.url, manifest)
        one, other = replicas.another(), replicas.another()
        await replicas.open(one)
        await replicas.send(one, points, 0, 30)
        redis.ask("SAVE")
        await replicas.send(one, lost, 30, 40)
        redis.kill()
        redis.start()
        with pytest.raises(SessionConflict) as refusal:
            await replicas.send(one, lost, 40, 41)
        assert refusal.value.expected_frame_index == 30
        await replicas.send(other, points, 30, 40)
        assert_same(await replicas.send(one, points, 40, 60), await alone(manifest, points))
