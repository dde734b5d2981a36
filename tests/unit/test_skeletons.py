import re

import numpy as np
import pytest

from poselift.errors import InvalidKeypoints, UnknownSkeleton
from poselift.skeletons import SKELETONS, conversion, convert, skeleton

H36M, COCO, MPI = skeleton("h36m17"), skeleton("coco17"), skeleton("mpi17")


def _random(source, frames=4, seed=0):
    return np.random.default_rng(seed).random((frames, source.n_joints, 3), dtype=np.float32)


def test_h36m17_has_the_published_order_and_sides():
    assert H36M.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert sorted(H36M.left) == [4, 5, 6, 11, 12, 13]
    assert sorted(H36M.right) == [1, 2, 3, 14, 15, 16]


def test_mpi17_has_the_published_order_and_sides():
    assert MPI.root == 14
    assert sorted(MPI.left) == [5, 6, 7, 11, 12, 13]
    assert sorted(MPI.right) == [2, 3, 4, 8, 9, 10]


def test_coco17_sides():
    assert COCO.left == (1, 3, 5, 7, 9, 11, 13, 15)
    assert COCO.right == (2, 4, 6, 8, 10, 12, 14, 16)


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_is_consistent(name):
    joints = skeleton(name)
    assert re.findall(r"\d+", name)[-1] == str(joints.n_joints)
    assert len(set(joints.joint_names)) == joints.n_joints
    assert len(joints.parents) == joints.n_joints
    for left, right in zip(joints.left, joints.right, strict=True):
        assert joints.joint_names[left].replace("left", "right") == joints.joint_names[right]
    order = np.array(joints.mirror_order)
    assert (order[order] == np.arange(joints.n_joints)).all()


@pytest.mark.parametrize("source", SKELETONS)
@pytest.mark.parametrize("target", SKELETONS)
def test_shared_joints_keep_their_place_and_rows_sum_to_one(source, target):
    rows = conversion(skeleton(source), skeleton(target))
    given = ~np.isnan(rows.weights).any(axis=1)
    np.testing.assert_allclose(rows.weights[given].sum(axis=1), 1, atol=1e-6)
    keypoints = _random(skeleton(source))
    converted = convert(keypoints, skeleton(source), skeleton(target))
    for t, joint in enumerate(skeleton(target).joint_names):
        if joint in skeleton(source).joint_names:
            np.testing.assert_array_equal(converted[:, t], keypoints[:, skeleton(source).joint_names.index(joint)])


@pytest.mark.parametrize("source", SKELETONS)
def test_every_detector_skeleton_gives_all_h36m_joints(source):
    assert not np.isnan(convert(_random(skeleton(source)), skeleton(source), H36M)).any()


def test_a_derived_joint_carries_the_lower_score_of_its_parents():
    keypoints = _random(COCO)
    converted = convert(keypoints, COCO, H36M)
    left, right = COCO.joint_names.index("left_hip"), COCO.joint_names.index("right_hip")
    np.testing.assert_allclose(converted[:, 0, :2], (keypoints[:, left, :2] + keypoints[:, right, :2]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(converted[:, 0, 2], np.minimum(keypoints[:, left, 2], keypoints[:, right, 2]))


def test_a_missing_parent_makes_exactly_its_children_missing():
    keypoints = _random(COCO, frames=1)
    keypoints[0, COCO.joint_names.index("left_hip"), :2] = np.nan
    converted = convert(keypoints, COCO, H36M)[0]
    missing = {H36M.joint_names[j] for j in np.flatnonzero(np.isnan(converted[:, 0]))}
    assert missing == {"left_hip", "pelvis", "spine"}
    assert (converted[np.isnan(converted[:, 0]), 2] == 0).all()


def test_a_joint_that_cannot_be_derived_is_missing():
    converted = convert(_random(H36M), H36M, COCO)
    assert np.isnan(converted[:, COCO.joint_names.index("left_ear"), 0]).all()


def test_invalid_input_is_refused():
    with pytest.raises(UnknownSkeleton, match="coco17"):
        skeleton("coco19")
    with pytest.raises(InvalidKeypoints, match=r"\[..., 17, 3\]"):
        convert(np.zeros((4, 16, 3), np.float32), COCO, H36M)


@pytest.mark.parametrize("name", list(SKELETONS))
def test_limbs_are_joints_of_one_side(name):
    people = SKELETONS[name]
    named = {limb: [people.joint_names[joint] for joint in joints] for limb, joints in people.limbs.items()}
    assert named["left arm"] == ["left_shoulder", "left_elbow", "left_wrist"]
    assert named["right leg"] == ["right_hip", "right_knee", "right_ankle"]
    assert len(named) == 4
