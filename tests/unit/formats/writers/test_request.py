"""Keypoints as a body of POST /lift: what is read from it is what was written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.formats.readers.recording import Track
from poselift.formats.writers.request import request_document
from poselift.sequence import Sequence
from poselift.skeletons import skeleton

FRAMES = 4


def sequence(times_s: np.ndarray, seed: int = 0) -> Sequence:
    keypoints = np.random.default_rng(seed).uniform(10, 500, (FRAMES, 17, 3)).astype(np.float32)
    keypoints[..., 2] = 0.5
    keypoints[1] = np.nan
    keypoints[2, 5] = np.nan
    return Sequence(keypoints, skeleton("coco17"), 1080, 1920, times_s)


def written(tracks: list[Track], folder: Path) -> tuple[dict[str, Any], list[Track]]:
    path = folder / "request.json"
    path.write_bytes(orjson.dumps(request_document(tracks), option=orjson.OPT_SERIALIZE_NUMPY))
    return json.loads(path.read_text()), read_keypoints(path).tracks


def test_one_person_without_a_name(tmp_path: Path):
    given = sequence(Sequence.times_at(30, FRAMES))
    document, (track,) = written([Track(None, given)], tmp_path)
    assert (document["fps"], document["image_size"], document["skeleton"]) == (30, [1080, 1920], "coco17")
    assert document["keypoints"][1] is None
    np.testing.assert_array_equal(track.sequence.keypoints, given.keypoints)
    np.testing.assert_allclose(track.sequence.times_s, given.times_s)


def test_several_people_at_uneven_times(tmp_path: Path):
    times_s = np.array([0, 0.04, 0.1, 0.11])
    tracks = [Track("7", sequence(times_s)), Track("8", sequence(times_s, 1))]
    document, found = written(tracks, tmp_path)
    assert document["timestamps_s"] == times_s.tolist()
    assert [track.track_id for track in found] == ["7", "8"]
    for one, other in zip(found, tracks, strict=True):
        np.testing.assert_array_equal(one.sequence.keypoints, other.sequence.keypoints)
