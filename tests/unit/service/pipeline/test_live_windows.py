"""Own poses of a session are kept for the next frames, and are as good as those that are lifted again."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from poselift_service.errors import SessionStoreDown
from poselift_service.pipeline.live import LiveFrames, LiveLifter
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.session import Caller, Opening, Session
from poselift_service.sessions.sessions import Sessions

from poselift.skeletons import skeleton
from tests.unit.service.conftest import Serving

CALLER = Caller()
OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=0)
FRAMES = 20
POINTS = np.random.default_rng(0).uniform(3, 300, (FRAMES, 17, 3)).astype(np.float32)
SAME_M = 1e-5


def soon() -> float:
    return time.monotonic() + 60


def replica_of(serving: Serving, store: MemoryStore) -> LiveLifter:
    return LiveLifter(serving.pipeline, Sessions(store, ttl_s=600, limits=SessionLimits(10)))


async def send(live: LiveLifter, session: Session, first: int, stop: int) -> NDArray[np.floating]:
    found = await live.find(session.session_id, CALLER, deadline=soon())
    return (await live.advance(found, LiveFrames(first, POINTS[first:stop]), deadline=soon())).lifted.joints


async def one_by_one(serving: Serving, lookahead: int) -> NDArray[np.floating]:
    """The poses of an undisturbed stream."""
    live = replica_of(serving, MemoryStore(ttl_s=600))
    session = await live.open(replace(OPENING, lookahead=lookahead), None, CALLER, deadline=soon())
    poses = [await send(live, session, frame, frame + 1) for frame in range(FRAMES)]
    poses.append((await live.end(session.session_id, CALLER, deadline=soon())).lifted.joints)
    return np.concatenate(poses)


@pytest.fixture
def lifted(whole_windows: Serving, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of windows of each call of the batcher."""
    model = next(iter(whole_windows.pipeline.models))
    lift, counts = model.batcher.lift, []

    async def counted(sequences: Any, **more: Any) -> Any:
        counts.append(sum(len(part.index) for part in sequences))
        return await lift(sequences, **more)

    monkeypatch.setattr(model.batcher, "lift", counted)
    return counts


@pytest.mark.parametrize("lookahead", [0, 2])
async def test_a_frame_costs_one_window(whole_windows: Serving, lifted: list[int], lookahead: int):
    await one_by_one(whole_windows, lookahead)
    assert max(lifted[2:-1]) == 1
    # The end is read from the store, and lifts the neighbours of the frames that are left again.
    assert sum(lifted) == FRAMES + (4 if lookahead else 0)


@pytest.mark.parametrize("lookahead", [0, 2])
async def test_another_server_lifts_the_neighbours_again(whole_windows: Serving, lifted: list[int], lookahead: int):
    expected = await one_by_one(whole_windows, lookahead)
    store, poses = MemoryStore(ttl_s=600), []
    live = replica_of(whole_windows, store)
    session = await live.open(replace(OPENING, lookahead=lookahead), None, CALLER, deadline=soon())
    for frame in range(FRAMES):
        live = replica_of(whole_windows, store) if frame in (9, 14) else live
        lifted.clear()
        poses.append(await send(live, session, frame, frame + 1))
        if frame > 4 + lookahead:
            again = 2 if lookahead else 4
            assert lifted == [1 + again if frame in (9, 14) else 1]
    poses.append((await live.end(session.session_id, CALLER, deadline=soon())).lifted.joints)
    np.testing.assert_allclose(np.concatenate(poses), expected, atol=SAME_M)


async def test_frames_that_are_sent_again_have_the_same_poses(whole_windows: Serving, lifted: list[int]):
    expected = await one_by_one(whole_windows, 2)
    live = replica_of(whole_windows, MemoryStore(ttl_s=600))
    session = await live.open(replace(OPENING, lookahead=2), None, CALLER, deadline=soon())
    await send(live, session, 0, 12)
    for first, stop in ((11, 12), (9, 12), (3, 12), (11, 14)):
        again = await send(live, session, first, stop)
        np.testing.assert_allclose(again, expected[first - 2 : stop - 2], atol=SAME_M)


class ForgetfulStore(MemoryStore):
    """A store that ends no session."""

    async def close_session(self, session_id: str) -> None:
        raise SessionStoreDown


async def test_an_end_that_fails_leaves_nothing_behind(whole_windows: Serving):
    """The last poses of a stream are lifted from fewer frames than if it went on, as it then does."""
    expected = await one_by_one(whole_windows, 2)
    live = replica_of(whole_windows, ForgetfulStore(ttl_s=600))
    session = await live.open(replace(OPENING, lookahead=2), None, CALLER, deadline=soon())
    await send(live, session, 0, 12)
    before = (await live.find(session.session_id, CALLER, deadline=soon())).own
    with pytest.raises(SessionStoreDown):
        await live.end(session.session_id, CALLER, deadline=soon())
    after = (await live.find(session.session_id, CALLER, deadline=soon())).own
    assert before is not None
    assert after is not None
    assert after.stop == before.stop == 11
    np.testing.assert_allclose(await send(live, session, 12, FRAMES), expected[10 : FRAMES - 2], atol=SAME_M)
