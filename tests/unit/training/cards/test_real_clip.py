import numpy as np
import pytest
from poselift_training.cards.real_clip import bone_lengths, count_swaps

from poselift.skeletons import skeleton

H36M = skeleton("h36m17")


def test_bones_that_keep_their_length_do_not_deviate() -> None:
    random = np.random.default_rng(0)
    still = np.repeat(random.random((1, 17, 3)), 20, axis=0)
    bones = bone_lengths(still, H36M)
    assert len(bones["hip to knee"]) == 2
    assert len(bones["spine to thorax"]) == 1
    assert sum(len(sides) for sides in bones.values()) == 16
    assert max(bone.deviation_percent for sides in bones.values() for bone in sides) < 1e-9
    left_hip, left_knee = H36M.joint_names.index("left_hip"), H36M.joint_names.index("left_knee")
    growing = still.copy()
    growing[:, left_knee] = growing[:, left_hip] + np.linspace(0.9, 1.1, 20)[:, None] * [0, 0.4, 0]
    left, right = bone_lengths(growing, H36M)["hip to knee"]
    assert left.mean_m == pytest.approx(0.4)
    assert left.deviation_percent == pytest.approx(100 * np.linspace(0.9, 1.1, 20).std())
    assert right.deviation_percent < 1e-9


def test_swapped_sides_are_counted() -> None:
    random = np.random.default_rng(0)
    joints = random.random((1, 17, 3)) + 0.01 * random.random((20, 17, 3))
    assert set(count_swaps(joints, H36M).values()) == {0}
    wrists = [H36M.joint_names.index(f"{side}_wrist") for side in ("left", "right")]
    joints[7:9, wrists] = joints[7:9, wrists[::-1]]
    swaps = count_swaps(joints, H36M)
    assert swaps["wrist"] == 2
    assert sum(swaps.values()) == 2
