"""What a live session costs: memory where it is kept, and processor time for each of its frames.

    python -m tests.benchmarks.sessions
    python -m tests.benchmarks.sessions --sessions 1000 --fps 30

The windows are those of the shipped model with full lookahead, filled. Memory is measured with all sessions at once: in
Redis as it accounts for it, in this process as its resident memory grows. Time is that of this process for one frame
each of a hundred sessions in turn, from keypoints to the window that goes to the engine, without the network and the
transport; the best of many rounds, for other programs run here too.
"""

import argparse
import asyncio
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from poselift.artifact import Manifest, load_artifact
from poselift.lifting import Sequence
from poselift.skeletons import skeleton
from service.session_stores import MemoryStore, RedisStore, SessionStore
from service.sessions import Opening, Session, Sessions
from tests.integration.redis_process import running_redis

MODEL = Path(__file__).parents[2] / "models" / "pstmo-tiny-27" / "1"
COCO = skeleton("coco17")
TTL_S = 3600.0
TIMED_SESSIONS, ROUNDS = 100, 200
PAGE_BYTES = 4096


class Streams:
    """Sessions of one kind in one store, and the frames that they are sent."""

    def __init__(self, store: SessionStore, manifest: Manifest, fps: float, number: int) -> None:
        self.sessions = Sessions(store, ttl_s=TTL_S, capacity=number)
        self.manifest = manifest
        self.opening = Opening(COCO, 1920, 1080, fps, None)
        self.fps = fps
        self.number = number
        self.ids: list[str] = []

    def frames(self, count: int) -> Sequence:
        keypoints = np.random.default_rng(0).uniform(0.5, 1000, (count, 17, 3)).astype(np.float32)
        return Sequence(keypoints, COCO, 1920, 1080, Sequence.times_at(self.fps, count))

    async def fill(self) -> int:
        """Open all and fill their windows; gives the frames that are kept of each."""
        for _ in range(self.number):
            session = await self.sessions.open(self.opening, self.manifest)
            self.ids.append(session.session_id)
        whole = self.frames(2 * session.window.needed_before)
        await self.to_all(0, whole)
        # Two more frames each, one by one, as they come in a stream.
        for first in range(len(whole.keypoints), len(whole.keypoints) + 2):
            session = (await self.to_all(first, self.frames(1)))[0]
        return len(session.frames.screen)

    async def to_all(self, first: int, frames: Sequence) -> list[Session]:
        """Send frames to all, as many at a time as a busy server would."""
        sessions: list[Session] = []
        for start in range(0, self.number, TIMED_SESSIONS):
            ids = self.ids[start : start + TIMED_SESSIONS]
            sessions += await asyncio.gather(*(self.send(session_id, first, frames) for session_id in ids))
        return sessions

    async def send(self, session_id: str, first: int, frames: Sequence) -> Session:
        session = await self.sessions.find(session_id, self.manifest)
        session = await self.sessions.append(session, first, frames)
        targets = session.window.completed_by(range(first, first + len(frames.keypoints)))
        if len(targets) == 1:
            session.window.prepare(session.frames, targets)
        return session


async def frame_us(streams: Streams) -> float:
    """Processor time in this process for a frame."""
    await streams.fill()
    first = (await streams.sessions.find(streams.ids[0], streams.manifest)).next_frame_index
    frame, shortest_s = streams.frames(1), math.inf
    for index in range(first, first + ROUNDS):
        started_s = time.process_time()
        await streams.to_all(index, frame)
        shortest_s = min(shortest_s, time.process_time() - started_s)
    return shortest_s / streams.number * 1e6


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def measure(sessions: int, fps: float) -> None:
    manifest = load_artifact(MODEL).manifest
    console = Console()
    table = Table("", "kept frames", "in the store, B", "in the server, B", "time per frame, us")
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis:
        store = RedisStore(redis.url, ttl_s=TTL_S, timeout_s=60)
        timed = await frame_us(Streams(store, manifest, fps, TIMED_SESSIONS))
        streams = Streams(store, manifest, fps, sessions)
        in_redis, in_server = redis.ask("INFO", "memory")["used_memory"], resident_bytes()
        kept = await streams.fill()
        in_redis = redis.ask("INFO", "memory")["used_memory"] - in_redis
        in_server = resident_bytes() - in_server
        keys = [
            f"poselift:{{{session_id}}}:{kind}" for session_id in streams.ids[:100] for kind in ("session", "frames")
        ]
        by_key = sum(redis.ask("MEMORY USAGE", key, "SAMPLES", 0) for key in keys) / 100
        table.add_row("Redis", str(kept), f"{in_redis / sessions:.0f}", f"{in_server / sessions:.0f}", f"{timed:.0f}")
        await store.close()
    del streams
    timed = await frame_us(Streams(MemoryStore(ttl_s=TTL_S), manifest, fps, TIMED_SESSIONS))
    streams = Streams(MemoryStore(ttl_s=TTL_S), manifest, fps, sessions)
    in_server = resident_bytes()
    kept = await streams.fill()
    in_server = resident_bytes() - in_server
    table.add_row("in memory", str(kept), "", f"{in_server / sessions:.0f}", f"{timed:.0f}")
    console.print(
        f"{sessions} sessions at {fps:g} frames per second, {manifest.name}; MEMORY USAGE {by_key:.0f} B each"
    )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--fps", type=float, default=50)
    options = parser.parse_args()
    asyncio.run(measure(options.sessions, options.fps))


if __name__ == "__main__":
    main()
