"""Measures the cost of live sessions: memory in their store, and CPU time per frame.

    python -m tests.benchmarks.sessions
    python -m tests.benchmarks.sessions --sessions 1000 --fps 30 --full

The windows are those of the shipped model with the lookahead that suits it, or with all of it, filled. Memory is
measured with all sessions open: in Redis by its own accounting, in the server by the growth of its resident memory.
Time is CPU time of the server for one frame each of a hundred sessions, from keypoints to the window for the engine,
without network and transport; the best of many rounds, because other programs run on the machine.
"""

import argparse
import asyncio
import math
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.session import Caller, Opening, Session
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import SessionStore
from rich.console import Console
from rich.table import Table

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.averaged_window import AveragedWindow
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.integration.redis_process import running_redis
from tests.shipped_model import NAME, SHIPPED_MODEL

CALLER = Caller()

COCO = skeleton("coco17")
TTL_S = 3600.0
TIMED_SESSIONS, ROUNDS = 100, 100


class Streams:
    """Sessions in one store, and the frames sent to them."""

    def __init__(self, store: SessionStore, manifest: Manifest, opening: Opening, number: int) -> None:
        self.sessions = Sessions(store, ttl_s=TTL_S, limits=SessionLimits(number))
        self.manifest = manifest
        self.opening = opening
        self.number = number
        self.ids: list[str] = []

    def frames(self, count: int) -> Sequence:
        keypoints = np.random.default_rng(0).uniform(0.5, 1000, (count, 17, 3)).astype(np.float32)
        assert self.opening.fps is not None
        return Sequence(keypoints, COCO, 1920, 1080, Sequence.times_at(self.opening.fps, count))

    async def fill(self) -> int:
        """Open all sessions and fill their windows; return the number of frames kept of each."""
        for _ in range(self.number):
            session = await self.sessions.open(self.opening, self.manifest, CALLER)
            self.ids.append(session.session_id)
        whole = self.frames(2 * session.window.needed_before)
        await self.send_to_all(0, whole)
        # Two more frames each, one by one, as in a stream.
        for first in range(len(whole.keypoints), len(whole.keypoints) + 2):
            session = (await self.send_to_all(first, self.frames(1)))[0]
        return len(session.frames.screen)

    async def send_to_all(self, first: int, frames: Sequence) -> list[Session]:
        """Send frames to all sessions, as many at a time as a busy server."""
        sessions: list[Session] = []
        for start in range(0, self.number, TIMED_SESSIONS):
            ids = self.ids[start : start + TIMED_SESSIONS]
            sessions += await asyncio.gather(*(self.send(session_id, first, frames) for session_id in ids))
        return sessions

    async def send(self, session_id: str, first: int, frames: Sequence) -> Session:
        session = await self.sessions.find(session_id, self.manifest)
        session = await self.sessions.append(session, first, frames)
        targets = session.window.completed_by(range(first, session.next_frame_index), session.frames)
        if len(targets) == 1 and isinstance(session.window, AveragedWindow):
            own = session.window.averages(session.frames, targets).own
            session.window.prepare_own(session.frames, own[-1:])  # the others are known
        elif len(targets) == 1:
            session.window.prepare(session.frames, targets)
        return session


async def time_frames(streams: Streams) -> float:
    """CPU time of this process for a frame, in microseconds."""
    await streams.fill()
    first = (await streams.sessions.find(streams.ids[0], streams.manifest)).next_frame_index
    frame, min_s = streams.frames(1), math.inf
    for index in range(first, first + ROUNDS):
        started_s = time.process_time()
        await streams.send_to_all(index, frame)
        min_s = min(min_s, time.process_time() - started_s)
    return min_s / streams.number * 1e6


@dataclass(frozen=True)
class Cost:
    """Memory of one session, and CPU time of one of its frames."""

    kept_frames: int
    server_bytes: float
    redis_bytes: float | None
    frame_us: float


def cost(with_redis: bool, sessions: int, opening: Opening) -> Cost:
    """Measure in a new process, whose memory nothing else has used."""
    return asyncio.run(_with_redis(sessions, opening) if with_redis else _in_memory(sessions, opening))


async def _in_memory(sessions: int, opening: Opening) -> Cost:
    manifest = load_artifact(SHIPPED_MODEL).manifest
    frame_us = await time_frames(Streams(MemoryStore(ttl_s=TTL_S), manifest, opening, TIMED_SESSIONS))
    before = resident_bytes()
    streams = Streams(MemoryStore(ttl_s=TTL_S), manifest, opening, sessions)
    kept_frames = await streams.fill()
    return Cost(kept_frames, (resident_bytes() - before) / sessions, None, frame_us)


async def _with_redis(sessions: int, opening: Opening) -> Cost:
    manifest = load_artifact(SHIPPED_MODEL).manifest
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis:
        store = RedisStore(redis.url, ttl_s=TTL_S, timeout_s=60)
        frame_us = await time_frames(Streams(store, manifest, opening, TIMED_SESSIONS))
        redis.ask("FLUSHALL")
        before, redis_before = resident_bytes(), redis.ask("INFO", "memory")["used_memory"]
        streams = Streams(store, manifest, opening, sessions)
        kept_frames = await streams.fill()
        redis_bytes = redis.ask("INFO", "memory")["used_memory"] - redis_before
        server_bytes = resident_bytes() - before
        await store.close()
    return Cost(kept_frames, server_bytes / sessions, redis_bytes / sessions, frame_us)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--fps", type=float, default=50)
    parser.add_argument("--full", action="store_true", help="with as much lookahead as the window holds")
    options = parser.parse_args()
    opening = Opening(COCO, 1920, 1080, options.fps, "full" if options.full else None)
    table = Table("store", "kept frames", "in Redis, B", "in the server, B", "time per frame, us")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        for with_redis in (True, False):
            one = processes.submit(cost, with_redis, options.sessions, opening).result()
            in_redis = "" if one.redis_bytes is None else f"{one.redis_bytes:.0f}"
            figures = (str(one.kept_frames), in_redis, f"{one.server_bytes:.0f}", f"{one.frame_us:.0f}")
            table.add_row("Redis" if with_redis else "memory", *figures)
    console = Console()
    console.print(f"{options.sessions} sessions at {options.fps:g} frames per second, {NAME}")
    console.print(table)


if __name__ == "__main__":
    main()
