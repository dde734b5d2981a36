import numpy as np
import pytest

from poselift.motion.bones import bone_lengths, constant_bones
from poselift.motion.rotations import (
    forward_kinematics,
    global_rotations,
    joint_rotations,
    next_rotations,
    rest_offsets,
)
from tests.unit.motion.rig_poses import BONES, H36M, JOINT, posed, recorded


@pytest.fixture(scope="module")
def dance():
    return recorded()


def change_deg(frames):
    """Angle between the orientations of neighbouring frames: [F, ..., 4] -> [F - 1, ...]."""
    return 2 * np.degrees(np.arccos(np.clip(np.abs((frames[1:] * frames[:-1]).sum(-1)), 0, 1)))


def test_the_t_pose_has_no_rotations():
    expected = np.zeros((17, 4))
    expected[:, 0] = 1
    np.testing.assert_allclose(joint_rotations(posed())[0], expected, atol=1e-9)


def test_the_t_pose_faces_z_with_its_left_at_x():
    pose = posed()[0]
    assert pose[JOINT["left_wrist"], 0] > 0.6 > -0.6 > pose[JOINT["right_wrist"], 0]
    assert pose[JOINT["head"], 1] > 0.5 > -0.8 > pose[JOINT["left_ankle"], 1]
    assert pose[JOINT["neck_nose"], 2] > 0.05


@pytest.mark.parametrize("sd_m", [0, 0.05, 1.0])
def test_forward_kinematics_meets_the_joints(dance, sd_m):
    poses, bones = constant_bones(dance + np.random.default_rng(0).normal(0, sd_m, dance.shape))
    rotations = joint_rotations(poses)
    np.testing.assert_allclose(forward_kinematics(poses[:, 0], rotations, rest_offsets(bones)), poses, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=-1), 1, atol=1e-9)


def test_rest_offsets_are_as_long_as_the_bones():
    np.testing.assert_allclose(np.linalg.norm(rest_offsets(BONES), axis=-1), BONES, atol=1e-12)


@pytest.mark.parametrize(
    ("joint", "axis", "degrees"),
    [
        ("left_ankle", "x", 60),
        ("right_ankle", "x", 100),
        ("left_wrist", "y", -90),
        ("right_wrist", "y", 90),
        ("left_elbow", "z", -80),
        ("right_knee", "x", -50),
        ("pelvis", "y", 135),
        ("neck_nose", "y", 40),
    ],
)
def test_a_turn_of_one_bone_is_found_there_and_nowhere_else(joint, axis, degrees):
    rotations = joint_rotations(posed(**{joint: (axis, np.full(3, degrees))}))[1]
    expected = np.zeros((17, 4))
    expected[:, 0] = 1
    half = np.radians(degrees) / 2
    expected[JOINT[joint], 0], expected[JOINT[joint], 1 + "xyz".index(axis)] = np.cos(half), np.sin(half)
    np.testing.assert_allclose(rotations, expected, atol=0.02)


def test_a_bent_knee_shows_how_the_thigh_is_twisted():
    """The foot swings to the side of a sitting person: no bone but the thigh can turn it there."""
    turned = posed(left_knee=("x", np.full(9, -90.0)), left_ankle=("x", np.full(9, 90.0)))
    hip, ankle = turned[:, JOINT["left_knee"]], turned[:, JOINT["left_ankle"]]
    angle = np.radians(30)
    down = ankle - hip
    turned[:, JOINT["left_ankle"]] = hip + down * np.cos(angle) + np.linalg.norm(down[0]) * np.sin(angle) * np.eye(3)[0]
    rotations = joint_rotations(turned)[4]
    w, x, y, z = rotations[JOINT["left_ankle"]]
    assert np.degrees(2 * np.arctan2(x, w)) == pytest.approx(90, abs=0.5)
    assert np.hypot(y, z) < 0.01


def test_nothing_flips_while_a_leg_is_straight():
    """The knee passes through straight, with noise that points its plane anywhere."""
    bend = 60 * np.abs(np.linspace(-1, 1, 101)) - 10
    poses = posed(left_knee=("x", np.zeros(101)), left_ankle=("x", np.maximum(bend, 0)))
    poses += np.random.default_rng(1).normal(0, 0.003, poses.shape)
    frames = global_rotations(joint_rotations(poses))
    assert change_deg(frames)[:, JOINT["left_knee"]].max() < 10


def test_frames_of_a_dance_turn_no_faster_than_its_bones(dance):
    poses, _ = constant_bones(dance)
    bones = poses[:, 1:] - poses[:, list(H36M.parents[1:])]
    bones /= np.linalg.norm(bones, axis=-1, keepdims=True)
    own = np.degrees(np.arccos(np.clip((bones[1:] * bones[:-1]).sum(-1), -1, 1))).max()
    assert change_deg(global_rotations(joint_rotations(poses))).max() < 2 * own


def test_signs_do_not_change_between_frames():
    rotations = joint_rotations(
        posed(pelvis=("y", np.linspace(0, 720, 100)), left_elbow=("x", np.linspace(0, 50, 100)))
    )
    assert ((rotations[1:] * rotations[:-1]).sum(-1) > 0.9).all()


def test_a_person_who_turns_only_turns_the_pelvis(dance):
    angle = np.radians(77)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    before, after = joint_rotations(dance), joint_rotations(dance @ turn.T)
    np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=1e-9)
    np.testing.assert_allclose(change_deg(np.stack([before[:, 0], after[:, 0]])), 77, atol=1e-6)


def test_a_mirrored_person_has_mirrored_rotations(dance):
    mirrored = (dance * (-1, 1, 1))[:, list(H36M.mirror_order)]
    expected = (joint_rotations(dance) * (1, 1, -1, -1))[:, list(H36M.mirror_order)]
    found = joint_rotations(mirrored)
    np.testing.assert_allclose(found * np.sign((found * expected).sum(-1, keepdims=True)), expected, atol=1e-9)


def test_one_frame_is_enough(dance):
    poses, bones = constant_bones(dance[:1])
    rebuilt = forward_kinematics(poses[:, 0], joint_rotations(poses), rest_offsets(bones))
    np.testing.assert_allclose(rebuilt, poses, atol=1e-9)


def test_joints_that_coincide_leave_numbers(dance):
    poses = dance.copy()
    poses[5] = poses[5, :1]  # all at the pelvis
    poses[7, JOINT["left_hip"]] = poses[7, JOINT["right_hip"]]
    rotations = joint_rotations(poses)
    assert np.isfinite(rotations).all()
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=-1), 1, atol=1e-9)
    assert bone_lengths(poses)[5].max() == 0


@pytest.mark.parametrize("at_once", [1, 7])
def test_a_stream_comes_to_the_rotations_of_the_clip(dance, at_once):
    poses, bones = constant_bones(dance)
    state, streamed = None, []
    for first in range(0, len(poses), at_once):
        rotations, state = next_rotations(poses[first : first + at_once], state)
        streamed.append(rotations)
    rotations = np.concatenate(streamed)
    np.testing.assert_allclose(rotations[-1], joint_rotations(poses)[-1], atol=1e-9)
    assert ((rotations[1:] * rotations[:-1]).sum(-1) > 0).all()
    np.testing.assert_allclose(forward_kinematics(poses[:, 0], rotations, rest_offsets(bones)), poses, atol=1e-9)
    assert change_deg(global_rotations(rotations)).max() < 25
