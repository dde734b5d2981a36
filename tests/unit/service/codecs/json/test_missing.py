"""Bodies with joints that a detector did not see, in all the ways in which programs write them."""

from pathlib import Path

import numpy as np
import pytest
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.reader import SHORT_BYTES, JsonReader
from poselift_service.pipeline.request import Limits

FILES = Path(__file__).parents[4] / "data" / "detectors"


@pytest.mark.parametrize(
    ("name", "missing"), [("nan.json", [9]), ("nulls.json", [9]), ("zeros_with_scores.json", [7, 9, 15])]
)
@pytest.mark.parametrize("length", ["short", "long"])
async def test_joints_that_were_not_detected_are_missing(name: str, missing: list[int], length: str):
    body = (FILES / name).read_bytes()
    if length == "long":
        body += b" " * SHORT_BYTES  # read in pieces
    (track,) = (await JsonLiftCodec(JsonReader(Limits(frames=100, tracks=1))).read_lift(body)).tracks
    keypoints = track.sequence.keypoints
    assert np.isnan(keypoints[:, missing, :2]).all()
    assert (keypoints[:, missing, 2] == 0).all()
    assert np.isfinite(np.delete(keypoints, missing, axis=1)).all()
