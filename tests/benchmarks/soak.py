"""Half an hour of everything at once: does the server stay as it was?

    python -m tests.benchmarks.soak                 # 30 minutes
    python -m tests.benchmarks.soak --minutes 3     # a first look; too short to say much about memory

A real server with a real Redis gets clips and live streams over every transport, from clients some of whom send
nonsense, hang up in the middle, or leave their sessions behind. Its memory is looked at every second. The command fails
when memory, from the first fifth of the time to the last, grows by more than 2 %, or when windows or sessions are left
over at the end.
"""

import argparse
import asyncio
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import redis.asyncio
import websockets
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import Progress

from poselift.pb import lifter_pb2 as pb
from tests.benchmarks.serving import workloads
from tests.integration.redis_process import free_port, running_redis
from tests.integration.server_process import ServerProcess, running

MODEL = "pstmo-tiny-27"
SERVICE = "/poselift.v1.LiftingService"
JSON, PROTOBUF = ({"content-type": workloads.CONTENT_TYPES[form]} for form in ("json", "protobuf"))
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
SESSION_TTL_S = 10.0
MOST_GROWTH = 0.02
# Of each kind; together they keep two cores busy most of the time.
CLIENTS = 2
PAUSE_S = 0.2
console = Console()


@dataclass
class Soak:
    """The clients, and what they have seen."""

    server: ServerProcess
    http: httpx.AsyncClient
    channel: grpc.aio.Channel
    random: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)

    def clip(self) -> Any:
        return workloads.clip(self.random.randint(1, 300))

    async def json_clips(self) -> None:
        self._saw(await self.http.post("/lift", content=workloads.as_json(self.clip(), MODEL), headers=JSON))

    async def protobuf_clips(self) -> None:
        content = workloads.as_protobuf(self.clip(), MODEL)
        self._saw(await self.http.post("/lift", content=content, headers=PROTOBUF))

    async def grpc_clips(self) -> None:
        lift: Any = self.channel.unary_unary(f"{SERVICE}/Lift")
        await lift(workloads.as_protobuf(self.clip(), MODEL))
        self.outcomes["gRPC clip"] += 1

    async def nonsense(self) -> None:
        body = bytearray(workloads.as_json(workloads.clip(20), MODEL))
        for _ in range(5):
            body[self.random.randrange(len(body))] = self.random.randrange(256)
        self._saw(await self.http.post("/lift", content=bytes(body), headers=JSON))

    async def hanging_up(self) -> None:
        content = workloads.as_json(workloads.clip(300), MODEL)
        with suppress(httpx.TimeoutException):
            await self.http.post("/lift", content=content, headers=JSON, timeout=self.random.uniform(0.005, 0.1))
        self.outcomes["hung up"] += 1

    async def posted_session(self) -> None:
        """Frames by POST; every fourth session is left behind."""
        session_id = await self._open_session()
        points = self.clip().tolist()
        for first in range(0, len(points), 7):
            frames = {"frame_index": first, "keypoints": points[first : first + 7]}
            self._saw(await self.http.post(f"/sessions/{session_id}/frames", json=frames))
        if self.random.random() < 0.75:
            self._saw(await self.http.delete(f"/sessions/{session_id}"))

    async def websocket_session(self) -> None:
        """Frames over a WebSocket, which every fourth client breaks off."""
        session_id = await self._open_session()
        address = self.server.address.replace("http", "ws", 1)
        async with websockets.connect(f"{address}/sessions/{session_id}/stream") as socket:
            for index, frame in enumerate(self.clip().tolist()):
                await socket.send(orjson.dumps({"frame_index": index, "keypoints": [frame]}).decode())
                if "frames" not in orjson.loads(await socket.recv()):
                    self.outcomes["WebSocket error"] += 1
                    return
            if self.random.random() < 0.75:
                await socket.send('{"end": true}')
                await socket.recv()
        self.outcomes["WebSocket session"] += 1

    async def grpc_session(self) -> None:
        """Frames over a gRPC stream, which every fourth client breaks off."""
        create: Any = self.channel.unary_unary(f"{SERVICE}/CreateSession")
        opened = pb.CreateSessionResponse.FromString(await create(workloads.opening(MODEL)))
        stream: Any = self.channel.stream_stream(f"{SERVICE}/LiftStream")()
        for index, frame in enumerate(self.clip()):
            message = pb.LiftStreamRequest(
                session_id=opened.session.session_id,
                frames=[pb.Frame(frame_index=index, keypoints=frame.ravel().tolist())],
            )
            await stream.write(message.SerializeToString())
            assert await stream.read() is not grpc.aio.EOF
        if self.random.random() < 0.75:
            await stream.write(pb.LiftStreamRequest(end=True).SerializeToString())
            await stream.read()
        stream.cancel()
        self.outcomes["gRPC session"] += 1

    async def _open_session(self) -> str:
        opening = {"skeleton": "coco17", "image_size": [1000, 800], "fps": 50, "lookahead": self.random.choice([0, 5])}
        while (answer := await self.http.post("/sessions", json=opening)).status_code != 201:
            self._saw(answer)
        self._saw(answer)
        return str(answer.json()["session_id"])

    def _saw(self, answer: httpx.Response) -> None:
        self.outcomes[f"HTTP {answer.status_code}"] += 1
        # A Redis that is slow to answer, on a busy machine, is no fault of the server's.
        assert answer.status_code != 500, answer.text

    def _saw_failing(self, status: str, *, is_ours: bool) -> None:
        self.outcomes[f"gRPC {status}"] += 1
        assert not is_ours, status

    async def keep_doing(self, act: Callable[[], Awaitable[None]], until: float) -> None:
        while time.monotonic() < until:
            try:
                await act()
            except grpc.aio.AioRpcError as error:
                self._saw_failing(error.code().name, is_ours=error.code() in FAULTS)
            except websockets.WebSocketException as error:
                self.outcomes[f"WebSocket {type(error).__name__}"] += 1
            await asyncio.sleep(self.random.uniform(0, 2 * PAUSE_S))

    async def run(self, until: float) -> None:
        """Do all of it until that moment."""
        acts = (
            self.json_clips,
            self.protobuf_clips,
            self.grpc_clips,
            self.nonsense,
            self.hanging_up,
            self.posted_session,
            self.websocket_session,
            self.grpc_session,
        )
        await asyncio.gather(*(self.keep_doing(act, until) for act in acts for _ in range(CLIENTS)))


