"""Live sessions whose model this server does not serve, messages of many frames, and deadlines."""

import asyncio
import threading
import time
from dataclasses import fields, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
from poselift_service.errors import DeadlineExceeded, NotReady, SessionConflict, UnknownSession
from poselift_service.inference.models import ServedModels
from poselift_service.pipeline.lift import Pipeline
from poselift_service.pipeline.live import LiveFrames, LiveLifter
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.session import Caller, Opening, new_session_id
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import StoreReply

from poselift.lifting import Prepared
from poselift.live_window import KeptFrames, LiveWindow
from poselift.skeletons import skeleton
from tests.unit.service.conftest import Serving

CALLER = Caller()
ELSEWHERE = new_session_id("f" * 16, None)
OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=0)


class SharedStore(MemoryStore):
    """A store whose sessions other servers can serve."""

    def __init__(self, *session_ids: str) -> None:
        super().__init__(ttl_s=600)
        self._shared = session_ids

    async def is_shared(self, session_id: str) -> bool:
        return session_id in self._shared


def live_of(pipeline: Pipeline, store: MemoryStore) -> LiveLifter:
    return LiveLifter(pipeline, Sessions(store, ttl_s=600, limits=SessionLimits(10)))


def soon() -> float:
    return time.monotonic() + 60


async def test_a_starting_server_does_not_say_that_sessions_are_unknown():
    live = live_of(Pipeline(ServedModels(), limits=Limits(frames=10, tracks=1)), MemoryStore(ttl_s=600))
    with pytest.raises(NotReady):
        await live.find(ELSEWHERE, CALLER, deadline=soon())
    with pytest.raises(NotReady):
        await live.read(ELSEWHERE, CALLER, deadline=soon())
    with pytest.raises(NotReady):
        await live.end(ELSEWHERE, CALLER, deadline=soon())


async def test_a_session_of_a_version_that_others_serve_is_not_unknown(serving: Serving):
    live = live_of(serving.pipeline, SharedStore(ELSEWHERE))
    with pytest.raises(NotReady, match="another replica"):
        await live.find(ELSEWHERE, CALLER, deadline=soon())
    with pytest.raises(UnknownSession):
        await live.find(new_session_id("f" * 16, None), CALLER, deadline=soon())


async def test_a_session_that_has_lost_frames_goes_on_and_does_not_end(serving: Serving):
    live = live_of(serving.pipeline, MemoryStore(ttl_s=600))
    deadline, keypoints = time.monotonic() + 60, np.random.default_rng(0).uniform(3, 300, (5, 17, 3)).astype(np.float32)
    session = await live.open(OPENING, None, CALLER, deadline=deadline)
    session = (await live.advance(session, LiveFrames(0, keypoints[:3]), deadline=deadline)).session
    with pytest.raises(SessionConflict) as conflict:
        await live.end(session.session_id, CALLER, 5, deadline=deadline)
    assert conflict.value.expected_frame_index == 3
    await live.advance(session, LiveFrames(3, keypoints[3:]), deadline=deadline)
    assert (await live.end(session.session_id, CALLER, 5, deadline=deadline)).session.next_frame_index == 5
    # Another client may have sent more.
    assert (await live.end(session.session_id, CALLER, 3, deadline=deadline)).session.next_frame_index == 5


class WatchedWindow(LiveWindow):
    """Notes the threads that its windows are laid in."""

    threads: ClassVar[list[int]] = []

    def prepare(self, kept: KeptFrames, targets: range) -> Prepared:
        self.threads.append(threading.get_ident())
        return super().prepare(kept, targets)


async def test_a_message_of_many_frames_is_prepared_beside_the_event_loop(serving: Serving):
    live = live_of(serving.pipeline, MemoryStore(ttl_s=600))
    opened = await live.open(OPENING, None, CALLER, deadline=soon())
    window = WatchedWindow(**{field.name: getattr(opened.window, field.name) for field in fields(opened.window)})
    keypoints = np.random.default_rng(0).uniform(3, 300, (150, 17, 3)).astype(np.float32)
    session = replace(opened, window=window)
    for first, stop in ((0, 1), (1, 150)):
        poses = await live.advance(session, LiveFrames(first, keypoints[first:stop]), deadline=soon())
        assert poses.targets == range(first, stop)
        session = poses.session
    one, other = window.threads
    assert one == threading.get_ident() != other


async def test_windows_that_a_gap_makes_ready_at_once_have_permits(serving: Serving):
    live = live_of(serving.pipeline, MemoryStore(ttl_s=600))
    session = await live.open(replace(OPENING, fps=None, lookahead="full"), None, CALLER, deadline=soon())
    model = serving.pipeline.models.find_by_identity(session.manifest.identity)
    assert model is not None
    keypoints = np.random.default_rng(0).uniform(3, 300, (31, 17, 3)).astype(np.float32)
    times_s = np.append(np.arange(30) / 240, 5.0)
    session = (await live.advance(session, LiveFrames(0, keypoints[:30], times_s[:30]), deadline=soon())).session
    admitted: list[int] = []
    admit = model.batcher.admit

    def counted(windows: int, **more: Any) -> Any:
        admitted.append(windows)
        return admit(windows, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(model.batcher, "admit", counted)
        poses = await live.advance(session, LiveFrames(30, keypoints[30:], times_s[30:]), deadline=soon())
    assert len(poses.targets) > 1
    assert admitted[-1] == len(poses.targets)
    assert model.batcher.windows_queued == 0


class SilentStore(MemoryStore):
    """A store that answers nothing more, once it is silent."""

    is_silent = False

    async def open(self, session_id: str, opening: bytes) -> None:
        await self._answer()
        await super().open(session_id, opening)

    async def advance(self, *given: Any, **named: Any) -> StoreReply:
        await self._answer()
        return await super().advance(*given, **named)

    async def _answer(self) -> None:
        if self.is_silent:
            await asyncio.Event().wait()


async def test_the_deadline_of_a_request_bounds_the_calls_of_the_store(serving: Serving):
    store = SilentStore(ttl_s=600)
    live = live_of(serving.pipeline, store)
    opened = await live.open(OPENING, None, CALLER, deadline=soon())
    store.is_silent = True
    keypoints = np.ones((1, 17, 3), np.float32)
    for call in (
        partial(live.open, OPENING, None, CALLER),
        partial(live.find, new_session_id(opened.manifest.identity, None), CALLER),
        partial(live.read, opened.session_id, CALLER),
        partial(live.advance, opened, LiveFrames(0, keypoints)),
        partial(live.end, opened.session_id, CALLER),
    ):
        with pytest.raises(DeadlineExceeded):
            await call(deadline=time.monotonic() + 0.01)
    store.is_silent = False
    poses = await live.advance(opened, LiveFrames(0, keypoints), deadline=soon())
    assert poses.targets == range(1)
