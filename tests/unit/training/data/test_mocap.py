"""Clips of motion capture in one tensor."""

import dataclasses
import json

import pytest
import torch
from poselift_training.data.mocap import Motion

from poselift.errors import InvalidDataset
from tests.unit.training.evaluation.walkers import moving

SAME_PLACES = 1e-5


def test_clips_are_concatenated(motion):
    assert motion.joints.shape == (190, 17, 3)
    assert motion.starts.tolist() == [0, 120]
    assert motion.lengths.tolist() == [120, 70]
    assert motion.clip_weights().tolist() == pytest.approx([0.62 / 0.72, 0.10 / 0.72])


def test_data_sets_of_motion_are_joined_clip_by_clip(motion):
    both = Motion.join([motion, motion])
    assert both.lengths.tolist() == [120, 70, 120, 70]
    assert torch.equal(both.joints[both.starts[3] :], motion.joints[120:])
    assert both.sources == motion.sources * 2
    assert both.licences == motion.licences
    with pytest.raises(InvalidDataset, match="25 and 50 fps"):
        Motion.join([motion, dataclasses.replace(motion, fps=25.0)])


def test_a_missing_split_or_clip_is_named(motion, tmp_path):
    with pytest.raises(InvalidDataset, match=r"index\.json is missing"):
        Motion.load(tmp_path, ["train"])
    (tmp_path / "index.json").write_text(json.dumps({"fps": 50, "clips": []}))
    with pytest.raises(InvalidDataset, match="no clip in the splits test"):
        Motion.load(tmp_path, ["test"])


def test_motion_is_interpolated_between_its_frames() -> None:
    slow, fast = moving((60, 31), fps=50), moving((60, 31), fps=50).at_rate(300)
    assert fast.lengths.tolist() == [59 * 6 + 1, 30 * 6 + 1]
    assert fast.fps == 300
    torch.testing.assert_close(fast.joints[::6][:60], slow.joints[:60])
    first = fast.joints[: 59 * 6 + 1]
    times = torch.arange(len(first))[:, None, None] / 300
    speed = (first[-1] - first[0]) / (59 / 50)
    torch.testing.assert_close(first, first[0] + speed * times, rtol=0, atol=SAME_PLACES)
    assert slow.at_rate(25).lengths.tolist() == [30, 16]
    torch.testing.assert_close(slow.at_rate(25).joints[:30], slow.joints[:60:2])
