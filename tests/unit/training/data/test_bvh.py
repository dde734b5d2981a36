"""BVH: the forward kinematics and the 17 joints, compared with another implementation on the same recording."""

import re
from pathlib import Path

import numpy as np
import pytest
from poselift_training.data.bvh import (
    H36M_JOINTS,
    H36M_PARENTS,
    joint_positions,
    read_bvh,
    resample,
    seventeen_joints,
)

from poselift.errors import InvalidFile
from poselift.formats.writers.rig.bvh import write_bvh, write_lafan1_bvh, write_mixamo_bvh
from tests.unit.formats.writers.lifted_tracks import EXACT_M, MANIFEST
from tests.unit.formats.writers.world_motions import moving_track
from tests.unit.training.data.recorded import CMU_UNIT_M, DATA

# The recording has 4 decimals of a degree; the reference was written by other code in float32.
KINEMATICS_M = 1e-5
# The restored thorax bone may lean a little either way; everything above it moves along.
LIMBS_M = 5e-3
# Where spine, thorax, neck and head sit is a matter of definition.
TRUNK_M = 2e-2
LIMBS = [i for i, name in enumerate(H36M_JOINTS) if name not in {"spine", "thorax", "neck_nose", "head"}]
TRUNK = [i for i in range(17) if i not in LIMBS]
MINIMAL = """HIERARCHY
ROOT Hips
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 0 -1 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
10 20 30 0 0 0 0 0 0
10 20 30 90 0 0 0 0 90
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.bvh"
    path.write_text(MINIMAL)
    return path


def z_up_metres(positions):
    x, y, z = np.moveaxis(positions, -1, 0)
    return np.stack([x, -z, y], axis=-1) * CMU_UNIT_M


def test_forward_kinematics_of_a_small_chain(minimal):
    motion = read_bvh(minimal)
    assert motion.joint_names == ("Hips", "Knee", "Knee_end")
    assert motion.frame_rate_hz == 30
    positions = joint_positions(motion)
    np.testing.assert_allclose(positions[0], [[10, 20, 30], [10, 19, 30], [10, 17, 30]], atol=1e-12)
    # A quarter turn about z takes "down" to +x; another one takes it up.
    np.testing.assert_allclose(positions[1], [[10, 20, 30], [11, 20, 30], [11, 22, 30]], atol=1e-12)


def test_forward_kinematics_of_a_real_recording():
    expected = np.load(DATA / "cmu_05_15_cut.npz")
    motion = read_bvh(DATA / "cmu_05_15_cut.bvh")
    assert motion.joint_names == tuple(expected["native_names"])
    assert motion.frame_rate_hz == 120
    ours = z_up_metres(joint_positions(motion))[:: int(expected["native_step"])]
    np.testing.assert_allclose(ours, expected["native_pos"], atol=KINEMATICS_M)


def test_seventeen_joints_of_a_real_recording():
    expected = np.load(DATA / "cmu_05_15_cut.npz")["pos17"]
    ours = seventeen_joints(resample(read_bvh(DATA / "cmu_05_15_cut.bvh").after(1), 50), CMU_UNIT_M)
    assert ours.shape == expected.shape
    distance = np.linalg.norm(ours - expected, axis=-1)
    assert distance[:, LIMBS].max() < LIMBS_M
    assert distance[:, TRUNK].max() < TRUNK_M


def test_the_uncut_recording(shared):
    expected = np.load(shared / "data/samples/cmu_05_15_bvh.npz")
    motion = read_bvh(shared / "data/samples/cmu_05_15.bvh")
    np.testing.assert_allclose(z_up_metres(joint_positions(motion)), expected["native_pos"], atol=KINEMATICS_M)
    ours = seventeen_joints(resample(motion.after(1), 50), CMU_UNIT_M)
    distance = np.linalg.norm(ours - expected["pos17"], axis=-1)
    assert distance[:, LIMBS].max() < LIMBS_M
    assert distance[:, TRUNK].max() < TRUNK_M


@pytest.mark.parametrize("write", [write_bvh, write_mixamo_bvh, write_lafan1_bvh])
def test_own_files_give_the_joints_that_were_written(tmp_path, write):
    track = moving_track(frames=30)
    write(tmp_path / "walk.bvh", MANIFEST, [track])
    joints = seventeen_joints(read_bvh(tmp_path / "walk.bvh"), 0.01)
    x, y, z = np.moveaxis(joints, -1, 0)
    np.testing.assert_allclose(np.stack([x, z, -y], axis=-1), track.world.poses, atol=EXACT_M)


def test_resampling_keeps_bones_and_instants():
    motion = read_bvh(DATA / "cmu_05_15_cut.bvh").after(1)
    joints = seventeen_joints(resample(motion, 50), CMU_UNIT_M)
    rigid = [H36M_JOINTS.index(name) for name in ("rknee", "rfoot", "lknee", "lfoot", "lelbow", "lwrist", "rwrist")]
    lengths = np.linalg.norm(joints[:, rigid] - joints[:, [H36M_PARENTS[joint] for joint in rigid]], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-9)
    # Every fifth sample at 50 Hz falls on a recorded frame at 120 Hz.
    recorded = joint_positions(motion)[::12]
    np.testing.assert_allclose(joint_positions(resample(motion, 50))[::5], recorded, atol=1e-9)


def test_resampling_halfway_of_a_quarter_turn(minimal):
    halfway = joint_positions(resample(read_bvh(minimal), 60))
    assert len(halfway) == 3
    np.testing.assert_allclose(halfway[1, 1], [10 + np.sqrt(0.5), 20 - np.sqrt(0.5), 30], atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("MOTION", "", "line"),
        ("OFFSET 0 -1 0", "OFFSET 0 -1", "line 8"),
        ("OFFSET 0 -1 0", "OFFSET 0 -1 x", "line 8"),
        ("CHANNELS 3 Yrotation", "CHANNELS 2 Yrotation", "line 9"),
        ("CHANNELS 3 Yrotation", "CHANNELS 3 Wrotation", "line 9"),
        ("Frames: 2", "Frames: 3", "3 frames x 9 channels make 27 numbers, not 18"),
        ("Frames: 2", "Frames: two", "Frames:"),
        ("0.0333333", "0", "above 0"),
        ("0.0333333\n10", "0.0333333\nnan", "finite"),
        ("0.0333333\n10", "0.0333333\nten", "numbers only"),
        ("HIERARCHY", "{", "line"),
        ("ROOT Hips", "}", "line 2"),
    ],
)
def test_broken_files_are_refused(minimal, old, new, complaint):
    minimal.write_text(MINIMAL.replace(old, new, 1))
    with pytest.raises(InvalidFile, match=complaint) as refused:
        read_bvh(minimal)
    assert str(minimal) in refused.value.message


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "x.bvh"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InvalidFile, match="not text"):
        read_bvh(path)


def test_missing_joint_names_are_listed(minimal):
    with pytest.raises(InvalidFile, match="LeftUpLeg"):
        seventeen_joints(read_bvh(minimal), 1)


def test_a_wrong_unit_is_refused():
    with pytest.raises(InvalidFile, match="leg would be"):
        seventeen_joints(read_bvh(DATA / "cmu_05_15_cut.bvh"), 0.01)


def renamed_to_mixamo(text, prefix):
    """A file of the CMU release with Mixamo's names; the end of its head becomes a joint of its own."""
    text = re.sub(r"(ROOT|JOINT) (\w+)", rf"\1 {prefix}\2", text)
    head, end = text.split("Head\n", 1)
    return head + "Head\n" + end.replace("End Site", f"JOINT {prefix}HeadTop_End", 1)


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig1:"])
def test_a_prefix_of_names_changes_nothing(tmp_path, prefix):
    original = DATA / "cmu_05_15_cut.bvh"
    path = tmp_path / "mixamo.bvh"
    path.write_text(renamed_to_mixamo(original.read_text(), prefix))
    ours, expected = (seventeen_joints(read_bvh(file), CMU_UNIT_M) for file in (path, original))
    head = [H36M_JOINTS.index("neck_nose"), H36M_JOINTS.index("head")]
    rest = [joint for joint in range(17) if joint not in head]
    np.testing.assert_allclose(ours[:, rest], expected[:, rest], atol=1e-12)
    # Mixamo's head bone is as long as a head, CMU's about half of it.
    assert (np.linalg.norm(ours[:, head] - expected[:, head], axis=-1) < 0.1).all()


