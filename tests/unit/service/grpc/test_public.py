"""Health and reflection, which need no key: small messages, and few calls at a time."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

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


async def test_few_calls_stay_open(started: Started, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("poselift_service.grpc.public._MAX_OPEN", 3)
    watching = [started.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
    for watch in watching:
        await watch.read()
    status, message, _ = await refusal(started.health.Check(health_pb2.HealthCheckRequest()))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "open" in message
    for watch in watching:
        watch.cancel()
    async with asyncio.timeout(60):
        while True:
            try:
                assert await started.status("")
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
            else:
                break
