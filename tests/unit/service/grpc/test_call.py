"""Calls on the loopback: their keys, sizes, deadlines, cancellation and log lines."""

import asyncio
import logging
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from poselift_service import errors
from poselift_service.grpc.call import SERVICE
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.keys import Keys, new_key
from poselift_service.transport.limits import SizeLimit
from poselift_service.transport.proxies import TrustedProxies

from tests.unit.service.conftest import Serving
from tests.unit.service.grpc.conftest import (
    DEADLINE_S,
    MAX_MESSAGE_BYTES,
    Started,
    lift_request,
    log_fields,
    refusal,
    running,
    server_of,
)


async def test_an_unexpected_exception_is_internal_error_and_logged(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(serving.pipeline, "lift", fail)
    status, message, metadata = await refusal(started.stub.Lift(lift_request()))
    assert (status, metadata["poselift-code"]) == (grpc.StatusCode.INTERNAL, "internal_error")
    assert "secret detail" not in message
    assert "secret detail" in caplog.text


async def test_a_message_over_the_limit_is_refused_and_logged(started: Started, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    for size in (MAX_MESSAGE_BYTES + 1, 2 * MAX_MESSAGE_BYTES):
        status, message, metadata = await refusal(started.call("Lift", bytes(size)))
        assert (status, metadata["poselift-code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "body_too_large")
        assert metadata["grpc-retry-pushback-ms"] == "-1"
        assert str(MAX_MESSAGE_BYTES) in message
    # The library answers this one itself.
    status, _, _ = await refusal(started.call("Lift", bytes(2 * MAX_MESSAGE_BYTES + 1)))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [line["code"] for line in await log_fields(caplog, 3)] == ["body_too_large"] * 3
    status, _, metadata = await refusal(started.call("Lift", bytes(MAX_MESSAGE_BYTES)))
    assert metadata["poselift-code"] == "invalid_request"


async def test_a_message_that_never_arrives_times_out(serving: Serving):
    async with running(server_of(serving, deadline_s=0.2)) as started:
        silent: Any = started.channel.stream_unary(f"/{SERVICE}/Lift")
        status, _, metadata = await refusal(silent())
        assert (status, metadata["poselift-code"]) == (grpc.StatusCode.DEADLINE_EXCEEDED, "request_timeout")


async def test_a_client_that_leaves_before_its_message_ends_the_call(
    started: Started, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    silent: Any = started.channel.stream_unary(f"/{SERVICE}/Lift")
    call = silent()
    await call.wait_for_connection()
    call.cancel()
    (line,) = await log_fields(caplog, 1)
    assert line["code"] in ("client_left", "body_too_large")


async def test_calls_need_a_valid_key(serving: Serving, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    key, stored = new_key("camera")
    async with running(server_of(serving, max_message=SizeLimit(1000), keys=Keys([stored]))) as started:
        await started.server.set_ready()
        assert (await started.stub.Lift(lift_request(), metadata=(("authorization", f"Bearer {key}"),))).joints
        for given in ((), (("authorization", "Bearer wrong"),), (("authorization", key),)):
            # Larger than the limit, so the refusal shows that it was not read.
            status, _, metadata = await refusal(started.call("Lift", bytes(5000), metadata=given))
            assert (status, metadata["poselift-code"]) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        assert await started.status() == health_pb2.HealthCheckResponse.SERVING
        first, *others = await log_fields(caplog, 4)
    assert (first["key"], first["code"]) == ("camera", "ok")
    assert [line["code"] for line in others] == ["unauthenticated"] * 3
    assert key not in caplog.text


async def test_a_compressed_message_is_refused(started: Started):
    status, _, _ = await refusal(started.stub.Lift(lift_request(), compression=grpc.Compression.Gzip))
    assert status is grpc.StatusCode.UNIMPLEMENTED
    assert (await started.stub.Lift(lift_request())).joints


async def test_the_request_id_is_kept_or_generated(started: Started):
    async def answered(given: str) -> str:
        call = started.stub.Lift(lift_request(), metadata=(("x-request-id", given),))
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

    monkeypatch.setattr(serving.pipeline, "lift", note)
    await refusal(started.stub.Lift(lift_request(), timeout=timeout_s))
    assert left_s == [pytest.approx(expected_s, abs=2)]


@pytest.mark.parametrize("way", ["cancelled", "out of time"])
async def test_a_client_that_leaves_cancels_its_work(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
):
    caplog.set_level(logging.INFO)
    working, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(serving.pipeline, "lift", hang)
    call = started.stub.Lift(lift_request(), timeout=0.5 if way == "out of time" else None)
    await asyncio.wait_for(asyncio.shield(asyncio.gather(working.wait())), 10)
    if way == "cancelled":
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        assert (await refusal(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(cancelled.wait(), 10)
    (line,) = await log_fields(caplog, 1)
    assert line["code"] == "client_left"


async def test_every_call_logs_one_line(started: Started, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    await started.stub.Lift(lift_request(3), metadata=(("x-request-id", "good"),))
    await refusal(started.stub.Lift(lift_request(fps=0), metadata=(("x-request-id", "bad"),)))
    good, bad = await log_fields(caplog, 2)
    assert (good["request_id"], good["transport"], good["code"], good["frames"]) == ("good", "grpc", "ok", 3)
    assert 0 < good["inference_s"] <= good["total_s"]
    assert (bad["request_id"], bad["code"], bad["status"], bad["frames"]) == ("bad", "invalid_request", 3, 0)


async def test_an_unknown_method_is_unimplemented(started: Started):
    status, _, _ = await refusal(started.call("NoSuch", b""))
    assert status is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("proxy", "seen"), [("127.0.0.1", "203.0.113.7"), ("10.0.0.0/8", "127.0.0.1")])
async def test_only_a_trusted_proxy_says_who_the_client_is(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, proxy: str, seen: str
):
    peers = []

    def note(record: RequestRecord, _: object) -> None:
        peers.append(record.peer)

    monkeypatch.setattr("poselift_service.grpc.call.close_request", note)
    async with running(server_of(serving, proxies=TrustedProxies([proxy]))) as started:
        await started.server.set_ready()
        await started.stub.Lift(lift_request(), metadata=(("x-forwarded-for", "203.0.113.7"),))
        async with asyncio.timeout(60):
            while not peers:
                await asyncio.sleep(0.01)
    assert peers == [seen]
