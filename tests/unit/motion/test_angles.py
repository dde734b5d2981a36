import numpy as np
import pytest

from poselift.motion.angles import joint_angles
from poselift.motion.rotations import joint_rotations
from tests.unit.motion.rig_poses import H36M, JOINT, posed, recorded

NAMES = {
    "trunk_flexion",
    "trunk_bend",
    "trunk_rotation",
    "pelvis_obliquity",
    *(
        f"{side}_{angle}"
        for side in ("left", "right")
        for angle in (
            "hip_flexion",
            "hip_adduction",
            "hip_rotation",
            "knee_flexion",
            "shoulder_elevation",
            "shoulder_flexion",
            "shoulder_abduction",
            "shoulder_rotation",
            "elbow_flexion",
        )
    ),
}


def angles_of(poses):
    return joint_angles(poses, joint_rotations(poses))


def standing(**turns_deg):
    """Arms hang; other turns are as in the T-pose, and an arm that is given begins there."""
    hanging = {"left_elbow": ("z", -90.0), "right_elbow": ("z", 90.0)}
    return angles_of(
        posed(**{joint: (axis, np.full(9, degrees)) for joint, (axis, degrees) in (hanging | turns_deg).items()})
    )


def test_who_stands_straight_has_no_angles():
    found = standing()
    assert set(found) == NAMES
    for name, degrees in found.items():
        np.testing.assert_allclose(degrees, 0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ({"left_knee": ("x", -40)}, {"left_hip_flexion": 40}),
        ({"right_knee": ("x", 15)}, {"right_hip_flexion": -15}),
        ({"left_knee": ("z", 25)}, {"left_hip_adduction": -25}),
        ({"right_knee": ("z", 25)}, {"right_hip_adduction": 25}),
        ({"left_ankle": ("x", 70)}, {"left_knee_flexion": 70}),
        ({"left_elbow": ("z", -30)}, {"left_shoulder_elevation": 60, "left_shoulder_abduction": 60}),
        ({"right_elbow": ("z", -45)}, {"right_shoulder_elevation": 135, "right_shoulder_abduction": 135}),
        ({"left_wrist": ("y", -80)}, {"left_elbow_flexion": 80}),
        ({"right_wrist": ("y", 80)}, {"right_elbow_flexion": 80}),
        ({"pelvis": ("y", 120)}, {}),
        ({"pelvis": ("z", 10)}, {"trunk_bend": 10, "pelvis_obliquity": 10}),
        ({"pelvis": ("x", 30)}, {"trunk_flexion": 30}),
    ],
)
def test_each_movement_has_its_angle_and_sign(turns, expected):
    found = standing(**turns)
    for name, degrees in found.items():
        assert degrees[4] == pytest.approx(expected.get(name, 0), abs=0.01), name


def test_the_shoulders_turn_to_the_left_of_the_hips():
    found = standing(thorax=("y", 35))
    assert found["trunk_rotation"][4] == pytest.approx(35, abs=0.01)
    assert abs(found["trunk_flexion"][4]) < 0.01


def test_an_arm_to_the_front_is_flexed():
    found = standing(left_elbow=("y", -90), right_elbow=("y", 90))
    for side in ("left", "right"):
        assert found[f"{side}_shoulder_flexion"][4] == pytest.approx(90, abs=0.01)
        assert found[f"{side}_shoulder_abduction"][4] == pytest.approx(0, abs=0.01)


def test_a_bent_limb_tells_how_it_is_turned_inwards():
    """Sitting, the foot goes outwards; elbows bent, the hand goes to the belly."""
    poses = posed(
        left_knee=("x", np.full(9, -90.0)),
        left_ankle=("x", np.full(9, 90.0)),
        right_elbow=("z", np.full(9, 90.0)),
        right_wrist=("y", np.full(9, 90.0)),
    )
    side, turn = np.array([1.0, 0, 0]), np.radians(30)
    shank = poses[:, JOINT["left_ankle"]] - poses[:, JOINT["left_knee"]]
    outwards = np.cos(turn) * shank + np.sin(turn) * np.linalg.norm(shank[0]) * side
    poses[:, JOINT["left_ankle"]] = poses[:, JOINT["left_knee"]] + outwards
    forearm = poses[:, JOINT["right_wrist"]] - poses[:, JOINT["right_elbow"]]
    inwards = np.cos(turn) * forearm + np.sin(turn) * np.linalg.norm(forearm[0]) * side
    poses[:, JOINT["right_wrist"]] = poses[:, JOINT["right_elbow"]] + inwards
    found = angles_of(poses)
    assert found["left_hip_rotation"][4] == pytest.approx(30, abs=0.5)
    assert found["right_shoulder_rotation"][4] == pytest.approx(30, abs=0.5)


def test_sides_are_treated_alike():
    poses = recorded()
    before, after = angles_of(poses), angles_of((poses * (-1, 1, 1))[:, list(H36M.mirror_order)])
    for name in NAMES:
        if name.startswith("left_"):
            np.testing.assert_allclose(after[name], before[name.replace("left", "right")], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(after["trunk_bend"], -before["trunk_bend"], atol=1e-6)
    np.testing.assert_allclose(after["trunk_flexion"], before["trunk_flexion"], atol=1e-6)


def test_angles_do_not_know_where_the_person_faces():
    poses = recorded()
    turned = poses @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]).T + (3, 0, -2)
    before, after = angles_of(poses), angles_of(turned)
    for name in NAMES:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6, err_msg=name)
