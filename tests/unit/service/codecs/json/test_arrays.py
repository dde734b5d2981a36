"""An array of frames is read as its schema would read it, and nothing is read that the schema refuses."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from poselift_service.codecs.json.arrays import KEYPOINTS, POSES, ArrayField, frames_from_lists, read_frames
from poselift_service.codecs.json.fields import Frames, PoseFrames
from pydantic import ConfigDict, TypeAdapter, ValidationError

from poselift.skeletons import Skeleton

PAIR = Skeleton("pair", ("left", "right"), parents=(-1, -1), left=(0,), right=(1,), root=None)
SCHEMAS = {
    KEYPOINTS: TypeAdapter(Frames, config=ConfigDict(strict=True)),
    POSES: TypeAdapter(PoseFrames, config=ConfigDict(strict=True)),
}
FIELDS = pytest.mark.parametrize("field", [KEYPOINTS, POSES], ids=lambda field: field.name)

numbers = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))
values = st.one_of(numbers, numbers, st.none(), st.booleans(), st.just("1"), st.just({}), st.just([]))
joints = st.one_of(st.none(), st.lists(numbers, min_size=2, max_size=3), st.lists(values, max_size=4), values)
clips = st.lists(
    st.one_of(st.none(), st.lists(joints, min_size=2, max_size=2), st.lists(joints, max_size=3)), max_size=4
)
# With the same count of numbers in all joints, which is read in another way.
regular_joints = st.integers(2, 3).flatmap(
    lambda size: st.lists(
        st.none() | st.lists(st.none() | st.lists(numbers, min_size=size, max_size=size), min_size=2, max_size=2),
        max_size=4,
    )
)


@FIELDS
@given(clips=clips | regular_joints, indent=st.sampled_from([None, 0, 3]))
@example(clips=[None, [[1, 2, 3], None], None], indent=None)
@example(clips=[[None, [1, 2, 3]], [None, None], None], indent=None)
@example(clips=[None, None], indent=None)
@example(clips=[[1, 2, 3]], indent=None)
@example(clips=[[[1, 2, 3], [1, 2, 3]], [1, 2, 3]], indent=None)
@example(clips=[[[1e308, 2, 3], None]], indent=None)
@example(clips=[[[None, None, 0], [1, 2, 3]], [None, [4, 5, None]]], indent=None)
@example(clips=[[[1e308, 1e308, 1e308], [1, 2, 3]]], indent=None)
def test_what_the_schema_accepts_is_read_and_nothing_else(field: ArrayField, clips: Any, indent: int | None):
    text = json.dumps(clips, indent=indent).encode()
    try:
        SCHEMAS[field].validate_json(text)
        is_valid = all(frame is None or len(frame) == PAIR.n_joints for frame in clips)
    except ValidationError:
        is_valid = False
    array = read_frames(text, field, PAIR)
    assert (array is not None) == is_valid
    for_lists = frames_from_lists(clips, field, PAIR)
    assert (for_lists is not None) == is_valid
    if array is None or for_lists is None:
        return
    np.testing.assert_array_equal(array, for_lists)
    assert array.tobytes() == for_lists.tobytes()
    for frame, row in zip(clips, array, strict=True):
        for joint, value in zip(frame or [None, None], row, strict=True):
            is_missing = joint is None or None in joint
            expected = field.missing if is_missing else joint if len(joint) == 3 else [*joint, 1]
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("joint", ["[NaN, NaN, 0.0]", "[null, null, 0]", "[1, NaN, 1]", "[1, 2, null]", "NaN", "null"])
def test_a_joint_with_nan_or_null_is_missing(joint: str):
    for field in (KEYPOINTS, POSES):
        array = read_frames(f"[[[1, 2, 3], {joint}]]".encode(), field, PAIR)
        assert array is not None
        np.testing.assert_array_equal(array, [[[1, 2, 3], field.missing]])


@FIELDS
@given(text=st.text(st.sampled_from("[],,null123456789.e-+ F"), max_size=40))
@example(text="[[[1,2,3],1null]]")
@example(text="[[[1,2,3],nu ll]]")
@example(text="[[[1,2,3],n1ull]]")
@example(text="[F,F]")
@example(text="[[[1,,3],null]]")
@example(text="[[[1 2,2,3],null]]")
@example(text="[[[1,2,3],[e,-,.]]]")
@example(text="[[1[,2,3],null]]")
def test_invalid_json_is_not_read(field: ArrayField, text: str):
    array = read_frames(text.encode(), field, PAIR)
    try:
        expected = frames_from_lists(json.loads(text), field, PAIR)
    except json.JSONDecodeError:
        expected = None
    assert (array is None) == (expected is None)
    if array is not None and expected is not None:
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "-0.0", "9007199254740993", "1E5", "4.9e-324", "2.2250738585072011e-308", "1" + "0" * 30, "1e308"],
)
def test_a_number_is_the_nearest_double(number: str):
    array = read_frames(f"[[[{number}, 1, 1], [1, {number}, 1]]]".encode(), KEYPOINTS, PAIR)
    assert array is not None
    expected = np.float64(json.loads(number))
    assert array[0, 0, 0].tobytes() == array[0, 1, 1].tobytes() == expected.tobytes()
