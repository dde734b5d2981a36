"""Motion as BVH, read by bvhio, by the reader of training data, and as strictly as programs for robots do."""

import re
import warnings

import numpy as np
import pytest
from poselift_training.data.bvh import joint_positions, read_bvh

from poselift.formats.writers.rig.bvh import write_bvh, write_lafan1_bvh, write_mixamo_bvh
from poselift.formats.writers.rig.skeleton import H36M, PLACES
from tests.unit.formats.writers.lifted_tracks import EXACT_M, MANIFEST
from tests.unit.formats.writers.world_motions import moving_track, t_pose

WRITERS = pytest.mark.parametrize(
    ("write", "prefix"), [(write_bvh, ""), (write_mixamo_bvh, "mixamorig:"), (write_lafan1_bvh, "")]
)
# Names that Blender, Unreal, MotionBuilder and the retargeting to robots look for.
EXPECTED = (
    "Hips Spine Spine1 Spine2 Neck Head LeftShoulder LeftArm LeftForeArm LeftHand LeftUpLeg LeftLeg LeftFoot "
    "RightShoulder RightArm RightForeArm RightHand RightUpLeg RightLeg RightFoot"
).split()


def places_by_bvhio(path):
    """World positions [F] in centimetres by the joints' names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how it imports its own dependency
        import bvhio
    root = bvhio.readAsHierarchy(str(path))
    places: dict[str, list[list[float]]] = {}
    first, last = root.getKeyframeRange()
    for frame in range(first, last + 1):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            places.setdefault(joint.Name, []).append(list(joint.PositionWorld))
    return {name: np.array(positions) for name, positions in places.items()}


def places_by_training(path):
    motion = read_bvh(path)
    return dict(zip(motion.joint_names, joint_positions(motion).swapaxes(0, 1), strict=True))


@WRITERS
@pytest.mark.parametrize("read", [places_by_bvhio, places_by_training])
def test_independent_readers_find_the_joints_where_they_are(tmp_path, write, prefix, read):
    track = moving_track(frames=40)
    write(tmp_path / "walk.bvh", MANIFEST, [track])
    places = read(tmp_path / "walk.bvh")
    assert {prefix + name for name in EXPECTED} <= places.keys()
    for number, joint in enumerate(H36M.joint_names):
        if prefix + PLACES[joint] in places:  # bvhio leaves ends out
            np.testing.assert_allclose(
                places[prefix + PLACES[joint]] / 100, track.world.poses[:, number], atol=EXACT_M, err_msg=joint
            )


def test_motion_with_z_up_is_written_with_y_up(tmp_path):
    for up_axis in ("y", "z"):
        write_bvh(tmp_path / f"{up_axis}.bvh", MANIFEST, [moving_track(up_axis=up_axis)])
    upright, turned = (places_by_training(tmp_path / f"{up_axis}.bvh") for up_axis in "yz")
    for place in PLACES.values():  # rotations about the bones are not in the poses, so they differ
        np.testing.assert_allclose(turned[place], upright[place], atol=100 * EXACT_M)


def test_no_rotation_is_a_t_pose_that_faces_forward(tmp_path):
    write_bvh(tmp_path / "t.bvh", MANIFEST, [t_pose()])
    motion = read_bvh(tmp_path / "t.bvh")
    np.testing.assert_allclose(motion.rotations, np.broadcast_to([1.0, 0, 0, 0], motion.rotations.shape), atol=1e-9)
    at = {name: place[0] for name, place in places_by_training(tmp_path / "t.bvh").items()}
    assert at["LeftHand"][0] - at["LeftArm"][0] == pytest.approx(53, abs=1e-3)  # left is +x
    assert at["LeftToeBase_end"][2] > at["LeftFoot"][2] + 10  # forward is +z
    assert abs(at["LeftToeBase"][1]) < 3  # on the ground: hips at 95 cm, legs of 89


def test_axes_of_lafan1_are_those_that_robots_are_tuned_to(tmp_path):
    """A standing person's thighs are turned by (180, 0, 180) from the hips, toes by 90 degrees from the shank."""
    write_lafan1_bvh(tmp_path / "stand.bvh", MANIFEST, [t_pose()])
    motion = read_bvh(tmp_path / "stand.bvh")
    at = {name: number for number, name in enumerate(motion.joint_names)}
    assert {"LeftToe", "RightToe"} <= at.keys()
    # About z, y and x: hips upright (x up, y forward), then the thighs (half a turn about y), then the feet.
    turns = {
        "Hips": (0.5, 0.5, 0.5, 0.5),
        "LeftUpLeg": (0, 0, 1, 0),
        "RightUpLeg": (0, 0, 1, 0),
        "LeftLeg": (1, 0, 0, 0),
    }
    turns |= {"LeftFoot": (np.sqrt(0.5), 0, 0, np.sqrt(0.5))}
    for name, turn in turns.items():
        assert abs(np.dot(motion.rotations[0, at[name]], turn)) == pytest.approx(1, abs=1e-9), name
    # Bones run along x.
    for name in ("LeftLeg", "LeftFoot", "RightForeArm", "RightHand", "LeftForeArm"):
        x, y, z = motion.translations[0, at[name]]
        assert x > 20, name
        np.testing.assert_allclose([y, z], 0, atol=1e-5)


