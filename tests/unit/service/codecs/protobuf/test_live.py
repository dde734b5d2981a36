"""Sessions and streams in protobuf, without a transport."""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poselift_service.codecs.protobuf.live import ProtobufStreamCodec, read_opening, write_last_poses, write_session
from poselift_service.errors import InvalidRequest, ServiceError
from poselift_service.pipeline.live import LivePoses
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.session import Opening, Session

from poselift.artifacts.manifest import Manifest
from poselift.errors import PoseliftError
from poselift.lifting import Lifted
from poselift.live_window import KeptFrames, LiveWindow
from poselift.missing import mark_missing
from poselift.pb import lifter_pb2 as pb
from poselift.skeletons import skeleton

LIMITS = Limits(frames=100, tracks=3)
POINTS = np.random.default_rng(0).uniform(0.1, 1, (3, 17, 3)).astype(np.float32)


@pytest.fixture
def session(manifest: Manifest) -> Session:
    opening = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)
    window = LiveWindow.of(manifest, 50, 1)
    return Session("0123-45", opening, manifest, window, replace(KeptFrames.none(manifest), start=7), b"")


def opening(**changes: Any) -> pb.CreateSessionRequest:
    """A good request, with fields replaced; `...` takes one away."""
    size = pb.ImageSize(width_px=640, height_px=480)
    fields = {"skeleton": "coco17", "image_size": size, "fps": 30, "lookahead": 2, **changes}
    return pb.CreateSessionRequest(**{name: value for name, value in fields.items() if value is not ...})


def frames(*indices: int, points: Any = POINTS) -> pb.LiftStreamRequest:
    return pb.LiftStreamRequest(
        frames=[
            pb.Frame(frame_index=index, keypoints=np.ravel(keypoints).tolist())
            for index, keypoints in zip(indices, points, strict=False)
        ]
    )


async def read(message: pb.LiftStreamRequest, session: Session) -> Any:
    return await ProtobufStreamCodec(LIMITS).read_message(message.SerializeToString()).frames(session)


def test_an_opening_is_read_as_it_was_written():
    given, model = read_opening(opening(model="a@1").SerializeToString())
    assert given == Opening(skeleton("coco17"), 640, 480, fps=30, lookahead=2)
    assert model == "a@1"


@pytest.mark.parametrize(("lookahead", "expected"), [(..., None), (0, 0), (5, 5)])
def test_without_a_lookahead_it_is_the_default(lookahead: Any, expected: int | None):
    given, model = read_opening(opening(lookahead=lookahead).SerializeToString())
    assert (given.lookahead, model) == (expected, None)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"skeleton": "coco19"}, "skeleton"),
        ({"image_size": ...}, "image_size.width_px"),
        ({"fps": -1}, "fps"),
        ({"fps": np.nan}, "fps"),
        ({"fps": 241}, "fps"),
        ({"model": "x" * 257}, "model"),
        ({"full_lookahead": True}, "full_lookahead"),
    ],
)
def test_what_cannot_open_a_session_names_the_field(changes: dict[str, Any], path: str):
    with pytest.raises((PoseliftError, ServiceError)) as refusal:
        read_opening(opening(**changes).SerializeToString())
    error: Any = refusal.value
    assert (error.path, error.message[-1]) == (path, ".")


async def test_frames_are_read_as_they_were_written(session: Session):
    arriving = await read(frames(4, 5, 6), session)
    assert (arriving.first, arriving.times_s) == (4, None)
    np.testing.assert_array_equal(arriving.keypoints, POINTS)


def test_the_full_lookahead_is_asked_for():
    given, _ = read_opening(opening(lookahead=..., full_lookahead=True, fps=...).SerializeToString())
    assert (given.lookahead, given.fps) == ("full", None)


async def test_times_are_read_for_all_frames_or_none(session: Session):
    message = frames(4, 5, 6)
    for number, frame in enumerate(message.frames):
        frame.time_s = 1.764e9 + number / 30
    np.testing.assert_array_equal((await read(message, session)).times_s, 1.764e9 + np.arange(3) / 30)
    for wrong_time in (np.nan, np.inf, 1e12, None):
        message.frames[1].ClearField("time_s")
        if wrong_time is not None:
            message.frames[1].time_s = wrong_time
        with pytest.raises(InvalidRequest) as refusal:
            await read(message, session)
        assert refusal.value.path == "frames[1].time_s"


