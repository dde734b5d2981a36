"""People made by hand whose feet are known to stand or to swing."""

import numpy as np

from poselift.skeletons import skeleton

JOINT = {name: index for index, name in enumerate(skeleton("h36m17").joint_names)}
LEFT, RIGHT = JOINT["left_ankle"], JOINT["right_ankle"]
STANDING_ANKLE_M = 0.085
_STANCE = 0.6  # share of a stride


def walker(seconds=6.0, fps=50.0, pace_m_s=1.2, stride_s=1.1, lift_m=0.12):
    """Somebody who walks ahead, +z: times [F], poses [F, 17, 3], and which feet stand [F, 2] (left, right)."""
    times = np.arange(round(seconds * fps)) / fps
    poses = standing(len(times))
    poses[..., 2] += pace_m_s * times[:, None]
    stands = np.empty((len(times), 2), bool)
    for foot, ankle in enumerate((LEFT, RIGHT)):
        cycle = times / stride_s + foot / 2
        share = np.clip((cycle % 1 - _STANCE) / (1 - _STANCE), 0, 1)
        stands[:, foot] = share == 0
        swing = (1 - np.cos(np.pi * share)) / 2
        poses[:, ankle, 2] = pace_m_s * stride_s * (np.floor(cycle) + swing - foot / 2 + _STANCE / 2)
        poses[:, ankle, 1] = STANDING_ANKLE_M + lift_m * np.sin(np.pi * share) ** 2
        poses[:, ankle - 1] = knee(poses[:, ankle - 2], poses[:, ankle])
    return times, poses, stands


def standing(frames, height_m=0.86):
    """Somebody who stands still, [frames, 17, 3]."""
    pose = np.zeros((17, 3))
    places = {
        "pelvis": (0, 0), "left_hip": (0.1, 0), "right_hip": (-0.1, 0), "left_knee": (0.1, -0.39),
        "right_knee": (-0.1, -0.39), "left_ankle": (0.1, -0.775), "right_ankle": (-0.1, -0.775), "spine": (0, 0.23),
        "thorax": (0, 0.5), "neck_nose": (0, 0.6), "head": (0, 0.75), "left_shoulder": (0.17, 0.48),
        "left_elbow": (0.2, 0.2), "left_wrist": (0.22, -0.04), "right_shoulder": (-0.17, 0.48),
        "right_elbow": (-0.2, 0.2), "right_wrist": (-0.22, -0.04),
    }  # fmt: skip
    for name, (x, y) in places.items():
        pose[JOINT[name]] = x, y + height_m, 0
    return np.repeat(pose[None], frames, axis=0)


def knee(hip, ankle, thigh=0.43, shank=0.43):
    """Knees [F, 3] ahead of the line from hips to ankles."""
    line = ankle - hip
    far = np.linalg.norm(line, axis=-1, keepdims=True)
    along = (thigh**2 - shank**2 + far**2) / (2 * far)
    out = np.sqrt(np.maximum(thigh**2 - along**2, 0))
    ahead = np.array([0, 0, 1]) - line * line[:, 2:] / far**2
    return hip + line / far * along + out * ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)


def shaken(poses, fps, sd_m, lasting_s=0.15, seed=0):
    """With errors like those of lifted poses, which last for a while, the same for all joints or each for its own."""
    draw = np.random.default_rng(seed).standard_normal((len(poses), 18, 3))
    keep = np.exp(-1 / (fps * lasting_s))
    for frame in range(1, len(draw)):
        draw[frame] = keep * draw[frame - 1] + np.sqrt(1 - keep**2) * draw[frame]
    return poses + sd_m * (draw[:, :17] + draw[:, 17:]) / np.sqrt(2)
