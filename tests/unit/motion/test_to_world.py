from dataclasses import replace

import numpy as np
import pytest

from poselift.camera import Camera, Person
from poselift.errors import InvalidPoses
from poselift.lifting import Lifted
from poselift.motion.bones import bone_lengths, constant_bones, stature
from poselift.motion.clip import motion_of, with_gravity
from poselift.motion.rotations import forward_kinematics, rest_offsets
from poselift.motion.to_world import to_world
from poselift.motion.world import Gravity, WorldOptions
from poselift.skeletons import skeleton
from tests.unit.motion.filmed import FOCAL_PX, HEIGHT_PX, WIDTH_PX, angle_deg, dancer, filmed

H36M = skeleton("h36m17")
JOINT = {name: index for index, name in enumerate(H36M.joint_names)}
ACROSS = JOINT["left_hip"], JOINT["right_hip"]


@pytest.fixture(scope="module")
def film():
    return filmed(dancer(), pitch_deg=25, roll_deg=-8)


@pytest.fixture(scope="module")
def known(film):
    """The keypoints, with what is to be known of the camera."""
    return replace(film.sequence, camera=Camera(focal_px=FOCAL_PX, gravity=tuple(film.down)))


def upright(film, motion):
    """The truth in the axes of the motion: turned about the vertical, and moved along the floor."""
    world = np.stack([film.world[..., 0], film.world[..., 2], -film.world[..., 1]], axis=-1)
    flat, own = (
        (each[:, :, ::2] - each[:, :1, ::2].mean(0)).reshape(-1, 2) @ [1, 1j] for each in (world, motion.poses)
    )
    turn = np.vdot(flat, own) / abs(np.vdot(flat, own))
    placed = flat * turn + (motion.root[:, ::2].mean(0) @ [1, 1j])
    height = world[..., 1].ravel() + np.median(motion.poses[..., 1] - world[..., 1])
    return np.stack([placed.real, height, placed.imag], axis=-1).reshape(world.shape)


def test_stands_upright_on_the_floor_at_the_origin(film, known):
    motion = to_world(film.poses, None, known, options=WorldOptions(foot_lock="off"))
    np.testing.assert_allclose(motion.poses, upright(film, motion), atol=0.08)
    np.testing.assert_allclose(motion.root[0, ::2], 0, atol=1e-9)
    ankles = motion.poses[:, [JOINT["left_ankle"], JOINT["right_ankle"]], 1].min(axis=1)
    assert np.quantile(ankles, 0.1) == pytest.approx(0.085, abs=0.02)
    assert motion.gravity.given
    assert motion.focal_given


def test_faces_z_at_the_start(film, known):
    motion = to_world(film.poses, None, known)
    left = motion.poses[0, ACROSS[0]] - motion.poses[0, ACROSS[1]]
    assert angle_deg(left, [1, 0, 0]) < 15


def test_z_up_is_the_same_world_turned(film, known):
    y_up = to_world(film.poses, None, known)
    z_up = to_world(film.poses, None, known, options=WorldOptions(up_axis="z"))
    assert z_up.up_axis == "z"
    np.testing.assert_allclose(z_up.poses[..., 2], y_up.poses[..., 1])
    np.testing.assert_allclose(z_up.poses[..., 0], y_up.poses[..., 0])
    assert np.linalg.det(np.linalg.lstsq(y_up.poses[0], z_up.poses[0])[0]) == pytest.approx(1)


def test_height_sets_the_scale_of_body_and_way(film, known):
    options = WorldOptions(foot_lock="off")  # feet stand at some speed, whatever their size
    small = to_world(film.poses * 0.7, None, known, options)
    person = Person(height_m=stature(constant_bones(film.poses)[1]))
    sized = to_world(film.poses * 0.7, None, replace(known, person=person), options)
    assert small.scale == 1
    assert sized.scale == pytest.approx(1 / 0.7, rel=1e-3)
    assert sized.height_m == pytest.approx(person.height_m)
    np.testing.assert_allclose(sized.bones, constant_bones(film.poses)[1], rtol=5e-3)
    np.testing.assert_allclose(small.root / 0.7, sized.root, atol=0.02)


def test_bones_stay_constant_and_unknown_things_are_marked(film):
    motion = to_world(film.poses, np.full((len(film.poses), 17), 0.05), film.sequence)
    np.testing.assert_allclose(bone_lengths(motion.poses).std(axis=0), 0, atol=1e-9)
    assert not motion.focal_given
    assert motion.focal_px == pytest.approx(np.hypot(WIDTH_PX, HEIGHT_PX) * 0.63, rel=0.01)
    assert not motion.gravity.given
    assert angle_deg(motion.gravity.direction, film.down) < 12


def test_a_hint_of_the_network_counts(film):
    plain = to_world(film.poses, None, film.sequence)
    hint = Gravity(film.down, uncertainty_deg=0.5, given=False)
    hinted = to_world(film.poses, None, film.sequence, gravity_hint=hint)
    assert angle_deg(hinted.gravity.direction, film.down) < angle_deg(plain.gravity.direction, film.down) / 3


def test_what_the_network_tells_of_gravity_is_a_hint(film):
    frames = len(film.poses)
    known = {"gravity": np.tile(film.down, (frames, 1)), "gravity_error": np.full(frames, 0.01)}
    plain = Lifted(film.poses, np.zeros((frames, 17), np.bool_))
    told = motion_of(replace(plain, **known), film.sequence, WorldOptions())
    without = motion_of(plain, film.sequence, WorldOptions())
    assert angle_deg(told.gravity.direction, film.down) < angle_deg(without.gravity.direction, film.down) / 3
    assert told.gravity.uncertainty_deg < without.gravity.uncertainty_deg


