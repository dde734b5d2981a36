"""The memory of the process: how much there is, and what is done when it is short."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from poselift_service.transport.memory import MemoryWatch, give_memory_back, memory_bytes, resident_bytes

from tests.unit.service.transport.stream_clients import StreamClient, StreamEnded
from tests.unit.service.transport.stream_servers import Servers, StartServers

MEBIBYTE = 1 << 20
CAPACITY = 100 * MEBIBYTE
SHORT, ENOUGH = 86 * MEBIBYTE, 84 * MEBIBYTE


class Process:
    """The memory that a process takes, the part of it that can be given back, and the time."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        self.free = 0
        self.given_back = 0
        self.now_s = 100.0

    def watch(self, servers: Servers) -> MemoryWatch:
        return MemoryWatch(
            servers.streams,
            capacity=CAPACITY,
            resident=lambda: self.taken,
            give_back=self.give_back,
            clock=lambda: self.now_s,
        )

    async def give_back(self) -> None:
        self.given_back += 1
        self.taken, self.free = self.taken - self.free, 0


@pytest.fixture(autouse=True)
def no_wait_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poselift_service.transport.streams._LONG_WAIT_S", 0.0)


@asynccontextmanager
async def waiting_streams(servers: Servers, *transports: str) -> AsyncIterator[list[StreamClient]]:
    """Streams that wait for their second message."""
    async with AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(servers.connect(transport, await servers.open()))
            for transport in transports
        ]
        for client in clients:
            await client.send(0)
            assert await client.receive() == [0]
        yield clients


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    name = "poselift_service.transport.memory"
    return [record.getMessage() for record in caplog.records if record.name == name]


async def test_no_stream_ends_where_memory_can_be_given_back(
    start_servers: StartServers, caplog: pytest.LogCaptureFixture
):
    servers, process = await start_servers(), Process(SHORT)
    async with waiting_streams(servers, "grpc") as [client]:
        process.free = SHORT - ENOUGH
        await process.watch(servers).check()
        assert (process.taken, process.given_back) == (ENOUGH, 1)
        await client.send(1)
        assert await client.receive() == [1]
    assert not warnings(caplog)


async def test_streams_end_where_memory_stays_short(
    start_servers: StartServers, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("poselift_service.transport.memory._ENDED_AT_A_TIME", 1)
    servers, process = await start_servers(), Process(SHORT)
    watch = process.watch(servers)
    async with waiting_streams(servers, "websocket", "grpc", "grpc") as clients:
        for client in clients[1:]:
            await watch.check()
            with pytest.raises(StreamEnded, match="memory") as ended:
                await client.receive()
            assert ended.value.code == "overloaded"
            assert warnings(caplog) == [
                "memory is short (86 of 100 MiB); streams that wait longest for a message are ended"
            ]
        assert process.given_back == 2
        await watch.check()
        assert process.given_back == 2, "there is nothing to end"
        await clients[0].send(1)
        assert await clients[0].receive() == [1]


async def test_each_spell_of_short_memory_is_logged_once(start_servers: StartServers, caplog: pytest.LogCaptureFixture):
    servers, process = await start_servers(), Process(SHORT)
    watch = process.watch(servers)

    async def check(taken: int, after_s: float) -> int:
        """Look at the memory while a stream waits. Returns how often something was logged so far."""
        process.taken, process.now_s = taken, process.now_s + after_s
        async with waiting_streams(servers, "grpc"):
            await watch.check()
        return len(warnings(caplog))

    assert await check(ENOUGH, 1) == 0
    assert await check(SHORT, 1) == 1
    for _ in range(3):
        assert await check(SHORT, 9) == 1
    assert await check(ENOUGH, 5) == 1
    assert await check(SHORT, 4) == 1
    assert await check(ENOUGH, 5) == 1
    assert await check(SHORT, 6) == 2


async def test_what_is_free_is_given_back():
    """In pieces that the heap would keep, because the last of them is in use."""
    pieces = [bytearray(b"1" * 100_000) for _ in range(1000)]
    last, taken = pieces.pop(), resident_bytes()
    pieces.clear()
    await give_memory_back()
    assert taken - resident_bytes() > 50 * MEBIBYTE
    assert len(last) == 100_000


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/pod/container\n", {"pod/container/memory.max": "max", "pod/memory.max": f"{64 * MEBIBYTE}"}),
        ("0::/\n", {"memory.max": f"{64 * MEBIBYTE}\n"}),
        ("0::/../outside\n", {"memory.max": f"{64 * MEBIBYTE}"}),
        ("4:cpu,memory:/pod\n0::/\n", {"memory/pod/memory.limit_in_bytes": f"{64 * MEBIBYTE}"}),
        ("4:memory:/not-visible\n", {"memory/memory.limit_in_bytes": f"{64 * MEBIBYTE}"}),
        ("", {"memory.max": f"{64 * MEBIBYTE}"}),
    ],
)
def test_the_least_limit_of_the_cgroups_is_found(tmp_path: Path, cgroup: str, files: dict[str, str]):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        file = tmp_path / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert memory_bytes(tmp_path) == 64 * MEBIBYTE


def test_without_cgroups_the_memory_of_the_machine_counts(tmp_path: Path):
    assert memory_bytes(tmp_path) >= memory_bytes() > 64 * MEBIBYTE
