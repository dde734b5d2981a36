"""Clients of gRPC that use its library: large messages, many calls, and the services that need no key."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from poselift.pb import lifter_pb2 as pb
from tests.attacks.kinds.counts import SERVICE
from tests.attacks.target import Target, ticks

_MIB = 1 << 20
HEALTH, REFLECTION = "/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/"
_OPENING = pb.CreateSessionRequest(
    skeleton="coco17", image_size=pb.ImageSize(width_px=640, height_px=480), fps=30, lookahead=0
).SerializeToString()


def clip(frames: int) -> bytes:
    """A good clip of some frames."""
    size = pb.ImageSize(width_px=640, height_px=480)
    return pb.LiftRequest(
        keypoints=[0.5] * (51 * frames), skeleton="coco17", image_size=size, fps=30
    ).SerializeToString()


def calls(target: Target, method: str, message: bytes, *, per_s: float = 300, metadata: int = 0) -> Counter[str]:
    """Call a method at a rate, without waiting for the answers of others.

    Args:
        metadata: bytes of metadata that come with each call.
    """
    seen: Counter[str] = Counter()
    given = tuple((f"x-{number}", "y" * 1000) for number in range(metadata // 1000))
    with grpc.insecure_channel(target.grpc_address) as channel:
        calling: Any = channel.stream_stream(method)
        for _ in ticks(target.seconds, per_s):
            call = calling(iter([message]), timeout=60, metadata=given)
            call.add_done_callback(lambda call: seen.update([call.code().name]))
            threading.Thread(target=_drain, args=(call,), daemon=True).start()
            while sum(1 for thread in threading.enumerate()) > 100:
                time.sleep(0.005)
    return seen


def _drain(call: Any) -> None:
    with contextlib.suppress(grpc.RpcError):
        for _ in call:
            pass


def lifts(target: Target, frames: int) -> Counter[str]:
    """Lift long clips, many at a time."""
    return calls(target, f"{SERVICE}Lift", clip(frames), per_s=40)


def unknown_methods(target: Target) -> Counter[str]:
    """Call what there is not, with large messages."""
    return calls(target, "/" + "x" * 4000 + "/y", bytes(_MIB), per_s=100)


def large_metadata(target: Target) -> Counter[str]:
    """Call with as much metadata as the server takes, and with more."""
    half = Target(target.port, target.grpc_port, target.metrics_port, target.seconds / 2)
    return calls(half, f"{SERVICE}ListModels", b"", metadata=12_000) + calls(
        half, f"{SERVICE}ListModels", b"", metadata=200_000
    )


def health_checks(target: Target) -> Counter[str]:
    """Check the health of services with large names."""
    request = health_pb2.HealthCheckRequest(service="x" * _MIB).SerializeToString()
    return calls(target, f"{HEALTH}Check", request, per_s=100)


def health_watches(target: Target, number: int) -> Counter[str]:
    """Watch the health, often at a time."""
    request = health_pb2.HealthCheckRequest(service="x" * 1000).SerializeToString()
    return _held(target, f"{HEALTH}Watch", [request], number)


def reflections(target: Target) -> Counter[str]:
    """Ask for the description of everything, and of what has a large name."""
    list_all = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    named = reflection_pb2.ServerReflectionRequest(file_containing_symbol="x" * _MIB).SerializeToString()
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(target.grpc_address) as channel:
        calling: Any = channel.stream_stream(f"{REFLECTION}ServerReflectionInfo")
        for number in ticks(target.seconds, 20):
            call = calling(iter([list_all] * 500 if number % 2 else [named] * 5), timeout=60)
            _drain(call)
            seen[call.code().name] += 1
    return seen


def idle_streams(target: Target, number: int) -> Counter[str]:
    """Open many streams of frames, and send nothing."""
    return _held(target, f"{SERVICE}LiftStream", [], number)


def _held(target: Target, method: str, messages: list[bytes], number: int) -> Counter[str]:
    """Open calls and keep them open until the time is over."""
    is_over = threading.Event()
    seen: Counter[str] = Counter()

    def sent() -> Iterator[bytes]:
        yield from messages
        is_over.wait(target.seconds)

    with contextlib.ExitStack() as channels:
        for _ in range(max(1, number // 100)):
            channel = channels.enter_context(
                grpc.insecure_channel(target.grpc_address, [("grpc.use_local_subchannel_pool", 1)])
            )
            calling: Any = channel.stream_stream(method)
            for _ in range(min(100, number)):
                call = calling(sent())
                call.add_done_callback(lambda call: seen.update([call.code().name]))
                seen["opened"] += 1
        time.sleep(target.seconds)
        is_over.set()
    return seen


def sessions(target: Target) -> Counter[str]:
    """Open one session after the other."""
    return calls(target, f"{SERVICE}CreateSession", _OPENING)


def frames_of_nothing(target: Target) -> Counter[str]:
    """Open sessions, send a message of frames without keypoints, and leave."""
    seen: Counter[str] = Counter()
    frames = [pb.Frame(frame_index=index) for index in range(256)]
    with grpc.insecure_channel(target.grpc_address) as channel:
        create: Any = channel.unary_unary(f"{SERVICE}CreateSession")
        stream: Any = channel.stream_stream(f"{SERVICE}LiftStream")
        for _ in ticks(target.seconds, 100):
            try:
                session_id = pb.CreateSessionResponse.FromString(create(_OPENING)).session.session_id
                message = pb.LiftStreamRequest(session_id=session_id, frames=frames).SerializeToString()
                call = stream(iter([message]))
                next(call, None)
                call.cancel()
                seen["left"] += 1
            except grpc.RpcError as error:
                refused: Any = error
                seen[refused.code().name] += 1
    return seen


def guessed_keys(target: Target) -> Counter[str]:
    """Guess API keys, with messages that are not to be read."""
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(target.grpc_address) as channel:
        lift: Any = channel.unary_unary(f"{SERVICE}Lift")
        for number in ticks(target.seconds, 300):
            try:
                lift(bytes(100_000), metadata=(("authorization", f"Bearer pk-{number:016x}"),))
            except grpc.RpcError as error:
                refused: Any = error
                seen[refused.code().name] += 1
    return seen
