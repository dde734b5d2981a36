"""Messages of protobuf that have a great many entries in few bytes, over every transport."""

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from poselift.pb import lifter_pb2 as pb
from tests.attacks.kinds.websockets import frame, open_websocket
from tests.attacks.target import PROTOBUF, Target, ticks

SERVICE = "/poselift.v1.LiftingService/"
SIZES = (1 << 20, 2 << 20, 8 << 20)
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_PER_S = 20
_SIZE = pb.ImageSize(width_px=640, height_px=480)
# The rest of each message, which is good.
_GOOD: dict[type[Message], bytes] = {
    pb.LiftRequest: pb.LiftRequest(skeleton="coco17", image_size=_SIZE, fps=30).SerializeToString(),
    pb.CompleteRequest: pb.CompleteRequest(skeleton="h36m17", fps=30).SerializeToString(),
    pb.LiftStreamRequest: b"",
    pb.CreateSessionRequest: b"",
    pb.ListModelsRequest: b"",
}
# Of a kind of message: a field that it repeats, or that it does not know, in as few bytes as can be.
_FIELDS: dict[str, tuple[int, bytes]] = {
    "tracks": (_DELIMITED, b"\x00"),
    "frames": (_DELIMITED, b"\x00"),
    "targets": (_VARINT, b"\x01"),
    "timestamps_s": (_FIXED64, bytes(8)),
    "keypoints": (_FIXED32, bytes(4)),
    "poses": (_FIXED32, bytes(4)),
}


def repeated(kind: type[Message], field: str, size: int) -> bytes:
    """A message of about some size in which a field is repeated; `unknown` is a field that there is not."""
    number, (wire_type, value) = (
        (15, (_DELIMITED, b"\x00"))
        if field == "unknown"
        else (kind.DESCRIPTOR.fields_by_name[field].number, _FIELDS[field])
    )
    entry = bytes([number << 3 | wire_type]) + value
    return _GOOD[kind] + entry * (size // len(entry))


def packed(kind: type[Message], field: str, size: int) -> bytes:
    """The same with the numbers packed into one field."""
    number, value = kind.DESCRIPTOR.fields_by_name[field].number, _FIELDS[field][1]
    length = size // len(value) * len(value)
    groups = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21 & 0x7F])
    return _GOOD[kind] + bytes([number << 3 | _DELIMITED]) + groups + value * (size // len(value))


Build = Callable[[type[Message], str, int], bytes]


def over_http(target: Target, path: str, kind: type[Message], field: str, build: Build = repeated) -> Counter[str]:
    """Post such messages of all sizes in turns."""
    messages = [build(kind, field, size) for size in SIZES]
    seen: Counter[str] = Counter()
    for number in ticks(target.seconds, _PER_S):
        status, _ = target.request("POST", path, messages[number % len(messages)], PROTOBUF)
        seen[str(status)] += 1
    return seen


def over_grpc(target: Target, method: str, kind: type[Message], field: str, build: Build = repeated) -> Counter[str]:
    """Call a method with such messages of all sizes in turns."""
    messages = [build(kind, field, size) for size in SIZES]
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(target.grpc_address) as channel:
        calling: Any = channel.stream_stream(SERVICE + method)
        for number in ticks(target.seconds, _PER_S):
            call = calling(iter([messages[number % len(messages)]]), timeout=60)
            with contextlib.suppress(grpc.RpcError):
                for _ in call:
                    pass
            seen[call.code().name] += 1
    return seen


def over_websocket(target: Target, field: str) -> Counter[str]:
    """Send such messages in the stream of a session, in one frame of WebSocket."""
    messages = [frame(0x82, repeated(pb.LiftStreamRequest, field, size)) for size in (500_000, *SIZES)]
    session_id = target.open_session()
    seen: Counter[str] = Counter()
    for number in ticks(target.seconds, _PER_S):
        with contextlib.suppress(OSError), open_websocket(target, session_id) as connection:
            connection.sendall(messages[number % len(messages)])
            seen[f"answer {connection.recv(1000)[:1].hex()}"] += 1
    return seen
