"""Motion in the world of sessions: a pure function of their frames, whichever server gets them, and how often."""

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from poselift_service.errors import SessionStoreDown, UnknownSession
from poselift_service.pipeline.lift import Pipeline
from poselift_service.pipeline.live import LiveFrames, LiveLifter, LivePoses
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.session import Caller, Opening
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import MotionStates, ReplicaCursor

from poselift.camera import Camera
from poselift.motion.world import WorldOptions
from poselift.skeletons import skeleton
from tests.unit.service.conftest import Serving

CALLER = Caller()
SIZE = 640, 480
OPENING = Opening(skeleton("coco17"), *SIZE, fps=30, lookahead=2, world=WorldOptions(rotations=True))
FRAMES = 130
# A network's outputs differ in their last digits with the batch that they are computed in.
SAME_M = 1e-4


class Store(MemoryStore):
    """Counts what is kept of motion, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(ttl_s=600)
        self.kept: list[int] = []
        self.read = 0
        self.is_down = False

    async def keep_motion(self, session_id: str, motion: MotionStates, *, cursor: ReplicaCursor) -> None:
        if self.is_down:
            raise SessionStoreDown
        await super().keep_motion(session_id, motion, cursor=cursor)
        self.kept.append(len(await super().read_motion(session_id)))

    def save(self) -> None:
        self._saved = copy.deepcopy(self._sessions)

    def rewind(self) -> None:
        """Lose what came since, as a Redis that failed over."""
        self._sessions = copy.deepcopy(self._saved)

    async def read_motion(self, session_id: str) -> Mapping[int, bytes]:
        self.read += 1
        return await super().read_motion(session_id)


def soon() -> float:
    return time.monotonic() + 60


def walk() -> NDArray[np.float32]:
    """Somebody who moves about; all joints are seen, for the engine answers with what it is given."""
    rng, t = np.random.default_rng(0), np.arange(FRAMES)[:, None] / 30
    middle = np.concatenate([300 + 60 * np.sin(t), 240 + 5 * np.cos(3 * t)], axis=1)
    places = middle[:, None] + rng.normal(0, 60, (17, 2)) + rng.normal(0, 2, (FRAMES, 17, 2))
    keypoints = np.concatenate([places, np.full((FRAMES, 17, 1), 0.9)], axis=-1)
    return keypoints.astype(np.float32)


POINTS = walk()


class Stream:
    """One session, and what has been answered about it."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: Store | None = None,
        opening: Opening = OPENING,
        points: NDArray[np.float32] = POINTS,
    ) -> None:
        self.store = store or Store()
        self._points = points
        self._pipeline = pipeline
        self._opening = opening
        self.rows: dict[int, tuple[Any, ...]] = {}
        self.replica = self.another()

    def another(self) -> LiveLifter:
        """A server that knows what the store knows."""
        return LiveLifter(self._pipeline, Sessions(self.store, ttl_s=600, limits=SessionLimits(10)))

    async def open(self) -> "Stream":
        self.session = await self.replica.open(self._opening, None, CALLER, deadline=soon())
        return self

    async def send(self, first: int, stop: int, *, to: LiveLifter | None = None) -> LivePoses:
        live = to or self.replica
        times_s = None if self._opening.fps is not None else 100 + np.arange(first, stop) / 30
        session = await live.find(self.session.session_id, CALLER, deadline=soon())
        return self.take(
            await live.advance(session, LiveFrames(first, self._points[first:stop], times_s), deadline=soon())
        )

    async def end(self) -> LivePoses:
        return self.take(await self.replica.end(self.session.session_id, CALLER, FRAMES, deadline=soon()))

    def take(self, poses: LivePoses) -> LivePoses:
        assert (poses.world is None) is (not poses.targets)
        assert len(poses.lifted.joints) == len(poses.future_frames) == len(poses.targets)
        world = poses.world
        for row, target in enumerate(poses.targets):
            assert world is not None
            assert world.rotations is not None
            new = world.poses[row], world.root[row], world.contacts[row], world.rotations[row]
            for one, other in zip(new, self.rows.setdefault(target, new), strict=True):
                np.testing.assert_allclose(one, other, atol=SAME_M)
        return poses

    @property
    def poses(self) -> NDArray[np.float64]:
        assert sorted(self.rows) == list(range(FRAMES))
        poses = np.stack([self.rows[index][0] for index in range(FRAMES)])
        assert np.isfinite(poses).all()
        return poses


async def plain(serving: Serving, opening: Opening = OPENING) -> Stream:
    """A stream of one frame a message, without any incident."""
    stream = await Stream(serving.pipeline, opening=opening).open()
    for index in range(FRAMES):
        await stream.send(index, index + 1)
    await stream.end()
    return stream


OPENINGS = [OPENING, replace(OPENING, lookahead="full"), replace(OPENING, fps=None, lookahead="full")]


@pytest.mark.parametrize("opening", OPENINGS, ids=["some", "full", "timed"])
async def test_rows_do_not_depend_on_how_frames_come(serving: Serving, opening: Opening):
    await check_any_messages(serving, opening)


@pytest.mark.parametrize("opening", OPENINGS, ids=["some", "blocks", "timed"])
async def test_nor_do_they_where_a_network_answers_whole_windows(whole_windows: Serving, opening: Opening):
    await check_any_messages(whole_windows, opening)


