"""Counts in messages: more than the limits are refused by the bytes, before the message is parsed."""

import contextlib
import time
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from poselift_service.codecs.protobuf.counts import (
    OPENING_LIMITS,
    CountLimits,
    check_counts,
    clip_limits,
    live_limits,
    refine_limits,
)
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import Limits

from poselift.pb import lifter_pb2 as pb

LIMITS = Limits(frames=1000, tracks=64, live_frames=256)
MEBIBYTE = 1 << 20
REQUESTS: list[tuple[type[Message], CountLimits]] = [
    (pb.LiftRequest, clip_limits(LIMITS)),
    (pb.CompleteRequest, clip_limits(LIMITS)),
    (pb.LiftStreamRequest, live_limits(LIMITS)),
    (pb.LiftStreamsRequest, live_limits(LIMITS)),
    (pb.CreateSessionRequest, OPENING_LIMITS),
    (pb.RefineRequest, refine_limits(LIMITS)),
    (pb.GetSessionRequest, {}),
    (pb.DeleteSessionRequest, {}),
    (pb.ListModelsRequest, {}),
]


def refusal(kind: type[Message], limits: CountLimits, body: bytes) -> InvalidRequest:
    started = time.perf_counter()
    with pytest.raises(InvalidRequest) as error:
        check_counts(body, kind, limits)
    assert time.perf_counter() - started < 0.1, "so long the event loop would wait"
    return error.value


def packed(tag: int, values: bytes) -> bytes:
    length, groups = len(values), bytearray()
    while length > 0x7F:
        groups.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((tag, *groups, length)) + values


@pytest.mark.parametrize(
    ("kind", "body", "path"),
    [
        (pb.LiftRequest, b"\x12\x00" * 4 * MEBIBYTE, "tracks"),
        (pb.CompleteRequest, b"\x12\x00" * 4 * MEBIBYTE, "tracks"),
        (pb.LiftStreamRequest, b"\x12\x00" * 4 * MEBIBYTE, "frames"),
        (pb.LiftStreamRequest, b"\x12\x02\x08\x05" * 2 * MEBIBYTE, "frames"),
        (pb.LiftRequest, packed(0x4A, b"\x01" * 4 * MEBIBYTE), "targets"),
        (pb.CompleteRequest, packed(0x42, b"\x81\x01" * 2 * MEBIBYTE), "targets"),
        (pb.LiftRequest, b"\x48\x01" * 2 * MEBIBYTE, "targets"),
        (pb.LiftRequest, packed(0x32, bytes(8 * MEBIBYTE)), "timestamps_s"),
        (pb.LiftRequest, (b"\x31" + bytes(8)) * MEBIBYTE, "timestamps_s"),
        (pb.LiftRequest, packed(0x0A, bytes(8 * MEBIBYTE)), "keypoints"),
        (pb.LiftRequest, (b"\x0d" + bytes(4)) * MEBIBYTE, "keypoints"),
        (pb.LiftRequest, packed(0x12, packed(0x12, bytes(8 * MEBIBYTE))), "tracks[0].keypoints"),
        (pb.CompleteRequest, packed(0x12, packed(0x12, bytes(8 * MEBIBYTE))), "tracks[0].poses"),
        (pb.LiftStreamRequest, packed(0x12, packed(0x12, bytes(8 * MEBIBYTE))), "frames[0].keypoints"),
        (pb.LiftStreamRequest, b"\x12\x00" + packed(0x12, packed(0x12, bytes(8 * MEBIBYTE))), "frames[1].keypoints"),
        (pb.LiftStreamRequest, packed(0x12, (b"\x15" + bytes(4)) * MEBIBYTE), "frames[0].keypoints"),
        (pb.LiftStreamsRequest, b"\x0a\x00" * 4 * MEBIBYTE, "sessions"),
        (pb.LiftStreamsRequest, b"\x0a\x00" + packed(0x0A, b"\x12\x00" * 4 * MEBIBYTE), "sessions[1].frames"),
        (
            pb.LiftStreamsRequest,
            packed(0x0A, b"\x12\x00" + packed(0x12, packed(0x12, bytes(8 * MEBIBYTE)))),
            "sessions[0].frames[1].keypoints",
        ),
    ],
)
def test_more_entries_than_the_limit_are_refused_at_once(kind: type[Message], body: bytes, path: str):
    error = refusal(kind, dict(REQUESTS)[kind], body)
    assert error.path == path
    assert "(setting max_" in error.message


@pytest.mark.parametrize(("kind", "limits"), REQUESTS)
@pytest.mark.parametrize(
    "field",
    [b"\x7a\x00", b"\x78\x01", b"\x7d" + bytes(4), b"\x79" + bytes(8), b"\x0a\x00\x7a\x00", b"\x22\x00\x7a\x00"],
    ids=["bytes", "varint", "four bytes", "eight bytes", "alternating", "nested"],
)
def test_more_fields_than_a_message_has_are_refused(kind: type[Message], limits: CountLimits, field: bytes):
    error = refusal(kind, limits, field * MEBIBYTE)
    # Every other field of the alternating ones is a session in a message about several of them.
    assert "more fields" in error.message or (kind, error.path) == (pb.LiftStreamsRequest, "sessions")


@pytest.mark.parametrize("kind", [kind for kind, _ in REQUESTS])
def test_every_repeated_field_has_a_limit(kind: Any):
    def repeated(described: Descriptor) -> set[str]:
        nested = (repeated(field.message_type) for field in described.fields if field.message_type is not None)
        return {field.name for field in described.fields if field.is_repeated}.union(*nested)

    assert repeated(kind.DESCRIPTOR) == dict(REQUESTS)[kind].keys() & repeated(kind.DESCRIPTOR)


@pytest.mark.parametrize("as_packed", [True, False])
def test_the_largest_message_is_not_refused(as_packed: bool):
    floats, time_s = 99 * LIMITS.frames, 3.0
    body = pb.LiftRequest(timestamps_s=[time_s] * 1000, targets=range(1000), skeleton="mediapipe33").SerializeToString()
    body += packed(0x0A, bytes(4 * floats)) if as_packed else (b"\x0d" + bytes(4)) * floats
    check_counts(body, pb.LiftRequest, clip_limits(LIMITS))
    tracks = [pb.Track(track_id=str(number), keypoints=[0.5] * 1500) for number in range(64)]
    check_counts(pb.LiftRequest(tracks=tracks).SerializeToString(), pb.LiftRequest, clip_limits(LIMITS))
    frames = [pb.Frame(frame_index=2**53 - 1, keypoints=[0.5] * 99)] * 256
    live = pb.LiftStreamRequest(session_id="a", frames=frames).SerializeToString()
    check_counts(live, pb.LiftStreamRequest, live_limits(LIMITS))
    part = pb.LiftStreamRequest(session_id="a" * 49, frames=[pb.Frame(keypoints=[0.5] * 99, time_s=1.5)] * 4)
    shared = pb.LiftStreamsRequest(sessions=[part] * 64).SerializeToString()
    check_counts(shared, pb.LiftStreamsRequest, live_limits(LIMITS))


@given(st.data())
def test_damaged_bytes_are_counted_or_refused_but_nothing_else(data: st.DataObject):
    body = bytearray(pb.LiftRequest(keypoints=[0.5] * 1500, targets=range(9), skeleton="coco17").SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from([0, 1, 2, len(body) - 1, data.draw(st.integers(0, len(body) - 1))]))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=12))
    with contextlib.suppress(InvalidRequest):
        check_counts(bytes(body), pb.LiftRequest, clip_limits(LIMITS))