async def watch(pid: int, until: float) -> list[float]:
    """The server's resident memory in MB, second by second."""
    seen = []
    with Progress(console=console) as progress:
        task = progress.add_task("", total=until - time.monotonic())
        while time.monotonic() < until:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            seen.append(pages * resource.getpagesize() / 1e6)
            progress.update(task, advance=1, description=f"{seen[-1]:.0f} MB")
            await asyncio.sleep(1)
    return seen


def metric(port: int, name: str) -> float:
    """Sum of a metric's samples."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name)


async def soak(minutes: float) -> bool:
    """Returns whether the server stayed as it was."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(running_redis(folder))
        grpc_port, metrics_port = free_port(), free_port()
        server = stack.enter_context(
            running(
                Path("models"),
                folder / "log",
                default_model=MODEL,
                grpc_port=grpc_port,
                metrics_port=metrics_port,
                redis_url=store.url,
                session_ttl_s=SESSION_TTL_S,
                engine="auto",
                threads=0,
            )
        )
        until = time.monotonic() + 60 * minutes
        async with (
            httpx.AsyncClient(base_url=server.address, timeout=60) as http,
            grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
        ):
            clients = Soak(server, http, channel, random.Random(0))
            memory_mb, _ = await asyncio.gather(watch(server.process.pid, until), clients.run(until))
        await asyncio.sleep(1.5 * SESSION_TTL_S)
        sessions_left = await redis.asyncio.Redis.from_url(store.url).dbsize()
        windows_left = metric(metrics_port, "poselift_windows_queued")
    length = len(memory_mb) // 5
    fifths = [statistics.median(memory_mb[start : start + length]) for start in range(0, 5 * length, length)]
    growth = fifths[-1] / fifths[0] - 1
    console.print(dict(sorted(clients.outcomes.items())))
    console.print(f"resident memory by fifths of the time: {', '.join(f'{mb:.1f}' for mb in fifths)} MB, {growth:+.2%}")
    console.print(f"left over: {windows_left:.0f} windows queued, {sessions_left} sessions in Redis")
    return growth <= MOST_GROWTH and windows_left == sessions_left == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    sys.exit(not asyncio.run(soak(parser.parse_args().minutes)))


if __name__ == "__main__":
    main()