@WRITERS
def test_what_readers_for_robots_cannot_do_is_not_needed(tmp_path, write, prefix):
    """One order of angles, three channels but for the root, single spaces, plain decimals, no empty line."""
    write(tmp_path / "walk.bvh", MANIFEST, [moving_track(frames=9)])
    text = (tmp_path / "walk.bvh").read_text()
    head, motion = text.split("MOTION\n")
    channels = re.findall(r"CHANNELS (\d) (.*)", head)
    assert [count for count, _ in channels] == ["6"] + ["3"] * (len(channels) - 1)
    assert len({tuple(names.split()[-3:]) for _, names in channels}) == 1
    assert re.search(r"^ROOT \S+$", head, re.MULTILINE)
    assert all(
        re.fullmatch(r"OFFSET(?: -?\d+\.\d+){3}", line.strip()) for line in head.splitlines() if "OFFSET" in line
    )
    lines = motion.rstrip("\n").split("\n")
    assert lines[:2] == ["Frames: 9", "Frame Time: 0.033333333"]
    assert all(re.fullmatch(r"-?\d+\.\d+(?: -?\d+\.\d+)*", line) for line in lines[2:])


def test_angles_do_not_jump_between_frames(tmp_path):
    write_bvh(tmp_path / "walk.bvh", MANIFEST, [moving_track(frames=300)])
    lines = (tmp_path / "walk.bvh").read_text().split("Frame Time: 0.033333333\n")[1].splitlines()
    angles = np.array([line.split() for line in lines], dtype=float)[:, 3:]
    changes_deg = np.abs(np.diff(angles, axis=0))
    assert changes_deg.max() <= 180 + 1e-6
    assert np.median(changes_deg) < 20


def test_uneven_times_are_interpolated(tmp_path):
    whole = moving_track(frames=30)
    kept = [number for number in range(30) if number != 12]
    world = whole.world
    track = moving_track(frames=29, times_s=np.array(kept) / 30)
    track = track._replace(
        world=type(world)(**vars(world) | {"root": world.root[kept], "rotations": world.rotations[kept]})
    )
    write_bvh(tmp_path / "walk.bvh", MANIFEST, [track])
    places = places_by_training(tmp_path / "walk.bvh")
    assert len(places["Hips"]) == 30
    np.testing.assert_allclose(places["LeftFoot"][kept] / 100, world.poses[kept, 6], atol=EXACT_M)
    np.testing.assert_allclose(places["Hips"][12], 50 * (world.root[11] + world.root[13]), atol=1e-3)
    shank_cm = np.linalg.norm(places["LeftFoot"] - places["LeftLeg"], axis=1)
    np.testing.assert_allclose(shank_cm, 45, atol=1e-4)
