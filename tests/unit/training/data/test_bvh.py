"""BVH: the forward kinematics and the 17 joints, compared with another implementation on the same recording."""

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
