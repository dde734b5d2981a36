"""Health and reflection, which need no key: small messages, and few calls of each method at a time."""

import asyncio
import struct
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.attacks.kinds import http2
from tests.unit.service.grpc.conftest import Started, refusal

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.mark.parametrize("method", [CHECK, WATCH, REFLECTION])
async def test_messages_are_small(started: Started, method: str):
    calling: Any = started.channel.unary_unary(method)
    for body, code in (
        (bytes(4097), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        status, message, _ = await refusal(calling(body))
        assert status is code
        assert message.endswith(".")


async def test_services_that_there_are_not_are_unknown(started: Started):
    status, _, _ = await refusal(started.health.Check(health_pb2.HealthCheckRequest(service="x")))
    assert status is grpc.StatusCode.NOT_FOUND
    watching = started.health.Watch(health_pb2.HealthCheckRequest(service="x"))
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


async def test_calls_without_a_message_make_room_for_others(started: Started):
    silent: Any = started.channel.stream_unary(CHECK)
    waiting = [silent() for _ in range(17)]
    ended, _ = await asyncio.wait(
        [asyncio.ensure_future(call.code()) for call in waiting], return_when=asyncio.FIRST_COMPLETED, timeout=60
    )
    assert [task.result() for task in ended] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert await started.status()
    for call in waiting:
        call.cancel()


async def test_calls_of_another_method_do_not_end_a_check(started: Started):
    watch: Any = started.channel.stream_unary(WATCH)
    check: Any = started.channel.stream_unary(CHECK)
    waiting = check()
    watching = [watch() for _ in range(17)]
    ended, _ = await asyncio.wait(
        [asyncio.ensure_future(call.code()) for call in watching], return_when=asyncio.FIRST_COMPLETED, timeout=60
    )
    assert [task.result() for task in ended] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    await waiting.write(b"")
    await waiting.done_writing()
    assert health_pb2.HealthCheckResponse.FromString(await waiting).status == health_pb2.HealthCheckResponse.SERVING
    for call in watching:
        call.cancel()


async def test_a_check_is_answered_however_many_calls_stay_open(started: Started, monkeypatch: pytest.MonkeyPatch):
    """Probes, which have no key, must not fail because of others without a key."""
    monkeypatch.setattr("poselift_service.grpc.public._MAX_OPEN", 3)
    described: Any = started.channel.stream_stream(REFLECTION)
    open_calls = {
        "watch": [started.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)],
        "describe": [described() for _ in range(3)],
    }
    for call in open_calls["describe"]:
        await call.write(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
    for call in (*open_calls["watch"], *open_calls["describe"]):
        assert await call.read() is not grpc.aio.EOF
    for refused in (started.health.Watch(health_pb2.HealthCheckRequest()), described()):
        status, message, _ = await refusal(refused.read())
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "open" in message
    for _ in range(10):
        assert await started.status() == health_pb2.HealthCheckResponse.SERVING
    for call in open_calls["watch"]:
        call.cancel()
    async with asyncio.timeout(60):
        while True:
            watch = started.health.Watch(health_pb2.HealthCheckRequest())
            try:
                assert await watch.read()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
            else:
                break
    for call in (watch, *open_calls["describe"]):
        call.cancel()


async def test_checks_whose_answers_nobody_reads_fail_no_check_of_others(
    started: Started, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("poselift_service.grpc.public._MAX_OPEN", 3)
    no_window = http2.frame(http2.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))  # SETTINGS_INITIAL_WINDOW_SIZE
    acknowledged = http2.frame(http2.SETTINGS, http2.ACKNOWLEDGED, 0)
    request = http2.message(0)
    checks = [
        http2.call(stream, CHECK) + http2.data(stream, request, flags=http2.END_STREAM) for stream in range(1, 17, 2)
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", started.port, local_addr=("127.0.0.2", 0))
    writer.write(http2.PREFACE + no_window + acknowledged + b"".join(checks))
    refused: list[int] = []
    async with asyncio.timeout(60):
        while len(refused) < len(checks) - 3:
            header = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(header[:3]))
            if header[3] == http2.HEADERS and header[4] & http2.END_STREAM:
                refused.append(int.from_bytes(header[5:]))
    assert refused == [7, 9, 11, 13, 15]
    assert await started.status() == health_pb2.HealthCheckResponse.SERVING
    writer.close()
    await writer.wait_closed()
