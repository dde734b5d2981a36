"""The protobuf form of requests and answers, without a transport."""

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poselift_service.codecs.protobuf.lift import read_lift, write_result
from poselift_service.errors import InvalidRequest, ServiceError
from poselift_service.pipeline.request import Limits

from poselift.artifacts.manifest import Manifest
from poselift.errors import PoseliftError
from poselift.formats.writers.track import LiftedTrack
from poselift.pb import lifter_pb2 as pb
from tests.unit.service.conftest import random_result

FRAMES = 4
LIMITS = Limits(frames=100, tracks=3)
KEYPOINTS = np.random.default_rng(0).uniform(0.1, 1, (FRAMES, 17, 3)).astype(np.float32)


def message(**changes: Any) -> pb.LiftRequest:
    """A good request, with fields replaced; `...` takes one away."""
    fields = {
        "keypoints": KEYPOINTS.ravel().tolist(),
        "skeleton": "coco17",
        "image_size": pb.ImageSize(width_px=1920, height_px=1080),
        "fps": 30,
        **changes,
    }
    return pb.LiftRequest(**{name: value for name, value in fields.items() if value is not ...})


def with_value(value: float, frame: int, joint: int, column: int) -> pb.LiftRequest:
    keypoints = KEYPOINTS.copy()
    keypoints[frame, joint, column] = value
    return message(keypoints=keypoints.ravel().tolist())


def tracks(*people: pb.Track) -> pb.LiftRequest:
    return message(keypoints=..., tracks=people)


def person(track_id: str = "1", keypoints: Any = KEYPOINTS) -> pb.Track:
    return pb.Track(track_id=track_id, keypoints=np.ravel(keypoints).tolist())


def test_a_request_is_read_as_it_was_written():
    read = read_lift(message(model="a@1", mirrored_average=True).SerializeToString(), LIMITS)
    (track,) = read.tracks
    np.testing.assert_array_equal(track.sequence.keypoints, KEYPOINTS)
    np.testing.assert_allclose(track.sequence.times_s, np.arange(FRAMES) / 30)
    assert (track.track_id, track.sequence.skeleton.name, track.sequence.width_px) == (None, "coco17", 1920)
    assert (read.model, read.mirrored_average) == ("a@1", True)


def test_what_is_left_out_has_its_default():
    read = read_lift(message().SerializeToString(), LIMITS)
    assert (read.model, read.mirrored_average, read.targets) == (None, False, None)


def test_tracks_and_timestamps():
    times_s = [1.7e9, 1.7e9 + 1, 1.7e9 + 3, 1.7e9 + 4]
    sent = tracks(person("7"), person("8", KEYPOINTS[::-1]))
    sent.ClearField("fps")
    sent.timestamps_s.extend(times_s)
    read = read_lift(sent.SerializeToString(), LIMITS)
    assert [track.track_id for track in read.tracks] == ["7", "8"]
    np.testing.assert_array_equal(read.tracks[1].sequence.keypoints, KEYPOINTS[::-1])
    assert read.tracks[0].sequence.times_s.tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_joint_with_a_nan_is_missing(column: int):
    read = read_lift(with_value(np.nan, 2, 5, column).SerializeToString(), LIMITS)
    keypoints = read.tracks[0].sequence.keypoints
    np.testing.assert_array_equal(keypoints[2, 5], [np.nan, np.nan, 0])
    assert np.isnan(keypoints).sum() == 2


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (message(skeleton=...), "skeleton"),
        (message(skeleton="coco19"), "skeleton"),
        (message(image_size=...), "image_size.width_px"),
        (message(image_size=pb.ImageSize(width_px=1)), "image_size.height_px"),
        (message(image_size=pb.ImageSize(width_px=1, height_px=100_001)), "image_size.height_px"),
        (message(keypoints=...), "keypoints"),
        (message(keypoints=[1.0] * 52), "keypoints"),
        (message(tracks=[person()]), "keypoints"),
        (with_value(np.inf, 3, 5, 0), "keypoints[3][5][0]"),
        (with_value(-2e6, 3, 5, 1), "keypoints[3][5][1]"),
        (with_value(-1.1, 3, 5, 2), "keypoints[3][5][2]"),
        (with_value(87, 3, 5, 2), "keypoints[3][5][2]"),
        (tracks(person(), person("2", [1.0])), "tracks[1].keypoints"),
        (tracks(person(), person("2", [])), "tracks[1].keypoints"),
        (tracks(person(), person("2", [[1e7, 0, 1]] * 17)), "tracks[1].keypoints[0][0][0]"),
        (tracks(person("")), "tracks[0].track_id"),
        (tracks(person("x" * 129)), "tracks[0].track_id"),
        (tracks(person("1"), person("2"), person("1")), "tracks[2].track_id"),
        (message(fps=...), "fps"),
        (message(fps=0), "fps"),
        (message(fps=np.nan), "fps"),
        (message(fps=np.inf), "fps"),
        (message(timestamps_s=[0, 1, 2, 3]), "fps"),
        (message(fps=..., timestamps_s=[0, 1, 2]), "timestamps_s"),
        (message(fps=..., timestamps_s=[0, 1, 1, 2]), "timestamps_s[2]"),
        (message(fps=..., timestamps_s=[0, np.nan, 1, 2]), "timestamps_s[1]"),
        (message(fps=..., timestamps_s=[0, 1, 2, 1e300]), "timestamps_s[3]"),
        (message(model="x" * 257), "model"),
        (message(targets=[0, 2, 2]), "targets[2]"),
        (message(targets=[0, FRAMES]), "targets[1]"),
        (message(targets=[2**32 - 1]), "targets[0]"),
    ],
)
def test_a_malformed_request_is_refused_with_the_field_at_fault(sent: pb.LiftRequest, path: str):
    with pytest.raises((PoseliftError, ServiceError)) as refusal:
        read_lift(sent.SerializeToString(), LIMITS)
    error: Any = refusal.value
    assert error.path == path
    assert error.message.endswith(".")


