"""What a JSON body is refused with says what is expected, what came, and where."""

import asyncio
import json
from typing import Any

import pytest
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.live import read_opening
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.json.refusals import describe
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import LiftRequest, Limits

SHORT, LONG = 3, 400
JOINT = {"x": 540.1, "y": 310.2, "score": 0.99, "name": "nose"}


def clip(frames: int = SHORT, **changes: Any) -> dict[str, Any]:
    keypoints = [[[540.1234567, 310.1234567, 0.9876543]] * 17 for _ in range(frames)]
    return {"keypoints": keypoints, "skeleton": "coco17", "image_size": [1080, 1920], "fps": 30, **changes}


def with_frame(frame: Any, frames: int) -> dict[str, Any]:
    document = clip(frames)
    document["keypoints"][1] = frame
    return document


def read(document: dict[str, Any]) -> LiftRequest:
    codec = JsonLiftCodec(JsonReader(Limits(frames=1000, tracks=5)))
    return asyncio.run(codec.read_lift(json.dumps(document).encode()))


def refused(document: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refusal:
        read(document)
    return refusal.value


@pytest.mark.parametrize("frames", [SHORT, LONG])
@pytest.mark.parametrize(
    ("frame", "path", "sentence"),
    [
        (
            [JOINT] * 17,
            "keypoints[1][0]",
            "a joint is [x, y, score], [x, y] or null, not an object with x, y, score and name.",
        ),
        (
            [1.5] * 51,
            "keypoints[1][0]",
            "a joint is [x, y, score], [x, y] or null, not 1.5; a flat list of numbers must be parted by joint.",
        ),
        ([[1]] * 17, "keypoints[1][0]", "a joint is [x, y, score], [x, y] or null, not a list of 1."),
        (["nose"] * 17, "keypoints[1][0]", "a joint is [x, y, score], [x, y] or null, not 'nose'."),
        ({"keypoints": []}, "keypoints[1]", "a frame is a list of joints or null, not an object with keypoints."),
        ([["1", 2, 3]] * 17, "keypoints[1][0][0]", "it must be a number, not '1'."),
        ([[1, 2, 3]] * 25, "keypoints[1]", "A frame of coco17 has 17 joints, not 25, as one of body25"),
    ],
)
def test_frames_of_another_form(frames: int, frame: Any, path: str, sentence: str):
    refusal = refused(with_frame(frame, frames))
    assert refusal.path == path
    assert sentence in refusal.message


def test_a_joint_in_a_track():
    keypoints = [[JOINT] * 17]
    refusal = refused(clip(keypoints=None, tracks=[{"track_id": "7", "keypoints": keypoints}]))
    assert refusal.path == "tracks[0].keypoints[0][0]"
    assert "a joint is [x, y, score], [x, y] or null" in refusal.message


@pytest.mark.parametrize(
    ("changes", "path", "sentence"),
    [
        ({"image_size": [1080.5, 1920]}, "image_size[0]", "it must be a whole number, not 1080.5."),
        ({"image_size": [True, 1920]}, "image_size[0]", "it must be a whole number, not true."),
        ({"image_size": [0, 1920]}, "image_size[0]", "it must be at least 1, not 0."),
        ({"image_size": "1080x1920"}, "image_size", "it must be an array, not '1080x1920'."),
        ({"image_size": {"width": 1, "height": 2}}, "image_size", "not an object with width and height."),
        ({"fps": "30"}, "fps", "it must be a number, not '30'."),
        ({"fps": 1e9}, "fps", "it must be at most 10000, not 1e+09."),
        ({"skeleton": 17}, "skeleton", "it must be a text, not 17."),
        ({"mirrored_average": 1}, "mirrored_average", "it must be true or false, not 1."),
        ({"coordinates": "relative"}, "coordinates", "it must be 'pixels' or 'normalised', not 'relative'."),
        ({"targets": [0, 1.5]}, "targets[1]", "it must be a whole number, not 1.5."),
        ({"targets": []}, "targets", "it must not be empty."),
        ({"targets": [10**400]}, "targets[0]", "a number of many digits."),
        ({"model": "x" * 300}, "model", "it must have at most 256 characters."),
        ({"tracks": [None]}, "tracks[0]", "tracks[0] must be a JSON object."),
    ],
)
def test_fields_of_another_form(changes: dict[str, Any], path: str, sentence: str):
    refusal = refused(clip(**changes))
    assert refusal.path == path
    assert sentence in refusal.message


def test_what_is_no_json_is_refused_with_its_place():
    codec = JsonLiftCodec(JsonReader(Limits(frames=1000, tracks=5)))
    with pytest.raises(InvalidRequest, match=r"^The body cannot be read: it is not JSON from line 2, column 1 on\.$"):
        asyncio.run(codec.read_lift(b'{"fps": 30,\n}'))


@pytest.mark.parametrize("frames", [SHORT, LONG])
def test_whole_numbers_in_the_notation_of_floats(frames: int):
    (track,) = read(clip(frames, image_size=[1080.0, 1.92e3], targets=[0.0, 2.0])).tracks
    assert (track.sequence.width_px, track.sequence.height_px) == (1080, 1920)
    assert type(track.sequence.width_px) is int


@pytest.mark.parametrize(("lookahead", "expected"), [(0, 0), (3.0, 3), ("full", "full"), (None, None)])
def test_the_opening_of_a_session(lookahead: Any, expected: Any):
    opening, _ = read_opening(json.dumps(OPENING | {"lookahead": lookahead, "image_size": [1080.0, 1920.0]}).encode())
    assert (opening.lookahead, opening.width_px) == (expected, 1080)


OPENING = {"skeleton": "coco17", "image_size": [1080, 1920], "fps": 30, "lookahead": 0}


@pytest.mark.parametrize("lookahead", [-1, 1.5, "all", True, 10**9, [1]])
def test_paths_name_fields_that_exist(lookahead: Any):
    with pytest.raises(InvalidRequest, match="it must be a number of frames from 0 on, or `full`") as refusal:
        read_opening(json.dumps(OPENING | {"lookahead": lookahead}).encode())
    assert refusal.value.path == "lookahead"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (1080.0, "1080"),
        (10**400, "a number of many digits"),
        ("x" * 100, f"'{'x' * 40}...'"),
        ([1, 2], "a list of 2"),
        ({}, "an empty object"),
        ({"x": 1}, "an object with x"),
        (dict.fromkeys("abcdefgh"), "an object with a, b, c, d, e, f and others"),
    ],
)
def test_values_are_described_in_a_few_words(value: object, words: str):
    assert describe(value) == words