def test_what_an_answer_keeps_of_the_networks_gravity_is_told_again(film):
    plain = Lifted(film.poses, np.zeros((len(film.poses), 17), np.bool_))
    told = with_gravity(plain, film.down.tolist(), 2.0, "answer")
    motion = motion_of(told, film.sequence, WorldOptions())
    assert motion.network_gravity is not None
    assert angle_deg(motion.network_gravity.direction, film.down) < 0.05
    assert motion.network_gravity.uncertainty_deg == pytest.approx(2.0, abs=1e-3)
    assert angle_deg(motion.gravity.direction, film.down) < 0.5
    assert motion_of(plain, film.sequence, WorldOptions()).network_gravity is None


@pytest.mark.parametrize(
    ("direction", "uncertainty_deg"),
    [([0.0, 0.0, 0.0], 2.0), ([0.0, 1.0], 2.0), ([0.0, np.nan, 1.0], 2.0), ([0.0, 1.0, 0.0], -1.0)],
)
def test_no_gravity_is_refused(film, direction, uncertainty_deg):
    plain = Lifted(film.poses, np.zeros((len(film.poses), 17), np.bool_))
    with pytest.raises(InvalidPoses, match="leave it out") as refused:
        with_gravity(plain, direction, uncertainty_deg, "world.gravity.network")
    assert refused.value.path == "world.gravity.network"


def test_poses_are_not_changed(film, known):
    before = film.poses.copy()
    to_world(film.poses, None, replace(known, person=Person(1.5)))
    np.testing.assert_array_equal(film.poses, before)


def test_a_single_frame_and_missing_keypoints_will_do(film, known):
    one = replace(known, keypoints=known.keypoints[:1], times_s=known.times_s[:1])
    assert to_world(film.poses[:1], None, one).poses.shape == (1, 17, 3)
    blind = replace(film.sequence, keypoints=np.full_like(known.keypoints, np.nan))
    assert np.isfinite(to_world(film.poses, None, blind).poses).all()


def nobody_around(film, before, after):
    """The film with empty frames around it, for which the network answers with somebody who lies before the camera."""
    frames = before + len(film.poses) + after
    lying = np.roll(film.poses[0], 1, axis=-1) * 1.3
    seen = slice(before, before + len(film.poses))
    poses, keypoints = np.tile(lying, (frames, 1, 1)), np.full((frames, 17, 3), np.nan, np.float32)
    poses[seen], keypoints[seen] = film.poses, film.sequence.keypoints
    sequence = replace(film.sequence, keypoints=keypoints, times_s=np.arange(frames) / 50)
    return poses, sequence, seen


@pytest.mark.parametrize(("before", "after"), [(300, 0), (0, 300), (400, 400)])
@pytest.mark.parametrize("gravity_is_given", [True, False])
def test_frames_without_anybody_leave_the_world_of_the_others_alone(film, before, after, gravity_is_given):
    camera = Camera(FOCAL_PX, gravity=tuple(film.down) if gravity_is_given else None)
    poses, sequence, seen = nobody_around(film, before, after)
    told = {"gravity": np.tile([0.0, 0.0, 1.0], (len(poses), 1)), "gravity_error": np.full(len(poses), 0.02)}
    told["gravity"][seen] = film.down
    alone = Lifted(film.poses, np.zeros((len(film.poses), 17), np.bool_))
    alone = replace(alone, **{name: values[seen] for name, values in told.items()})
    among = replace(Lifted(poses, np.zeros((len(poses), 17), np.bool_)), **told)
    options = WorldOptions(foot_lock="off")
    wanted = motion_of(alone, replace(film.sequence, camera=camera), options)
    motion = motion_of(among, replace(sequence, camera=camera), options)
    np.testing.assert_allclose(motion.bones, wanted.bones)
    np.testing.assert_allclose(motion.gravity.direction, wanted.gravity.direction, atol=1e-3)
    np.testing.assert_allclose(motion.poses[seen], wanted.poses, atol=0.01)
    # Nobody walks away over the horizon before they come, or after they have left.
    assert np.linalg.norm(motion.root[:, ::2], axis=1).max() < np.linalg.norm(wanted.root[:, ::2], axis=1).max() + 1


def test_rotations_and_angles_are_answered_if_asked_for(film, known):
    plain = to_world(film.poses, None, known)
    assert plain.rotations is None
    assert plain.angles is None
    motion = to_world(film.poses, None, known, options=WorldOptions(rotations=True, angles=True))
    assert motion.rotations is not None
    assert motion.angles is not None
    rebuilt = forward_kinematics(motion.root, motion.rotations, rest_offsets(motion.bones))
    np.testing.assert_allclose(rebuilt, motion.poses, atol=1e-9)
    assert all(len(degrees) == len(motion.poses) for degrees in motion.angles.values())
    assert motion.angles["left_knee_flexion"].max() > 20


def test_rotations_with_z_up_turn_the_t_pose_with_z_up(film, known):
    motion = to_world(film.poses, None, known, options=WorldOptions(up_axis="z", rotations=True))
    assert motion.rotations is not None
    offsets = rest_offsets(motion.bones)
    z_up = np.stack([offsets[:, 0], -offsets[:, 2], offsets[:, 1]], axis=-1)
    np.testing.assert_allclose(forward_kinematics(motion.root, motion.rotations, z_up), motion.poses, atol=1e-9)
    assert motion.angles is None