@pytest.mark.parametrize("body", [b"\xff", b"{}", message().SerializeToString()[:-1], b"\x1a\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_refused(body: bytes):
    with pytest.raises(InvalidRequest, match=r"poselift\.v1\.LiftRequest"):
        read_lift(body, LIMITS)


@given(st.data())
def test_damaged_bytes_are_read_or_refused_but_nothing_else(data: st.DataObject):
    body = bytearray(message(model="a", keypoints=[1.0] * 51).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(PoseliftError, ServiceError):
        read_lift(bytes(body), LIMITS)


def unpacked(bits: bytes) -> Any:
    return np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")


@pytest.mark.parametrize("knows_errors", [False, True])
def test_an_answer_holds_the_very_numbers(manifest: Manifest, knows_errors: bool):
    result = random_result(manifest, None, knows_errors=knows_errors)
    answer = pb.LiftResponse.FromString(write_result(result, total_s=1))
    np.testing.assert_array_equal(np.reshape(answer.joints, (3, 17, 3)), result.tracks[0].lifted.joints)
    assert len(answer.imputed) == 7
    np.testing.assert_array_equal(unpacked(answer.imputed)[:51].reshape(3, 17), result.tracks[0].lifted.imputed)
    assert not unpacked(answer.imputed)[51:].any()
    np.testing.assert_array_equal(answer.expected_error_m, errors_of(result.tracks[0]))
    assert (answer.model.name, answer.model.version, answer.model.digest) == ("scripted", 3, "0123456789abcdef")
    assert (answer.skeleton, answer.joint_names[0], len(answer.joint_names)) == ("h36m17", "pelvis", 17)
    assert (answer.unit, answer.axes[:6]) == ("m", "camera")
    timing = answer.timing_ms
    assert (timing.queue, timing.inference, timing.total, len(answer.tracks)) == (250, 500, 1000, 0)


def errors_of(track: LiftedTrack) -> Any:
    errors = track.lifted.expected_error_m
    return [] if errors is None else np.ravel(errors)


@pytest.mark.parametrize("knows_errors", [False, True])
def test_tracks_are_answered_under_their_names(manifest: Manifest, knows_errors: bool):
    result = random_result(manifest, "a", "b", knows_errors=knows_errors)
    answer = pb.LiftResponse.FromString(write_result(result, total_s=1))
    assert ([track.track_id for track in answer.tracks], len(answer.joints)) == (["a", "b"], 0)
    for track, expected in zip(answer.tracks, result.tracks, strict=True):
        np.testing.assert_array_equal(np.reshape(track.joints, (3, 17, 3)), expected.lifted.joints)
        np.testing.assert_array_equal(unpacked(track.imputed)[:51].reshape(3, 17), expected.lifted.imputed)
        np.testing.assert_array_equal(track.expected_error_m, errors_of(expected))
