"""Clips of motion capture in one tensor."""

import dataclasses
import json

import pytest
import torch
from poselift_training.data.mocap import Motion, pose_frequency, subjects_in

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


def test_sources_get_the_shares_that_are_asked_for(motion):
    assert motion.clip_weights({"CMU": 1, "ReActIdle": 3}).tolist() == pytest.approx([0.25, 0.75])
    assert motion.clip_weights({"CMU": 3}).tolist() == pytest.approx([0.5, 0.5])  # one without a share: the smallest
    assert motion.clip_weights({}).tolist() == motion.clip_weights().tolist()


def test_people_are_chosen_or_left_out(motion):
    second = motion.of_subjects({"B"})
    assert second.lengths.tolist() == [70]
    assert torch.equal(second.joints, motion.joints[120:])
    assert (second.sources, second.subjects) == (("ReActIdle",), ("B",))
    assert torch.equal(motion.of_subjects({"B"}, left_out=True).joints, motion.joints[:120])
    with pytest.raises(InvalidDataset, match="subjects C"):
        motion.of_subjects({"C"})


def test_rare_poses_come_more_often_and_sources_as_often_as_before(motion):
    crouching = motion.joints.clone()
    crouching[100:120, :, 2] -= 0.4  # a sixth of the first clip
    both = dataclasses.replace(motion, joints=crouching)
    frequency = pose_frequency(both.joints)
    assert frequency[110] < frequency[0] / 4
    even, rare = (both.frame_weights({"CMU": 1, "ReActIdle": 3}, rare) for rare in (0.0, 0.5))
    assert even[0].item() == pytest.approx(0.25 / 120)
    for weights in (even, rare):
        assert weights[:120].sum().item() == pytest.approx(0.25)
        assert weights.sum().item() == pytest.approx(1)
    ratio = (rare[110] / rare[0]).item()
    assert ratio == pytest.approx(((frequency[0] / frequency[110]) ** 0.5).item())


def test_the_people_of_a_split(tmp_path):
    common = {"action": "walk", "key": "k", "licence": "none", "shard": "s.npz", "source": "CMU"}
    clips = [common | {"subject": "A", "split": "train"}, common | {"subject": "B", "split": "val"}]
    (tmp_path / "index.json").write_text(json.dumps({"fps": 50, "clips": clips}))
    assert subjects_in(tmp_path, "train") == {"A"}
    assert subjects_in(tmp_path, "test") == frozenset()
