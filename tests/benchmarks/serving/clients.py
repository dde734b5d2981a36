"""Clients that load a server, in a process of their own, so that they share nothing with what they measure.

They send bytes made beforehand and look at no answer but its status, so that as much of the machine as possible is left
to the server: an HTTP client that does everything right costs more than the request it makes.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import uvloop

Ending = Literal["answered", "refused", "late"]
HTTP_ENDINGS: dict[int, Ending] = {200: "answered", 429: "refused", 504: "late"}
GRPC_ENDINGS: dict[grpc.StatusCode, Ending] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: "refused",
    grpc.StatusCode.DEADLINE_EXCEEDED: "late",
}
Call = Callable[[], Awaitable[Ending]]


@dataclass(frozen=True)
class Load:
    """What the clients do.

    Attributes:
        transport: "http", "grpc", or "stream" for frames over LiftStream (or the method of the same shape in `method`).
        body: file with the request; for streams with all requests, a line of hexadecimal each.
        clients: so many connections, each of which sends when it has its answer.
        rate_hz: send at this rate instead, whether answers have come or not, over as many connections as that takes.
    """

    transport: str
    port: int
    body: str
    clients: int
    seconds: float
    content_type: str = "application/json"
    method: str = "/poselift.v1.LiftingService/Lift"
    opening: str = ""
    rate_hz: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        answered_s, refused_s, late_s: seconds that each request took; the last of those that were taken, and failed
            because their time was over.
        elapsed_s: from the first request to the last answer.
    """

    answered_s: list[float]
    refused_s: list[float]
    late_s: list[float]
    elapsed_s: float


def start(load: Load) -> "subprocess.Popen[str]":
    """Begin to load a server."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.serving.clients"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(load)))
    process.stdin.close()
    return process


def finish(process: "subprocess.Popen[str]") -> Outcome:
    """Wait for the end of a load."""
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait() == 0, "the clients failed"
    return Outcome(**json.loads(said))


def run(load: Load) -> Outcome:
    """Load a server from beginning to end."""
    return finish(start(load))


@asynccontextmanager
async def http_connection(load: Load) -> AsyncIterator[Call]:
    """A connection over which POST /lift is sent again and again, and another when the server asks for one."""
    content = Path(load.body).read_bytes()
    head = (
        f"POST /lift HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {load.content_type}\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    request = head.encode() + content
    reader, writer = await _connect(load.port)

    async def call() -> Ending:
        nonlocal reader, writer
        writer.write(request)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = answer.index(b"content-length:") + len(b"content-length:")
        await reader.readexactly(int(answer[length : answer.index(b"\r", length)]))
        if b"connection: close" in answer:
            writer.close()
            reader, writer = await _connect(load.port)
        return HTTP_ENDINGS[int(answer[9:12])]

    yield call
    writer.close()


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)


@asynccontextmanager
async def grpc_connection(load: Load) -> AsyncIterator[Call]:
    """One channel over which Lift is called again and again."""
    request = Path(load.body).read_bytes()
    # Channels with equal options would share one connection.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{load.port}", options=options) as channel:
        await channel.channel_ready()
        lift: Any = channel.unary_unary(load.method)

        async def call() -> Ending:
            try:
                await lift(request)
            except grpc.aio.AioRpcError as error:
                return GRPC_ENDINGS[error.code()]
            return "answered"

        yield call


@asynccontextmanager
async def stream_connection(load: Load) -> AsyncIterator[Call]:
    """One stream in which each message waits for the answer to the one before."""
    from poselift.pb import lifter_pb2 as pb

    messages = [bytes.fromhex(line) for line in Path(load.body).read_text().split()]
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{load.port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        first = b""
        if load.opening:
            create: Any = channel.unary_unary("/poselift.v1.LiftingService/CreateSession")
            opened = await create(bytes.fromhex(load.opening))
            session = pb.CreateSessionResponse.FromString(opened).session
            first = pb.LiftStreamRequest(session_id=session.session_id).SerializeToString()
        stream: Any = channel.stream_stream(load.method)()
        sent = 0

        async def call() -> Ending:
            nonlocal sent
            # Fields of a message may follow one another in any order, so the session's name goes in front.
            await stream.write(first + messages[sent] if sent == 0 else messages[sent])
            sent += 1
            assert await stream.read() is not grpc.aio.EOF
            return "answered"

        yield call
        stream.cancel()


CONNECTIONS = {"http": http_connection, "grpc": grpc_connection, "stream": stream_connection}


async def closed_loop(load: Load) -> Outcome:
    """Every client sends when it has its answer."""
    seconds: dict[Ending, list[float]] = {"answered": [], "refused": [], "late": []}
    everybody = asyncio.Barrier(load.clients)
    span: list[float] = []

    async def client() -> None:
        async with CONNECTIONS[load.transport](load) as call:
            await everybody.wait()
            started = time.perf_counter()
            now = started
            while now < started + load.seconds:
                before = now
                ending = await call()
                now = time.perf_counter()
                seconds[ending].append(now - before)
            span.append(now - started)
            await everybody.wait()

    await asyncio.gather(*(client() for _ in range(load.clients)))
    return Outcome(seconds["answered"], seconds["refused"], seconds["late"], max(span))


async def open_loop(load: Load) -> Outcome:
    """Requests at a steady rate; a connection that waits for its answer leaves the next request to another one."""
    seconds: dict[Ending, list[float]] = {"answered": [], "refused": [], "late": []}
    idle: list[Call] = []

    async with AsyncExitStack() as connections:

        async def send() -> None:
            call = idle.pop() if idle else await connections.enter_async_context(CONNECTIONS[load.transport](load))
            before = time.perf_counter()
            ending = await call()
            seconds[ending].append(time.perf_counter() - before)
            idle.append(call)

        started = time.perf_counter()
        sending: list[asyncio.Task[None]] = []
        for number in range(int(load.seconds * load.rate_hz)):
            await asyncio.sleep(max(0.0, started + number / load.rate_hz - time.perf_counter()))
            sending.append(asyncio.create_task(send()))
        await asyncio.gather(*sending)
        elapsed_s = time.perf_counter() - started
        return Outcome(seconds["answered"], seconds["refused"], seconds["late"], elapsed_s)


def main() -> None:
    load = Load(**json.load(sys.stdin))
    outcome = uvloop.run(open_loop(load) if load.rate_hz else closed_loop(load))
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
