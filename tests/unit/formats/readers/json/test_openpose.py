"""OpenPose's folders and files."""

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import (
    FPS,
    FRAMES,
    SIZE,
    assert_keypoints,
    keypoints,
    openpose,
    with_holes,
    without_frame,
)


def test_an_openpose_folder_with_missing_joints(openpose_folder):
    detected = with_holes(keypoints(joints=25))
    folder = openpose_folder(
        {0: openpose(detected[0]), 1: openpose(detected[1]), 2: openpose(), 3: openpose(detected[3])}
    )
    ((track_id, sequence, *_),) = read_keypoints(folder, fps=FPS, image_size=SIZE).tracks
    assert track_id is None
    assert sequence.skeleton.name == "body25"
    assert_keypoints(sequence, detected)


def test_a_missing_openpose_file_is_a_frame_without_people(openpose_folder):
    detected = with_holes(keypoints(joints=25))
    folder = openpose_folder({number: openpose(detected[number]) for number in (0, 1, 3)})
    ((_, sequence, *_),) = read_keypoints(folder, fps=FPS, image_size=SIZE).tracks
    assert_keypoints(sequence, detected)


def test_a_single_openpose_file(write):
    detected = keypoints(joints=25, frames=1)
    ((_, sequence, *_),) = read_keypoints(write(openpose(detected[0])), fps=FPS, image_size=SIZE).tracks
    assert_keypoints(sequence, detected)


def test_openpose_people_in_a_steady_order_are_tracks(openpose_folder):
    left, right = keypoints(joints=25, place=(100, 200)), keypoints(joints=25, seed=1, place=(500, 200))
    frames = {number: openpose(left[number], right[number]) for number in range(FRAMES)}
    frames[2] = openpose()
    tracks = read_keypoints(openpose_folder(frames), fps=FPS, image_size=SIZE).tracks
    assert [track_id for track_id, *_ in tracks] == ["0", "1"]
    for (_, sequence, *_), detected in zip(tracks, (left, right), strict=True):
        assert np.isnan(sequence.keypoints[2, :, 0]).all()
        assert_keypoints(without_frame(sequence, 2), np.delete(detected, 2, axis=0))


def test_tracked_openpose_people_may_enter_and_leave(openpose_folder):
    first, second = keypoints(joints=25), keypoints(joints=25, seed=1)
    both = {"people": openpose(second[1], identity=7)["people"] + openpose(first[1], identity=3)["people"]}
    tracks = read_keypoints(
        openpose_folder({0: openpose(first[0], identity=3), 1: both}), fps=FPS, image_size=SIZE
    ).tracks
    assert [track_id for track_id, *_ in tracks] == ["3", "7"]
    assert_keypoints(tracks[0].sequence, first[:2])
    assert np.isnan(tracks[1].sequence.keypoints[0, :, 0]).all()


def test_an_openpose_person_without_a_body_is_ignored(openpose_folder):
    detected = keypoints(joints=25)
    frames = {index: openpose(frame) for index, frame in enumerate(detected)}
    frames[2] = {"people": [{"person_id": [-1], "pose_keypoints_2d": []}]}
    detected[2] = (np.nan, np.nan, 0)
    ((_, sequence, *_),) = read_keypoints(openpose_folder(frames), fps=FPS, image_size=SIZE).tracks
    assert_keypoints(sequence, detected)


def test_a_folder_without_openpose_files(tmp_path):
    with pytest.raises(InvalidFile, match=r"no \.json files with a frame number"):
        read_keypoints(tmp_path)


def test_a_folder_of_two_videos(openpose_folder):
    detected = keypoints(joints=25)
    openpose_folder({0: openpose(detected[0])}, video="one")
    with pytest.raises(InvalidFile, match="several videos in it: one, two"):
        read_keypoints(openpose_folder({0: openpose(detected[0])}, video="two"))


def test_frame_numbers_with_large_gaps(openpose_folder):
    detected = keypoints(joints=25)
    with pytest.raises(InvalidFile, match="not of one video"):
        read_keypoints(openpose_folder({0: openpose(detected[0]), 10**9: openpose(detected[1])}))