# Standing with the arms to the sides, in LAFAN1's hierarchy and axes: bones run along x, and heads have no end.
LAFAN1 = """HIERARCHY
ROOT Hips
{{
OFFSET 0 0 0
CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
{legs}
JOINT Spine {{ OFFSET 6.9 -2.6 0 {channels}
JOINT Spine1 {{ OFFSET 12.59 0 0 {channels}
JOINT Spine2 {{ OFFSET 12.34 0 0 {channels}
JOINT Neck {{ OFFSET 25.83 0 0 {channels}
JOINT Head {{ OFFSET 11.77 0 0 {channels} End Site {{ OFFSET 0 0 0 }} }} }}
{arms}
}} }} }}
}}
MOTION
Frames: 2
Frame Time: 0.033333
{frame}
{frame}
"""


def lafan1(path):
    channels = "CHANNELS 3 Zrotation Yrotation Xrotation"
    leg = (
        "JOINT {0}UpLeg {{ OFFSET 0.1 1.86 {1} {2} JOINT {0}Leg {{ OFFSET 43.5 0 0 {2} "
        "JOINT {0}Foot {{ OFFSET 42.37 0 0 {2} JOINT {0}Toe {{ OFFSET 17.3 0 0 {2} "
        "End Site {{ OFFSET 0 0 0 }} }} }} }} }}"
    )
    arm = (
        "JOINT {0}Shoulder {{ OFFSET 19.75 -1.48 {1} {2} JOINT {0}Arm {{ OFFSET 11.28 0 0 {2} JOINT {0}ForeArm "
        "{{ OFFSET 33 0 0 {2} JOINT {0}Hand {{ OFFSET 25.2 0 0 {2} End Site {{ OFFSET 0 0 0 }} }} }} }} }}"
    )
    still = "0 0 0 "
    text = LAFAN1.format(
        channels=channels,
        legs="\n".join(leg.format(side, z, channels) for side, z in (("Left", 10.55), ("Right", -10.55))),
        arms="\n".join(arm.format(side, z, channels) for side, z in (("Left", 6), ("Right", -6))),
        frame="0 90 0 90 0 90 "
        + ("180 0 180 " + 3 * still) * 2
        + 5 * still
        # The shoulders turn the arms to the sides.
        + "180 -90 0 "
        + 3 * still
        + "180 90 0 "
        + 3 * still,
    )
    for word in ("OFFSET", "CHANNELS", "JOINT", "End Site", "{", "}"):
        text = text.replace(f" {word}", f"\n{word}")
    path.write_text(text)
    return path


def test_lafan1_has_axes_of_its_own(tmp_path):
    joints = dict(zip(H36M_JOINTS, seventeen_joints(read_bvh(lafan1(tmp_path / "lafan1.bvh")), 0.01)[0], strict=True))
    # x to the person's left, y to the back, z up.
    left, back, up = np.eye(3)
    np.testing.assert_allclose(joints["lknee"] - joints["lhip"], -0.435 * up, atol=1e-9)
    np.testing.assert_allclose(joints["rfoot"] - joints["rhip"], -0.8587 * up, atol=1e-9)
    np.testing.assert_allclose(joints["lwrist"] - joints["lshoulder"], 0.582 * left, atol=1e-9)
    np.testing.assert_allclose(joints["rwrist"] - joints["rshoulder"], -0.582 * left, atol=1e-9)
    assert joints["lhip"] @ left > joints["rhip"] @ left
    spine = (joints["spine"] - joints["hip"]) @ up
    assert 0.17 < spine < 0.25
    assert 0.05 < (joints["thorax"] - joints["neck_nose"]) @ back < 0.15
    assert 0.2 < (joints["head"] - joints["thorax"]) @ up < 0.35
    assert abs(joints["head"] @ left) < 1e-9
