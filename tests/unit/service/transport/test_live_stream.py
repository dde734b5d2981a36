"""The messages of one stream in both formats, without a connection."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from poselift_service.codecs.json.live import JsonStreamCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.protobuf.live import ProtobufStreamCodec
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.live import LiveLifter
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.session import Caller, Opening
from poselift_service.sessions.sessions import Sessions
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.live_stream import LiveStream, StreamCodec

from poselift.errors import InvalidKeypoints
from poselift.pb import lifter_pb2 as pb
from poselift.skeletons import skeleton
from tests.unit.service.conftest import Serving
from tests.unit.service.long_clips import LIVE_WORK_ON_JOINTS, SIZE, SKELETON, functions_called, shares

LIMITS = Limits(frames=300, tracks=1)
UNSEEN = np.full((1, 17, 3), np.nan)


def in_json(first: int, points: Any) -> bytes:
    keypoints = [None if np.isnan(frame).all() else frame.tolist() for frame in points]
    return json.dumps({"frame_index": first, "keypoints": keypoints}).encode()


def in_protobuf(first: int, points: Any) -> bytes:
    frames = [
        pb.Frame(frame_index=first + number, keypoints=[] if np.isnan(frame).all() else frame.ravel())
        for number, frame in enumerate(points)
    ]
    return pb.LiftStreamRequest(frames=frames).SerializeToString()


class Format(NamedTuple):
    """How messages are written, and how they name the keypoints of a frame and those of all frames that were seen."""

    codec: StreamCodec
    frames: Callable[[int, Any], bytes]
    end: Callable[[int], bytes]
    frame: str
    seen: str


FORMATS = {
    "json": Format(
        JsonStreamCodec(JsonReader(LIMITS)),
        in_json,
        lambda sent: json.dumps({"end": True, "next_frame_index": sent}).encode(),
        "keypoints[{}]",
        "keypoints",
    ),
    "protobuf": Format(
        ProtobufStreamCodec(LIMITS),
        in_protobuf,
        lambda sent: pb.LiftStreamRequest(end=True, next_frame_index=sent).SerializeToString(),
        "frames[{}].keypoints",
        "frames[{}].keypoints",
    ),
}


@pytest.fixture(params=FORMATS)
def message(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


@pytest.fixture
async def live(serving: Serving) -> LiveLifter:
    return LiveLifter(serving.pipeline, Sessions(MemoryStore(ttl_s=600), ttl_s=600, limits=SessionLimits(10)))


async def stream_of(live: LiveLifter, opening: Opening) -> LiveStream:
    session = await live.open(opening, None, Caller(), deadline=time.monotonic() + 60)
    record = RequestRecord("my-own", "test", "stream")
    return LiveStream(live, record, Metrics(), deadline_s=60, session_id=session.session_id)


@pytest.fixture
async def stream(live: LiveLifter) -> LiveStream:
    return await stream_of(live, Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=0, strict=True))


def around(x: float, y: float, spread: float) -> Any:
    """A frame with joints up to so many pixels from a place."""
    points = np.random.default_rng(0).uniform(0, spread, (1, 17, 3))
    return points * (1, 1, 0) + np.array((x, y, 1))


async def test_a_long_message_is_checked_beside_the_event_loop(live: LiveLifter, message: Format):
    opening = Opening(skeleton(SKELETON), *SIZE, fps=50, lookahead=0, coordinates="normalised")
    for frames, on_loop in ((10, LIVE_WORK_ON_JOINTS), (100, set())):
        stream = await stream_of(live, opening)
        with functions_called() as called:
            await stream.answer(message.codec, message.frames(0, shares(frames)))
        assert called & LIVE_WORK_ON_JOINTS == on_loop


@pytest.mark.parametrize("unseen", [0, 2])
@pytest.mark.parametrize("where", [(0, 0, 0.9), (5000, 5000, 100)], ids=["in the corner", "far outside"])
async def test_implausible_keypoints_are_named_as_the_message_names_them(
    stream: LiveStream, message: Format, where: tuple[float, float, float], unseen: int
):
    points = np.concatenate([UNSEEN] * unseen + [around(*where)])
    with pytest.raises(InvalidKeypoints) as refused:
        await stream.answer(message.codec, message.frames(0, points))
    assert refused.value.path == message.seen.format(unseen)


async def test_a_value_out_of_range_is_named_as_the_message_names_it(stream: LiveStream, message: Format):
    points = np.concatenate([around(100, 100, 50)] * 2)
    points[1, 4, 2] = 87
    with pytest.raises(InvalidRequest) as refused:
        await stream.answer(message.codec, message.frames(0, points))
    assert refused.value.path == f"{message.frame.format(1)}[4][2]"


async def test_shares_that_become_too_many_pixels_are_named_as_the_message_names_them(
    live: LiveLifter, message: Format
):
    opening = Opening(skeleton("coco17"), 100_000, 480, fps=50, lookahead=0, coordinates="normalised")
    stream = await stream_of(live, opening)
    points = np.concatenate([around(0.1, 0.1, 0.5)] * 2)
    points[1, 3, 0] = 11
    with pytest.raises(InvalidRequest) as refused:
        await stream.answer(message.codec, message.frames(0, points))
    assert refused.value.path == f"{message.frame.format(1)}[3][0]"


async def test_too_many_frames_are_named_as_the_message_names_them(stream: LiveStream, message: Format):
    with pytest.raises(InvalidRequest) as refused:
        await stream.answer(message.codec, message.frames(0, np.concatenate([UNSEEN] * 257)))
    assert refused.value.path == message.frame.partition("[")[0]


async def test_no_more_frames_can_have_been_sent_than_have_an_index(stream: LiveStream, message: Format):
    await stream.answer(message.codec, message.frames(0, around(100, 100, 50)))
    with pytest.raises(InvalidRequest) as refused:
        await stream.answer(message.codec, message.end(2**53))
    assert (refused.value.path, refused.value.message[-12:]) == ("next_frame_index", "to 2^53 - 1.")
    await stream.answer(message.codec, message.end(1))
    assert stream.has_ended
