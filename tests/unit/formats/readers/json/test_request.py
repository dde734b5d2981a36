"""Bodies of POST /lift."""

import numpy as np

from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import (
    FPS,
    FRAMES,
    SIZE,
    assert_keypoints,
    keypoints,
    request,
    rows,
    with_holes,
)


def test_a_request_with_missing_joints(write):
    detected = with_holes(keypoints())
    ((track_id, sequence, *_),) = read_keypoints(write(request(detected))).tracks
    assert track_id is None
    assert_keypoints(sequence, detected)
    assert sequence.skeleton.name == "coco17"
    assert (sequence.width_px, sequence.height_px) == SIZE
    np.testing.assert_allclose(sequence.times_s, np.arange(FRAMES) / FPS)


def test_a_request_with_tracks_and_times(write):
    document = request(keypoints(), timestamps_s=[1e9, 1e9 + 0.04, 1e9 + 0.1, 1e9 + 0.2])
    del document["keypoints"], document["fps"]
    document["tracks"] = [{"track_id": name, "keypoints": rows(keypoints(seed=seed))} for seed, name in enumerate("ab")]
    tracks = read_keypoints(write(document)).tracks
    assert [track_id for track_id, *_ in tracks] == ["a", "b"]
    assert_keypoints(tracks[1].sequence, keypoints(seed=1))
    np.testing.assert_allclose(tracks[0].sequence.times_s, [0, 0.04, 0.1, 0.2], atol=1e-6)


def test_what_is_not_read_is_warned_about(write):
    read = read_keypoints(write(request(keypoints(), model="other", cammera={"fov_deg": 60}, world=False, targets=[])))
    (warning,) = read.warnings
    assert (warning.code, warning.path) == ("unused_field", "model")
    assert "model, cammera in the file were not read" in warning.message
    everything = request(keypoints(), camera={"fov_deg": 60}, person={"height_m": 1.8}, strict=True)
    assert read_keypoints(write(everything)).warnings == ()


def test_joints_without_scores_have_score_one(write):
    document = request(keypoints())
    document["keypoints"] = [[row[:2] for row in frame] for frame in document["keypoints"]]
    ((_, sequence, *_),) = read_keypoints(write(document)).tracks
    assert (sequence.keypoints[..., 2] == 1).all()
