"""A gRPC server on the loopback, in front of a scripted engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from poselift_service.grpc.call import SERVICE
from poselift_service.grpc.lift import lift_methods
from poselift_service.grpc.server import GrpcServer
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.limits import SizeLimit

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.unit.service.conftest import Serving

MAX_MESSAGE_BYTES = 100_000
DEADLINE_S = 60.0


class Started:
    """A server, and a channel to it."""

    def __init__(self, server: GrpcServer, channel: grpc.aio.Channel, port: int) -> None:
        self.server = server
        self.port = port
        self.channel = channel
        self.stub: Any = LiftingServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    def call(self, method: str, body: bytes, **options: Any) -> Any:
        """Send any bytes."""
        calling: Any = self.channel.unary_unary(f"/{SERVICE}/{method}")
        return calling(body, **options)

    async def status(self, service: str = SERVICE) -> int:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)

    async def wait_until_stopping(self) -> None:
        """Wait until a server that was ready refuses new calls."""
        async with asyncio.timeout(60):
            while await self.status() == health_pb2.HealthCheckResponse.SERVING:
                await asyncio.sleep(0.01)


def server_of(serving: Serving, **changes: Any) -> GrpcServer:
    """Build a server without sessions; `changes` replace its arguments."""
    arguments = {
        "metrics": Metrics(), "max_message": SizeLimit(MAX_MESSAGE_BYTES), "deadline_s": DEADLINE_S, **changes
    }  # fmt: skip
    return GrpcServer(lift_methods(serving.pipeline), **arguments)


@asynccontextmanager
async def running(server: GrpcServer) -> AsyncIterator[Started]:
    """Start a server, without setting it ready, and stop it at the end."""
    port = server.listen("127.0.0.1", 0)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Started(server, channel, port)
    finally:
        await server.stop(0)


@pytest.fixture
async def started(serving: Serving) -> AsyncIterator[Started]:
    """A server that is ready."""
    async with running(server_of(serving)) as started:
        await started.server.set_ready()
        yield started


def lift_request(frames: int = 2, **changes: Any) -> pb.LiftRequest:
    size = pb.ImageSize(width_px=200, height_px=100)
    return pb.LiftRequest(**{
        "keypoints": [1.0] * (51 * frames), "skeleton": "h36m17", "image_size": size, "fps": 50, **changes
    })  # fmt: skip


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Give the status, the message and the trailing metadata of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), str(failed.value.details()), dict(failed.value.trailing_metadata())


async def log_fields(caplog: pytest.LogCaptureFixture, calls: int) -> list[dict[str, Any]]:
    """Wait for the log lines of so many calls: a line is written after the answer was sent, so it may come later."""
    async with asyncio.timeout(60):
        while len(found := [vars(record)["fields"] for record in caplog.records if "fields" in vars(record)]) < calls:
            await asyncio.sleep(0.01)
    return found