async def check_any_messages(serving: Serving, opening: Opening) -> None:
    """Whatever the messages are, whoever gets them, and with some of them sent again, to any server."""
    expected = (await plain(serving, opening)).poses
    rng = np.random.default_rng(1)
    stream = await Stream(serving.pipeline, opening=opening).open()
    replicas, first = [stream.another() for _ in range(3)], 0
    while first < FRAMES:
        stop = min(FRAMES, first + int(rng.choice([1, 1, 2, 7, 40])))
        await stream.send(first, stop, to=replicas[rng.integers(3)])
        if rng.random() < 0.4:
            again = max(0, min(first, stop - int(rng.integers(1, 33))))
            await stream.send(again, stop, to=replicas[rng.integers(3)])
        first = stop
    await stream.end()
    np.testing.assert_allclose(stream.poses, expected, atol=SAME_M)


async def test_a_server_that_dies_after_storing_frames_loses_nothing(serving: Serving):
    expected = (await plain(serving)).poses
    stream, first = await Stream(serving.pipeline).open(), 0
    for stop in [*range(3, FRAMES, 3), FRAMES]:
        stream.store.is_down = stop % 2 == 0
        if stream.store.is_down:
            with pytest.raises(SessionStoreDown):
                await stream.send(first, stop)
            stream.store.is_down = False
            stream.replica = stream.another()
        await stream.send(first, stop)
        first = stop
    await stream.end()
    np.testing.assert_allclose(stream.poses, expected, atol=SAME_M)


async def test_a_stream_can_be_ended_twice_with_the_same_rows(serving: Serving):
    stream = await plain(serving)
    assert len((await stream.end()).targets) == 2


async def test_few_states_are_kept_and_none_is_read_by_the_server_that_wrote_them(serving: Serving):
    stream = await plain(serving)
    assert stream.store.read == 1  # for the end, which may come to any server
    assert len(stream.store.kept) == FRAMES
    assert max(stream.store.kept) <= 4


async def test_sessions_without_the_world_cost_nothing(serving: Serving):
    stream = await Stream(serving.pipeline, opening=replace(OPENING, world=None)).open()
    for first in range(0, FRAMES, 10):
        poses = await stream.replica.advance(
            stream.session, LiveFrames(first, POINTS[first : first + 10]), deadline=soon()
        )
        stream.session = poses.session
        assert poses.world is None
        assert not poses.session.motion
    assert (stream.store.read, stream.store.kept) == (0, [])


async def test_a_session_whose_motion_is_lost_is_unknown(serving: Serving):
    """Rows in another world would be wrong; the client opens a new session."""
    stream = await Stream(serving.pipeline).open()
    for first in range(0, 100, 10):
        await stream.send(first, first + 10)
    (stored,) = stream.store._sessions.values()
    stored.motion.clear()
    with pytest.raises(UnknownSession):
        await stream.send(100, 110, to=stream.another())


async def test_a_large_message_can_be_sent_again_from_any_of_its_last_frames(serving: Serving):
    expected = (await plain(serving)).poses
    stream = await Stream(serving.pipeline).open()
    await stream.send(0, 17)
    await stream.send(17, 120)
    for first in (17, 30, 88, 119):
        await stream.send(first, 120, to=stream.another())
    await stream.send(120, FRAMES, to=stream.another())
    await stream.end()
    np.testing.assert_allclose(stream.poses, expected, atol=SAME_M)


@pytest.mark.parametrize("step", [1, 10])
async def test_no_server_continues_from_frames_that_the_store_has_lost(serving: Serving, step: int):
    """Frames 60 to 69 are lost, and others take their place, while one server has put the lost ones into the world."""
    expected = (await plain(serving)).poses
    stream = await Stream(serving.pipeline).open()
    stale, other = stream.another(), stream.another()
    for first in range(0, 60, 10):
        await stream.send(first, first + 10, to=stale)
    stream.store.save()
    session = await stale.find(stream.session.session_id, CALLER, deadline=soon())
    for first in range(60, 70):
        lost = LiveFrames(first, POINTS[first : first + 1, ::-1])  # with other bones
        session = (await stale.advance(session, lost, deadline=soon())).session
    assert max(session.motion) == 70
    stream.store.rewind()
    for first in range(60, 70, step):
        await stream.send(first, first + step, to=other)
    for first in range(70, FRAMES, step):
        await stream.send(first, first + step, to=stale)
    await stream.end()
    np.testing.assert_allclose(stream.poses, expected, atol=SAME_M)


async def test_distortion_is_removed_once(serving: Serving) -> None:
    """What a bent lens shows, with its numbers told, is the motion of what a straight one shows."""
    slopes = (POINTS[..., :2].astype(np.float64) - (320, 240)) / 600
    bent = POINTS.copy()
    bent[..., :2] = slopes * (1 - 0.2 * (slopes**2).sum(axis=-1, keepdims=True)) * 600 + (320, 240)
    rows = []
    for points, camera in ((POINTS, Camera(600)), (bent, Camera(600, distortion=(-0.2, 0, 0, 0)))):
        stream = await Stream(serving.pipeline, opening=replace(OPENING, camera=camera), points=points).open()
        await stream.send(0, FRAMES)
        rows.append(np.array([stream.rows[index][1] for index in sorted(stream.rows)]))
    assert len(rows[0]) == FRAMES - 2
    np.testing.assert_allclose(rows[1], rows[0], atol=2e-3)
