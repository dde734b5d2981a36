"""The life of the gRPC server: its health, its stop, its port and its reflection."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from poselift_service.grpc.call import SERVICE

from tests.unit.service.conftest import Serving
from tests.unit.service.grpc.conftest import Started, lift_request, refusal, running, server_of

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_distinguishes_starting_ready_and_stopping(serving: Serving):
    async with running(server := server_of(serving)) as started:
        assert [await started.status(), await started.status("")] == [NOT_SERVING, NOT_SERVING]
        await server.set_ready()
        assert [await started.status(), await started.status("")] == [SERVING, SERVING]
        watching = started.health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watching.read()).status == SERVING
        await started.stub.Lift(lift_request())
        stopping = asyncio.create_task(server.stop(30))
        assert (await watching.read()).status == NOT_SERVING
        # No call is lifting any more, and a client that watches the health does not delay the end.
        await asyncio.wait_for(stopping, 10)


async def test_a_stop_finishes_running_calls_and_refuses_new_ones(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch
):
    working, may_finish = asyncio.Event(), asyncio.Event()
    lift = serving.pipeline.lift

    async def lift_later(*args: Any, **kwargs: Any) -> Any:
        working.set()
        await may_finish.wait()
        return await lift(*args, **kwargs)

    monkeypatch.setattr(serving.pipeline, "lift", lift_later)
    running = asyncio.ensure_future(started.stub.Lift(lift_request(2)))
    await asyncio.wait_for(working.wait(), 10)
    stopping = asyncio.create_task(started.server.stop(30))
    await started.wait_until_stopping()
    status, _, _ = await refusal(started.stub.Lift(lift_request(), timeout=10))
    assert status is grpc.StatusCode.UNAVAILABLE
    assert not stopping.done()
    may_finish.set()
    assert len((await running).joints) == 2 * 51
    await asyncio.wait_for(stopping, 10)


async def test_a_second_stop_without_grace_ends_running_calls(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch
):
    working = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        working.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(serving.pipeline, "lift", hang)
    running = asyncio.ensure_future(refusal(started.stub.Lift(lift_request())))
    await asyncio.wait_for(working.wait(), 10)
    graceful = asyncio.create_task(started.server.stop(30))
    await started.wait_until_stopping()
    await asyncio.wait_for(started.server.stop(0), 10)
    await asyncio.wait_for(asyncio.gather(graceful, running), 10)


async def test_a_port_in_use_is_not_shared(serving: Serving):
    first, second = server_of(serving), server_of(serving)
    port = first.listen("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        second.listen("127.0.0.1", port)
    await first.stop(0)
    await second.stop(0)


async def test_reflection_lists_the_services(started: Started):
    channel: Any = started.channel
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    stream = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await stream.read()
    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_reflection_can_be_disabled(serving: Serving):
    async with running(server_of(serving, enable_reflection=False)) as started:
        channel: Any = started.channel
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        stream = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
