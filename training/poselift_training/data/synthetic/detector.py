"""A simulated COCO keypoint detector: definitions of joints, errors, confusions and gaps."""

import torch

from poselift.lifters.constants import indices
from poselift.skeletons import conversion, skeleton
from poselift_training.data.synthetic.cameras import Framing
from poselift_training.data.synthetic.draws import last_step, smooth_noise, uniform
from poselift_training.data.synthetic.views import Views

_H36M = skeleton("h36m17")
_COCO = skeleton("coco17")

# Typical error of good detectors, metres at the person's distance, by COCO joint: face, then from shoulders to ankles.
_KEYPOINT_ERROR_M = (
    (0.012,) * 5 + (0.018,) * 2 + (0.022,) * 2 + (0.028,) * 2 + (0.026,) * 2 + (0.022,) * 2 + (0.028,) * 2
)
# Occlusions, swaps and bursts are drawn once for each stretch of this length, about a window of the shorter lifters.
_STRETCH_S = 1.6
# Share of the stretches in which a limb is occluded.
_OCCLUSIONS = 0.35
# Keypoints that are hidden together by furniture, other people or the edge of the picture.
_OCCLUDED_TOGETHER = (
    ("left_elbow", "left_wrist"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
    ("left_wrist",),
    ("right_wrist",),
    ("left_knee", "left_ankle"),
    ("right_knee", "right_ankle"),
    ("left_ankle", "right_ankle"),
    ("left_knee", "right_knee", "left_ankle", "right_ankle"),
    ("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
)
# Keypoints that detectors swap together with the other side: legs, arms, or the whole person.
_SWAPPED_TOGETHER = (
    ("left_hip", "left_knee", "left_ankle"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("left_hip", "left_knee", "left_ankle", "left_shoulder", "left_elbow", "left_wrist", "left_eye", "left_ear"),
)
# Factor on the jitter in a burst of errors.
_BURST = 4.0


class Detector:
    """Simulates detections of people in pictures, one detector for each window.

    Its keypoints reach the lifter through the same skeleton conversion as those of a real detector.
    """

    def __init__(self, views: Views, device: torch.device) -> None:
        self.views = views
        self.device = device
        parents, weights = conversion(_COCO, _H36M)
        self._parents = torch.from_numpy(parents).to(device)
        self._weights = torch.from_numpy(weights).to(device)
        self._error_m = torch.tensor(_KEYPOINT_ERROR_M, device=device)
        self._occluded = _keypoint_groups(_OCCLUDED_TOGETHER).to(device)
        one_side = _keypoint_groups(_SWAPPED_TOGETHER)
        self._swapped = (one_side | one_side[:, _COCO.mirror_order]).to(device)

    def to_h36m(self, coco: torch.Tensor) -> torch.Tensor:
        """`poselift.skeletons.convert` for tensors [..., 17, 2]; a missing (NaN) joint takes its children with it."""
        return (coco[..., self._parents, :] * self._weights[..., None]).sum(dim=-2)

    def draw_keypoint_definition(self, world: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Place COCO keypoints on people where each window's detector was trained to find them.

        Args:
            world: [B, T, 17, 3] metres, Human3.6M joints.
        Returns:
            [B, T, 17, 3] metres, COCO joints.
        """
        keypoints = coco_from_h36m(world)
        if not self.views.noise:
            return keypoints
        for left, right, low, high in (
            ("left_hip", "right_hip", 0.9, 1.5),
            ("left_shoulder", "right_shoulder", 0.85, 1.1),
        ):
            pair = indices([_COCO.joint_names.index(left), _COCO.joint_names.index(right)], self.device)
            middle = keypoints[:, :, pair].mean(dim=2, keepdim=True)
            width = uniform((len(world), 1, 1, 1), low, high, generator, self.device)
            keypoints[:, :, pair] = middle + width * (keypoints[:, :, pair] - middle)
        return keypoints

    def draw_errors(
        self,
        exact: torch.Tensor,
        framing: Framing,
        *,
        dt_s: float,
        screen_per_m: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Draw the errors of COCO keypoints.

        Args:
            exact: [B, T, 17, 2] screen coordinates of the keypoints without errors.
            dt_s: time between two frames.
            screen_per_m: [B, T, 1, 1] screen units per metre at the person's distance.
        Returns:
            [B, T, 17, 2] screen coordinates, NaN where the detector misses the joint.
        """
        windows, frames = shape = exact.shape[:2]
        level = torch.exp(0.45 * self._randn((windows, 1, 1, 1), generator)) * self.views.noise_scale
        bias = self._randn((windows, 1, _COCO.n_joints, 2), generator)
        drift = smooth_noise((windows, frames, _COCO.n_joints, 2), dt_s, generator, self.device)
        jitter = self._randn((windows, frames, _COCO.n_joints, 2), generator)
        outlier = self._rand((windows, frames, _COCO.n_joints, 1), generator) < 0.015
        jitter = torch.where(outlier, 6 * jitter, jitter)
        if self.views.bursts:
            burst = self._draw_stretches(shape, dt_s, self.views.bursts, self._occluded, generator)
            jitter = torch.where(burst[..., None], _BURST * jitter, jitter)
        error = screen_per_m * level * self._error_m[:, None] * (0.6 * bias + 0.65 * drift + 0.45 * jitter)
        if self.views.swaps:
            swapped = self._draw_stretches(shape, dt_s, self.views.swaps, self._swapped, generator)
            other_side = exact[:, :, indices(_COCO.mirror_order, self.device)] - exact
            error = error + other_side.masked_fill(~swapped[..., None], 0)
        missing = self._draw_missing(shape, dt_s, generator) | ~framing.contains(exact)
        return error.masked_fill(missing[..., None], torch.nan)

    def _draw_missing(self, shape: torch.Size, dt_s: float, generator: torch.Generator) -> torch.Tensor:
        """Missed keypoints [B, T, 17] bool inside the picture: single ones, and limbs for a while."""
        windows, frames = shape
        rate = 0.12 * self._rand((windows, 1, 1), generator) ** 2
        missing = self._rand((windows, frames, _COCO.n_joints), generator) < rate
        return missing | self._draw_stretches(shape, dt_s, _OCCLUSIONS, self._occluded, generator)

    def _draw_stretches(
        self, shape: torch.Size, dt_s: float, probability: float, groups: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Draw, for each stretch of `_STRETCH_S`, whether one of the groups is affected during a part of it.

        Args:
            shape: B, T.
            probability: that of each stretch.
            groups: [G, 17] bool, keypoints that are affected together.
        Returns:
            [B, T, 17] bool.
        """
        windows, frames = shape
        time = torch.arange(frames, device=self.device) * (dt_s / _STRETCH_S)
        stretch = time.long()  # [T]
        stretches = (windows, last_step(frames, dt_s / _STRETCH_S) + 1)
        group = torch.randint(len(groups), stretches, generator=generator, device=self.device)
        start = self._rand(stretches, generator) * 1.4 - 0.4
        end = start + self._rand(stretches, generator) * 1.1
        end = torch.where(self._rand(stretches, generator) < probability, end, start)
        phase = time - stretch
        during = (phase >= start[:, stretch]) & (phase < end[:, stretch])  # [B, T]
        return during[..., None] & groups[group[:, stretch]]

    def _randn(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=self.device)

    def _rand(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device=self.device)


def _keypoint_groups(together: tuple[tuple[str, ...], ...]) -> torch.Tensor:
    """Groups of COCO keypoints as masks, [G, 17] bool."""
    groups = torch.zeros(len(together), _COCO.n_joints, dtype=torch.bool)
    for row, names in enumerate(together):
        groups[row, [_COCO.joint_names.index(name) for name in names]] = True
    return groups


def coco_from_h36m(joints: torch.Tensor) -> torch.Tensor:
    """Place COCO keypoints on a Human3.6M skeleton: [..., 17, 3] metres -> [..., 17, 3].

    The face is constructed from the head: the tip of the nose is on the line from the thorax through the neck/nose
    joint, eyes and ears are at their average places behind it.
    """
    at = {name: joints[..., index, :] for index, name in enumerate(_H36M.joint_names)}
    nose = at["thorax"] + (at["neck_nose"] - at["thorax"]) / 0.75
    up = torch.nn.functional.normalize(at["head"] - at["thorax"], dim=-1)
    ahead = nose - at["thorax"]
    ahead = torch.nn.functional.normalize(ahead - (ahead * up).sum(-1, keepdim=True) * up, dim=-1)
    left = torch.linalg.cross(up, ahead)
    at["nose"] = nose
    for side, sign in (("left", 1.0), ("right", -1.0)):
        at[f"{side}_eye"] = nose + 0.035 * up - 0.03 * ahead + sign * 0.032 * left
        at[f"{side}_ear"] = nose + 0.02 * up - 0.11 * ahead + sign * 0.075 * left
    return torch.stack([at[name] for name in _COCO.joint_names], dim=-2)
