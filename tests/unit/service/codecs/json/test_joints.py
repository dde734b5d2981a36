"""Keypoints taken out of JSON are those that the schema would read, and nothing is taken that it would refuse."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poselift_service.codecs.json.joints import KEYPOINTS, joint_array, take_out
from poselift_service.codecs.json.lift import Frames
from pydantic import ConfigDict, TypeAdapter, ValidationError

from poselift.skeletons import Skeleton

PAIR = Skeleton("pair", ("left", "right"), parents=(-1, -1), left=(0,), right=(1,), root=None)
schema = TypeAdapter(Frames, config=ConfigDict(strict=True))

numbers = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))
values = st.one_of(numbers, numbers, st.none(), st.booleans(), st.just("1"), st.just({}), st.just([]))
joints = st.one_of(st.none(), st.lists(numbers, min_size=2, max_size=3), st.lists(values, max_size=4), values)
clips = st.lists(
    st.one_of(st.none(), st.lists(joints, min_size=2, max_size=2), st.lists(joints, max_size=3)), max_size=4
)


@given(clips)
def test_what_the_schema_takes_is_taken_and_nothing_else(frames: Any):
    try:
        schema.validate_json(json.dumps(frames))
        is_good = all(frame is None or len(frame) == PAIR.n_joints for frame in frames)
    except ValidationError:
        is_good = False
    array = joint_array(frames, KEYPOINTS, PAIR)
    assert (array is not None) == is_good
    if array is None:
        return
    for frame, row in zip(frames, array, strict=True):
        for joint, value in zip(frame or [None, None], row, strict=True):
            expected = [np.nan, np.nan, 0] if joint is None else joint if len(joint) == 3 else [*joint, 1]
            np.testing.assert_array_equal(value, expected)


def test_the_rest_of_the_document_stays_as_it_is():
    document = {"tracks": [{"track_id": "7", "keypoints": [[[1, 2], None]]}, 5], "keypoints": "text", "fps": 30}
    rest, arrays = take_out(json.dumps(document).encode(), KEYPOINTS, PAIR)
    assert list(arrays) == ["tracks[0].keypoints"]
    document["tracks"][0]["keypoints"] = [None]  # type: ignore[index]
    assert json.loads(rest) == document


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"17", b"\xff", b'{"keypoints": [[[NaN, 1, 1], null]]}'])
def test_what_is_no_document_is_left_to_the_schema(body: bytes):
    assert take_out(body, KEYPOINTS, PAIR) == (body, {})


def test_the_skeleton_may_be_named_in_the_document():
    frames = [[[1.0, 2.0, 0.5]] * 17]
    _, arrays = take_out(json.dumps({"skeleton": "coco17", "keypoints": frames}).encode(), KEYPOINTS)
    np.testing.assert_array_equal(arrays["keypoints"], frames)
    assert take_out(json.dumps({"skeleton": 17, "keypoints": frames}).encode(), KEYPOINTS)[1] == {}