async def test_a_frame_or_a_joint_may_be_missing(session: Session):
    points: list[Any] = [[], POINTS[1].copy(), POINTS[2]]
    points[1][3, 2] = np.nan
    arriving = await read(frames(0, 1, 2, points=points), session)
    keypoints = mark_missing(arriving.keypoints)
    assert np.isnan(keypoints[..., 0]).sum() == np.isnan(keypoints[..., 1]).sum() == 18
    assert np.isnan(keypoints[0, :, :2]).all()
    np.testing.assert_array_equal(keypoints[1, 3], [np.nan, np.nan, 0])
    np.testing.assert_array_equal(keypoints[2], POINTS[2])


def wrong(value: float, frame: int, joint: int, column: int) -> Any:
    points = POINTS.copy()
    points[frame, joint, column] = value
    return points


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (pb.LiftStreamRequest(), "frames"),
        (pb.LiftStreamRequest(end=True, frames=frames(1).frames), "frames"),
        (pb.LiftStreamRequest(next_frame_index=1, frames=frames(1).frames), "next_frame_index"),
        (frames(1, 3), "frames[1].frame_index"),
        (frames(1, 1), "frames[1].frame_index"),
        (frames(2**53), "frames[0].frame_index"),
        (frames(2**53 - 1, 2**53), "frames[1].frame_index"),
        (frames(0, 1, points=[POINTS[0], POINTS[0, :16]]), "frames[1].keypoints"),
        (frames(0, 1, points=[POINTS[0], [1.0]]), "frames[1].keypoints"),
        (frames(0, 1, 2, points=wrong(np.inf, 1, 4, 0)), "frames[1].keypoints[4][0]"),
        (frames(0, 1, 2, points=wrong(-2e6, 2, 16, 1)), "frames[2].keypoints[16][1]"),
        (frames(0, 1, 2, points=wrong(-1.1, 0, 0, 2)), "frames[0].keypoints[0][2]"),
    ],
)
async def test_a_malformed_message_is_refused_with_the_field_at_fault(
    session: Session, message: pb.LiftStreamRequest, path: str
):
    with pytest.raises(InvalidRequest) as refusal:
        await read(message, session)
    assert (refusal.value.path, refusal.value.message[-1]) == (path, ".")


async def test_the_largest_index_of_json_is_accepted(session: Session):
    assert (await read(frames(2**53 - 2, 2**53 - 1), session))[0] == 2**53 - 2


@given(st.data())
def test_damaged_bytes_are_read_or_refused_but_nothing_else(data: st.DataObject):
    body = bytearray(frames(0, 1).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(PoseliftError, ServiceError):
        ProtobufStreamCodec(LIMITS).read_message(bytes(body))


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (ProtobufStreamCodec(LIMITS).write_poses, pb.LiftStreamResponse),
        (write_last_poses, pb.DeleteSessionResponse),
    ],
)
@pytest.mark.parametrize("knows_errors", [False, True])
@pytest.mark.parametrize("targets", [0, 1, 3])
def test_an_answer_holds_the_very_numbers(session: Session, write: Any, kind: Any, targets: int, knows_errors: bool):
    imputed = np.random.default_rng(1).random((targets, 17)) < 0.5
    lifted = Lifted(POINTS[:targets], imputed, POINTS[:targets, :, 2] if knows_errors else None)
    poses = LivePoses(session, range(4, 4 + targets), (2,) * targets, lifted, 0.25, 0.5)
    answer = kind.FromString(write(poses, total_s=1))
    assert [frame.frame_index for frame in answer.frames] == list(range(4, 4 + targets))
    for frame, joints, flags in zip(answer.frames, POINTS, imputed, strict=False):
        assert frame.lookahead == 2
        np.testing.assert_array_equal(np.reshape(frame.joints, (17, 3)), joints)
        bits = np.unpackbits(np.frombuffer(frame.imputed, np.uint8), bitorder="little")
        np.testing.assert_array_equal(bits, [*flags, *[False] * 7])
        np.testing.assert_array_equal(frame.expected_error_m, joints[:, 2] if knows_errors else [])
    assert answer.next_frame_index == 7
    assert (answer.timing_ms.queue, answer.timing_ms.inference, answer.timing_ms.total) == (250, 500, 1000)


async def test_a_session_is_described(session: Session):
    body = write_session(session, pb.GetSessionResponse, expires_in_s=120)
    told = pb.GetSessionResponse.FromString(body).session
    assert (told.session_id, told.model.name, told.model.version) == ("0123-45", "scripted", 3)
    assert (told.skeleton, told.output_skeleton, len(told.joint_names)) == ("coco17", "h36m17", 17)
    assert (told.image_size.width_px, told.image_size.height_px, told.fps) == (640, 480, 50)
    assert (told.lookahead, told.full_lookahead, told.next_frame_index, told.expires_in_s) == (1, 2, 7, 120)
    assert (told.unit, told.axes[:6]) == ("m", "camera")
