"""The gRPC interface over the loopback, in front of a scripted engine."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from poselift_service import errors
from poselift_service.grpc.server import SERVICE, RpcServer
from poselift_service.inference.batcher import Priority
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.keys import Keys, new_key

from poselift import errors as core_errors
from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.unit.service.conftest import Serving

MAX_MESSAGE_BYTES = 100_000
DEADLINE_S = 60.0
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Started:
    """A server that is ready, and a channel to it."""

    def __init__(self, server: RpcServer, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.channel = channel
        self.stub: Any = LiftingServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    def call(self, method: str, body: bytes, **more: Any) -> Any:
        """Send any bytes."""
        calling: Any = self.channel.unary_unary(f"/{SERVICE}/{method}")
        return calling(body, **more)

    async def status(self, service: str = SERVICE) -> int:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


@pytest.fixture
async def started(serving: Serving) -> AsyncIterator[Started]:
    server = RpcServer(serving.pipeline, metrics=Metrics(), max_message_bytes=MAX_MESSAGE_BYTES, deadline_s=DEADLINE_S)
    port = server.listen("127.0.0.1", 0)
    await server.start()
    await server.set_ready()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Started(server, channel)
    await server.stop(0)


def request(frames: int = 2, **changes: Any) -> pb.LiftRequest:
    size = pb.ImageSize(width_px=200, height_px=100)
    return pb.LiftRequest(**{
        "keypoints": [1.0] * (51 * frames), "skeleton": "h36m17", "image_size": size, "fps": 50, **changes
    })  # fmt: skip


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Status, message and trailing metadata of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), str(failed.value.details()), dict(failed.value.trailing_metadata())


async def lines(caplog: pytest.LogCaptureFixture, expected: int) -> list[dict[str, Any]]:
    """What so many calls have left in the log; a line is written when the answer is out, so it may come after that."""
    async with asyncio.timeout(60):
        while (
            len(found := [vars(record)["fields"] for record in caplog.records if "fields" in vars(record)]) < expected
        ):
            await asyncio.sleep(0.01)
    return found


def replace_lift(serving: Serving, monkeypatch: pytest.MonkeyPatch, lift: Callable[..., Any]) -> None:
    monkeypatch.setattr(serving.pipeline, "lift", lift)


async def test_a_request_gets_its_poses(started: Started):
    answer = await started.stub.Lift(request(3, model="scripted@stable"))
    assert (len(answer.joints), answer.model.version, answer.skeleton) == (3 * 51, 3, "h36m17")


async def test_models_are_listed(started: Started):
    (model,) = (await started.stub.ListModels(pb.ListModelsRequest())).models
    assert (model.reference.name, model.reference.version, list(model.labels)) == ("scripted", 3, ["stable"])
    assert (model.is_default, model.receptive_field, model.receptive_field_s) == (True, 5, 0.08)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (core_errors.InvalidKeypoints("Wrong.", path="keypoints[1]"), "INVALID_ARGUMENT", "invalid_request"),
        (core_errors.UnknownSkeleton("Wrong.", path="skeleton"), "INVALID_ARGUMENT", "invalid_request"),
        (errors.InvalidRequest("Unlesbar: ä."), "INVALID_ARGUMENT", "invalid_request"),
        (errors.InvalidRequest("x" * 100_000), "INVALID_ARGUMENT", "invalid_request"),
        (errors.Unauthenticated("Wrong."), "UNAUTHENTICATED", "unauthenticated"),
        (errors.UnknownModel("x", ["y"]), "NOT_FOUND", "unknown_model"),
        (errors.Overloaded(retry_after_s=2.1), "RESOURCE_EXHAUSTED", "overloaded"),
        (errors.DeadlineExceeded(), "DEADLINE_EXCEEDED", "deadline_exceeded"),
        (errors.NotReady("Starting."), "UNAVAILABLE", "not_ready"),
        (errors.EngineFailed(), "INTERNAL", "engine_failed"),
        (errors.ModelConflict("Not now."), "FAILED_PRECONDITION", "model_conflict"),
        (errors.RepositoryDown("Gone."), "UNAVAILABLE", "repository_down"),
    ],
)
async def test_errors_become_statuses(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch, error: Any, status: str, code: str
):
    async def fail(*_: object, **__: object) -> None:
        raise error

    replace_lift(serving, monkeypatch, fail)
    given, message, metadata = await refusal(started.stub.Lift(request(), metadata=(("x-request-id", "my-own"),)))
    assert (given.name, message) == (status, error.message[:2000])
    assert (metadata["poselift-code"], metadata.get("poselift-path")) == (code, error.path)
    assert metadata["x-request-id"] == "my-own"
    assert metadata.get("grpc-retry-pushback-ms") == ("2100" if code == "overloaded" else None)


async def test_a_bug_is_told_as_one_and_logged(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    replace_lift(serving, monkeypatch, fail)
    status, message, metadata = await refusal(started.stub.Lift(request()))
    assert (status, metadata["poselift-code"]) == (grpc.StatusCode.INTERNAL, "internal_error")
    assert "secret detail" not in message
    assert "secret detail" in caplog.text


async def test_bytes_that_are_no_request_are_the_callers_fault(started: Started):
    status, message, metadata = await refusal(started.call("Lift", b"\xff\xff"))
    assert (status, metadata["poselift-code"]) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")
    assert "poselift.v1.LiftRequest" in message


async def test_a_full_queue_refuses_before_a_request_is_read(started: Started, serving: Serving):
    with serving.batcher.admit(200, priority=Priority.BULK, deadline=math.inf):
        status, _, metadata = await refusal(started.call("Lift", b"\xff"))
    assert (status, metadata["poselift-code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")


async def test_what_is_too_large_is_refused_and_noticed(started: Started, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    for size in (MAX_MESSAGE_BYTES + 1, 2 * MAX_MESSAGE_BYTES):
        status, message, metadata = await refusal(started.call("Lift", bytes(size)))
        assert (status, metadata["poselift-code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "body_too_large")
        assert metadata["grpc-retry-pushback-ms"] == "-1"
        assert str(MAX_MESSAGE_BYTES) in message
    # The library answers this one itself.
    status, _, _ = await refusal(started.call("Lift", bytes(2 * MAX_MESSAGE_BYTES + 1)))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [line["code"] for line in await lines(caplog, 3)] == ["body_too_large"] * 3
    status, _, metadata = await refusal(started.call("Lift", bytes(MAX_MESSAGE_BYTES)))
    assert metadata["poselift-code"] == "invalid_request"


async def test_a_message_that_never_comes_is_not_waited_for(serving: Serving):
    server = RpcServer(serving.pipeline, metrics=Metrics(), max_message_bytes=MAX_MESSAGE_BYTES, deadline_s=0.2)
    port = server.listen("127.0.0.1", 0)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        silent: Any = channel.stream_unary(f"/{SERVICE}/Lift")
        status, _, metadata = await refusal(silent())
        assert (status, metadata["poselift-code"]) == (grpc.StatusCode.DEADLINE_EXCEEDED, "request_timeout")
    await server.stop(0)


async def test_a_client_that_leaves_before_its_message_is_not_waited_for(
    started: Started, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    silent: Any = started.channel.stream_unary(f"/{SERVICE}/Lift")
    call = silent()
    await call.wait_for_connection()
    call.cancel()
    (line,) = await lines(caplog, 1)
    assert line["code"] in ("client_left", "body_too_large")


async def test_a_key_opens_what_is_closed_without_it(serving: Serving, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    key, stored = new_key("camera")
    server = RpcServer(
        serving.pipeline, metrics=Metrics(), max_message_bytes=1000, deadline_s=DEADLINE_S, keys=Keys([stored])
    )
    port = server.listen("127.0.0.1", 0)
    await server.start()
    await server.set_ready()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        started = Started(server, channel)
        assert (await started.stub.Lift(request(), metadata=(("authorization", f"Bearer {key}"),))).joints
        for given in ((), (("authorization", "Bearer wrong"),), (("authorization", key),)):
            # Larger than what is read: it is not.
            status, _, metadata = await refusal(started.call("Lift", bytes(5000), metadata=given))
            assert (status, metadata["poselift-code"]) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        assert await started.status() == SERVING
        first, *others = await lines(caplog, 4)
    assert (first["key"], first["code"]) == ("camera", "ok")
    assert [line["code"] for line in others] == ["unauthenticated"] * 3
    await server.stop(0)
    assert key not in caplog.text


async def test_what_is_compressed_is_refused(started: Started):
    status, _, _ = await refusal(started.stub.Lift(request(), compression=grpc.Compression.Gzip))
    assert status is grpc.StatusCode.UNIMPLEMENTED
    assert (await started.stub.Lift(request())).joints


async def test_the_request_id_is_kept_or_made(started: Started):
    async def answered(given: str) -> str:
        call = started.stub.Lift(request(), metadata=(("x-request-id", given),))
        await call
        return str(dict(await call.trailing_metadata())["x-request-id"])

    assert await answered("abc-1") == "abc-1"
    assert len(await answered("a b")) == 32


@pytest.mark.parametrize(("timeout_s", "expected_s"), [(None, DEADLINE_S), (5, 5), (2 * DEADLINE_S, DEADLINE_S)])
async def test_the_client_can_only_shorten_the_deadline(
    started: Started,
    serving: Serving,
    monkeypatch: pytest.MonkeyPatch,
    timeout_s: float | None,
    expected_s: float,
):
    left_s = []

    async def note(_: object, *, deadline: float) -> None:
        left_s.append(deadline - time.monotonic())
        raise errors.DeadlineExceeded

    replace_lift(serving, monkeypatch, note)
    await refusal(started.stub.Lift(request(), timeout=timeout_s))
    assert left_s == [pytest.approx(expected_s, abs=2)]


@pytest.mark.parametrize("way", ["cancelled", "out of time"])
async def test_a_client_that_leaves_frees_its_place(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
):
    caplog.set_level(logging.INFO)
    working, dropped = asyncio.Event(), asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            dropped.set()

    replace_lift(serving, monkeypatch, hang)
    call = started.stub.Lift(request(), timeout=0.5 if way == "out of time" else None)
    await asyncio.wait_for(asyncio.shield(asyncio.gather(working.wait())), 10)
    if way == "cancelled":
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        assert (await refusal(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(dropped.wait(), 10)
    (line,) = await lines(caplog, 1)
    assert line["code"] == "client_left"


async def test_every_call_leaves_one_line(started: Started, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    await started.stub.Lift(request(3), metadata=(("x-request-id", "good"),))
    await refusal(started.stub.Lift(request(fps=0), metadata=(("x-request-id", "bad"),)))
    good, bad = await lines(caplog, 2)
    assert (good["request_id"], good["transport"], good["code"], good["frames"]) == ("good", "grpc", "ok", 3)
    assert 0 < good["inference_s"] <= good["total_s"]
    assert (bad["request_id"], bad["code"], bad["status"], bad["frames"]) == ("bad", "invalid_request", 3, 0)


async def test_health_tells_starting_from_ready_from_stopping(serving: Serving):
    server = RpcServer(serving.pipeline, metrics=Metrics(), max_message_bytes=MAX_MESSAGE_BYTES, deadline_s=DEADLINE_S)
    port = server.listen("127.0.0.1", 0)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        started = Started(server, channel)
        assert [await started.status(), await started.status("")] == [NOT_SERVING, NOT_SERVING]
        await server.set_ready()
        assert [await started.status(), await started.status("")] == [SERVING, SERVING]
        watching = started.health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watching.read()).status == SERVING
        await started.stub.Lift(request())
        stopping = asyncio.create_task(server.stop(30))
        assert (await watching.read()).status == NOT_SERVING
        # Nothing is being lifted any more, so whoever watches does not hold up the end.
        await asyncio.wait_for(stopping, 10)


async def test_a_stop_lets_finish_what_runs_and_refuses_what_comes(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch
):
    working, going_on = asyncio.Event(), asyncio.Event()
    lift = serving.pipeline.lift

    async def lift_later(*given: Any, **more: Any) -> Any:
        working.set()
        await going_on.wait()
        return await lift(*given, **more)

    replace_lift(serving, monkeypatch, lift_later)
    running = asyncio.ensure_future(started.stub.Lift(request(2)))
    await asyncio.wait_for(working.wait(), 10)
    stopping = asyncio.create_task(started.server.stop(30))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    status, _, _ = await refusal(started.stub.Lift(request(), timeout=10))
    assert status is grpc.StatusCode.UNAVAILABLE
    going_on.set()
    assert len((await running).joints) == 2 * 51
    await asyncio.wait_for(stopping, 10)


async def test_a_stop_without_patience_cuts_off(started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch):
    working = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        working.set()
        await asyncio.Event().wait()

    replace_lift(serving, monkeypatch, hang)
    running = asyncio.ensure_future(refusal(started.stub.Lift(request())))
    await asyncio.wait_for(working.wait(), 10)
    patient = asyncio.create_task(started.server.stop(30))
    await asyncio.sleep(0.1)
    await asyncio.wait_for(started.server.stop(0), 10)
    await asyncio.wait_for(asyncio.gather(patient, running), 10)


async def test_a_port_in_use_is_not_shared(started: Started, serving: Serving):
    other = RpcServer(serving.pipeline, metrics=Metrics(), max_message_bytes=MAX_MESSAGE_BYTES, deadline_s=1)
    port = other.listen("127.0.0.1", 0)
    third = RpcServer(serving.pipeline, metrics=Metrics(), max_message_bytes=MAX_MESSAGE_BYTES, deadline_s=1)
    with pytest.raises(OSError, match="in use"):
        third.listen("127.0.0.1", port)
    await other.stop(0)
    await third.stop(0)


async def test_the_service_describes_itself(started: Started):
    channel: Any = started.channel
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    stream = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await stream.read()
    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_the_service_does_not_describe_itself_where_it_shall_not(serving: Serving):
    server = RpcServer(
        serving.pipeline, metrics=Metrics(), max_message_bytes=1000, deadline_s=DEADLINE_S, reflects=False
    )
    port = server.listen("127.0.0.1", 0)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        untyped: Any = channel
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(untyped)
        stream = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(0)


async def test_what_is_not_there_is_told_so(started: Started):
    status, _, _ = await refusal(started.call("NoSuch", b""))
    assert status is grpc.StatusCode.UNIMPLEMENTED
