"""How many streams there may be: in all, of one address, and where memory is short."""

from contextlib import AsyncExitStack

import pytest

from tests.unit.service.transport.stream_clients import TRANSPORTS, StreamEnded
from tests.unit.service.transport.stream_servers import StartServers, wait_until_admitted


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("limit", "setting"), [("capacity", r"max_streams\b"), ("per_peer", "max_streams_per_peer")], ids=["all", "address"]
)
async def test_streams_over_a_limit_are_refused(start_servers: StartServers, limit: str, setting: str, transport: str):
    servers = await start_servers(**{limit: 2})
    async with AsyncExitStack() as both:
        talks = [await both.enter_async_context(servers.connect(other, await servers.open())) for other in TRANSPORTS]
        for client in talks:
            await client.send(0)
            assert await client.receive() == [0]
        async with servers.connect(transport, await servers.open()) as refused:
            with pytest.raises(StreamEnded, match=setting) as ended:
                await refused.receive()
        assert (ended.value.code, ended.value.retry_after_s) == ("overloaded", 1)
        await talks[0].end()
        assert await talks[0].receive() == []
        assert await talks[0].ended_without_error()
        await wait_until_admitted(servers, transport)


async def test_the_stream_that_waits_longest_unseen_ends_where_memory_is_short(
    start_servers: StartServers, monkeypatch: pytest.MonkeyPatch
):
    servers = await start_servers()
    async with AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(servers.connect(transport, await servers.open()))
            for transport in ("websocket", "grpc", "grpc")
        ]
        for client in clients:
            await client.send(0)
            assert await client.receive() == [0]
        assert not servers.streams.end_longest_wait(), "clients that are streaming"
        monkeypatch.setattr("poselift_service.transport.streams._LONG_WAIT_S", 0.0)
        assert servers.streams.end_longest_wait()
        with pytest.raises(StreamEnded, match="memory") as ended:
            await clients[1].receive()
        assert ended.value.code == "overloaded"
        for client in (clients[0], clients[2]):
            await client.send(1)
            assert await client.receive() == [1]
