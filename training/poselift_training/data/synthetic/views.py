"""What a detector would see of motion capture: virtual cameras, detector-like keypoints, noise, gaps.

Everything is batched tensor work on the device the clips live on. A batch is a pure function of seed, rank and step.

Letters: B windows, T frames of each, J = 17 joints.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from poselift.coordinates import project_pinhole, root_relative, world_to_camera
from poselift.errors import InvalidRecipe
from poselift.skeletons import conversion, skeleton
from poselift.windows import window_indices, window_offsets
from poselift_training.data import Batch
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Recording, Sequences

_H36M = skeleton("h36m17")
_COCO = skeleton("coco17")
_PELVIS = 0

# Typical error of good detectors, metres at the person's distance, by COCO joint: face, then from shoulders to ankles.
_KEYPOINT_ERROR_M = (
    (0.012,) * 5 + (0.018,) * 2 + (0.022,) * 2 + (0.028,) * 2 + (0.026,) * 2 + (0.022,) * 2 + (0.028,) * 2
)
# Nearer than this, no joint comes to a camera.
_NEAREST_M = 0.5
# A limb that disappears does so within stretches of this length, about a window of the shorter lifters, and does so in
# this share of them.
_STRETCH_S = 1.6
_OCCLUSIONS = 0.35
# What disappears together behind furniture, other people or the picture's edge.
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
# What detectors take for the other side together: legs, arms, or the whole person.
_SWAPPED_TOGETHER = (
    ("left_hip", "left_knee", "left_ankle"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("left_hip", "left_knee", "left_ankle", "left_shoulder", "left_elbow", "left_wrist", "left_eye", "left_ear"),
)
# How much worse a detector gets in a burst of errors.
_BURST = 4.0


@dataclass(frozen=True)
class Views:
    """Ranges that virtual cameras and detectors are drawn from.

    Attributes:
        focal: shortest and longest focal length in screen coordinates (2 f / width), drawn log-uniformly; 1 is a wide
            angle of 90 degrees, 3 a portrait lens.
        person_height: smallest and largest share of the picture's height that an upright adult fills.
        aspects: pictures' height / width, drawn evenly.
        pitch_deg, pitch_spread_deg: mean and deviation of how far the camera looks down.
        roll_spread_deg: deviation of the camera's roll.
        off_centre: how far from the middle of the picture the person may stand, as a share of its half width.
        body_scale: how much people are shrunk or grown at most, as a share.
        bone_scale: how much each bone of theirs is, besides, the same left and right.
        speed: how much faster or slower they move at most, as a share.
        noise: whether keypoints err, vary in definition and go missing as a detector's do.
        noise_scale: factor on the typical error.
        direct: share of the windows that come as Human3.6M joints, without the way through COCO keypoints.
        swaps: chance that in a stretch of 1.6 s a detector takes limbs for those of the other side for a while.
        bursts: chance that in such a stretch a limb's keypoints are far worse for a while.
        gaps: share of the training windows in which more joints are missing, as Human3.6M joints: in half of these
            windows up to half of all joints at random, in the others one or two whole limbs in all frames.
        truncated: share of the training windows that end soon after their middle, as live ones do: the last frame
            stands for those to come.
    """

    focal: tuple[float, float] = (1.0, 3.2)
    person_height: tuple[float, float] = (0.3, 1.05)
    aspects: tuple[float, ...] = (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)
    pitch_deg: float = 8.0
    pitch_spread_deg: float = 13.0
    roll_spread_deg: float = 7.0
    off_centre: float = 0.4
    body_scale: float = 0.1
    bone_scale: float = 0.0
    speed: float = 0.0
    noise: bool = True
    noise_scale: float = 1.0
    direct: float = 0.1
    swaps: float = 0.0
    bursts: float = 0.0
    gaps: float = 0.0
    truncated: float = 0.0

    def __post_init__(self) -> None:
        for name in ("focal", "person_height"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InvalidRecipe(f"views.{name} must be a range of positive numbers, not {low} to {high}.")
        if not self.aspects or min(self.aspects) <= 0:
            raise InvalidRecipe("views.aspects must hold positive numbers, at least one.")
        for name in ("pitch_spread_deg", "roll_spread_deg", "off_centre", "noise_scale"):
            if getattr(self, name) < 0:
                raise InvalidRecipe(f"views.{name} must not be negative, but is {getattr(self, name)}.")
        for name in ("body_scale", "bone_scale", "speed", "direct", "swaps", "bursts", "gaps", "truncated"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidRecipe(f"views.{name} is a share from 0 to 1, but is {getattr(self, name)}.")


class View(NamedTuple):
    """What one camera and its detector saw.

    Attributes:
        windows, clean: [B, T, 17, 2] as in `Batch`.
        joints: [B, T, 17, 3] camera coordinates, metres.
        in_picture: [B, T] share of the joints that lie inside the picture.
        up: [B, 3] camera coordinates, the direction away from the floor.
    """

    windows: torch.Tensor
    clean: torch.Tensor
    joints: torch.Tensor
    in_picture: torch.Tensor
    up: torch.Tensor


class Detections:
    """Turns world joints into what a COCO detector would report, in the lifter's skeleton.

    The keypoints go through the same skeleton conversion as a real detector's.
    """

    def __init__(self, views: Views, device: torch.device) -> None:
        self.views = views
        self.device = device
        parents, weights = conversion(_COCO, _H36M)
        self._parents = torch.from_numpy(parents).to(device)
        self._weights = torch.from_numpy(weights).to(device)
        self._error_m = torch.tensor(_KEYPOINT_ERROR_M, device=device)
        self._occluded = _groups(_OCCLUDED_TOGETHER).to(device)
        one_side = _groups(_SWAPPED_TOGETHER)
        self._swapped = (one_side | one_side[:, _COCO.mirror_order]).to(device)

    def view(self, world: torch.Tensor, dt_s: float, generator: torch.Generator) -> View:
        """Film each sequence with a camera of its own and detect its keypoints.

        Args:
            world: [B, T, 17, 3] metres, z up, Human3.6M joints.
            dt_s: time between two frames.
        """
        picture = _draw_pictures(self.views, len(world), generator, self.device)
        rotation, translation = _draw_cameras(self.views, world, picture, generator)
        joints = world_to_camera(world, rotation, translation)
        body = self._draw_body(world, generator)
        keypoints = world_to_camera(body, rotation, translation)

        exact = _picture_of(joints, picture)
        detected = _picture_of(keypoints, picture)
        as_lifter = self._to_lifter(detected)
        direct = self._rand((len(world), 1, 1, 1), generator) < self.views.direct
        clean = torch.where(direct, exact, as_lifter)
        windows = clean
        if self.views.noise:
            unit = picture.focal[:, None, None, :1] / joints[:, :, :1, 2:]  # screen units per metre
            windows = clean + self._to_lifter(
                self._draw_noise(world.shape[:2], dt_s, unit, detected, picture, generator)
            )
        in_picture = _inside(exact, picture).float().mean(dim=-1)
        return View(windows, clean, joints, in_picture, up=rotation[:, 0, 2])

    def _to_lifter(self, coco: torch.Tensor) -> torch.Tensor:
        """`poselift.skeletons.convert` for tensors [..., 17, 2]; a missing (NaN) joint takes its children with it."""
        return (coco[..., self._parents, :] * self._weights[..., None]).sum(dim=-2)

    def _draw_body(self, world: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """COCO keypoints of each person, where this window's detector was taught to see them."""
        keypoints = coco_from_h36m(world)
        if not self.views.noise:
            return keypoints
        for left, right, low, high in (
            ("left_hip", "right_hip", 0.9, 1.5),
            ("left_shoulder", "right_shoulder", 0.85, 1.1),
        ):
            pair = [_COCO.joint_names.index(left), _COCO.joint_names.index(right)]
            middle = keypoints[:, :, pair].mean(dim=2, keepdim=True)
            width = _uniform((len(world), 1, 1, 1), low, high, generator, self.device)
            keypoints[:, :, pair] = middle + width * (keypoints[:, :, pair] - middle)
        return keypoints

    def _draw_noise(
        self,
        shape: torch.Size,
        dt_s: float,
        unit: torch.Tensor,
        detected: torch.Tensor,
        picture: "_Pictures",
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Errors of the COCO keypoints [B, T, 17, 2] in screen coordinates, NaN where the detector misses the joint."""
        windows, frames = shape
        level = torch.exp(0.45 * self._randn((windows, 1, 1, 1), generator)) * self.views.noise_scale
        bias = self._randn((windows, 1, _COCO.n_joints, 2), generator)
        drift = _smooth_noise((windows, frames, _COCO.n_joints, 2), dt_s, generator, self.device)
        jitter = self._randn((windows, frames, _COCO.n_joints, 2), generator)
        outlier = self._rand((windows, frames, _COCO.n_joints, 1), generator) < 0.015
        jitter = torch.where(outlier, 6 * jitter, jitter)
        if self.views.bursts:
            burst = self._draw_stretches(shape, dt_s, self.views.bursts, self._occluded, generator)
            jitter = torch.where(burst[..., None], _BURST * jitter, jitter)
        error = unit * level * self._error_m[:, None] * (0.6 * bias + 0.65 * drift + 0.45 * jitter)
        if self.views.swaps:
            swapped = self._draw_stretches(shape, dt_s, self.views.swaps, self._swapped, generator)
            other_side = detected[:, :, list(_COCO.mirror_order)] - detected
            error = error + torch.where(swapped[..., None], other_side, 0)
        return error.masked_fill(self._draw_missing(shape, dt_s, detected, picture, generator)[..., None], torch.nan)

    def _draw_missing(
        self, shape: torch.Size, dt_s: float, detected: torch.Tensor, picture: "_Pictures", generator: torch.Generator
    ) -> torch.Tensor:
        """Which COCO keypoints [B, T, 17] go unseen: single misses, limbs for a while, all outside the picture."""
        windows, frames = shape
        rate = 0.12 * self._rand((windows, 1, 1), generator) ** 2
        missing = self._rand((windows, frames, _COCO.n_joints), generator) < rate
        missing |= self._draw_stretches(shape, dt_s, _OCCLUSIONS, self._occluded, generator)
        return missing | ~_inside(detected, picture)

    def _draw_stretches(
        self, shape: torch.Size, dt_s: float, chance: float, groups: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """In each stretch of time, by chance, one of the groups [G, 17] of keypoints for part of it, [B, T, 17]."""
        windows, frames = shape
        time = torch.arange(frames, device=self.device) * (dt_s / _STRETCH_S)
        stretch = time.long()  # [T]
        stretches = (windows, int(stretch[-1]) + 1)
        group = torch.randint(len(groups), stretches, generator=generator, device=self.device)
        start = self._rand(stretches, generator) * 1.4 - 0.4
        end = start + self._rand(stretches, generator) * 1.1
        end = torch.where(self._rand(stretches, generator) < chance, end, start)
        moment = time - stretch
        during = (moment >= start[:, stretch]) & (moment < end[:, stretch])  # [B, T]
        return during[..., None] & groups[group[:, stretch]]

    def _randn(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=self.device)

    def _rand(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device=self.device)


def _groups(together: tuple[tuple[str, ...], ...]) -> torch.Tensor:
    """Groups of COCO keypoints, [G, 17] bool."""
    groups = torch.zeros(len(together), _COCO.n_joints, dtype=torch.bool)
    for row, names in enumerate(together):
        groups[row, [_COCO.joint_names.index(name) for name in names]] = True
    return groups


def _chains() -> torch.Tensor:
    """[17, 17] float32: 1 where the bone of the second joint lies between the first joint and the root."""
    chains = torch.zeros(_H36M.n_joints, _H36M.n_joints)
    for joint, parent in enumerate(_H36M.parents):
        if parent >= 0:  # a parent comes before its children
            chains[joint] = chains[parent]
            chains[joint, joint] = 1
    return chains


def draw_gaps(
    share: float, windows: int, frames: int, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Human3.6M joints [B, T, 17] that are missing in a share of the windows: at random, or limbs all the time."""
    draw = torch.rand((windows, 1, 1), generator=generator, device=device)
    rate = _uniform((windows, 1, 1), 0, 0.5, generator, device)
    at_random = torch.rand((windows, frames, _H36M.n_joints), generator=generator, device=device) < rate
    limbs = torch.zeros(len(_H36M.limbs), _H36M.n_joints, dtype=torch.bool, device=device)
    for row, joints in enumerate(_H36M.limbs.values()):
        limbs[row, list(joints)] = True
    first, second = (torch.randint(len(limbs), (windows,), generator=generator, device=device) for _ in range(2))
    of_limbs = (limbs[first] | limbs[second])[:, None]
    return torch.where(draw < share / 2, at_random, of_limbs & (draw < share))


class SyntheticWindows:
    """Training windows cut from motion capture at random, each under a camera and a detector of its own."""

    def __init__(
        self,
        motion: Motion,
        views: Views,
        *,
        frames: int,
        stride: int,
        batch_size: int,
        seed: int,
        targets: int = 1,
    ) -> None:
        """Args:
        frames, stride: frames per window, N, and frames of the recording from one to the next.
        targets: frames of a window that a lifter learns from.
        """
        self.motion = motion
        self.views = views
        self.batch_size = batch_size
        self._targets = targets
        self._device = motion.joints.device
        self._offsets = torch.from_numpy(window_offsets(frames, stride)).to(self._device)
        self._stride = stride
        self._seed = seed * 1_000_000_007
        self._weights = motion.clip_weights().float()
        self._detections = Detections(views, self._device)
        self._mirror_order = list(_H36M.mirror_order)
        self._hangs_on = _chains().to(self._device)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that a lifter learns from as many frames in as there are."""
        return math.ceil(len(self.motion.joints) / (self.batch_size * self._targets))

    def batch(self, step: int) -> Batch:
        """Draw the windows of one step, [batch_size, N, 17, ...]."""
        generator = torch.Generator(self._device).manual_seed(self._seed + step)
        index = self._draw_moments(generator)
        world = self._draw_people(index, generator)
        windows, clean, joints, *_ = self._detections.view(world, self._stride / self.motion.fps, generator)
        if self.views.gaps:
            gaps = draw_gaps(self.views.gaps, len(windows), len(self._offsets), generator, self._device)
            windows = windows.masked_fill(gaps[..., None], torch.nan)
        # A frame that is repeated, beyond the ends of a clip or of what has come, was detected once.
        windows = windows.take_along_dim(torch.searchsorted(index, index)[..., None, None], dim=1)
        return Batch(windows, clean, root_relative(joints, _PELVIS))

    def _draw_moments(self, generator: torch.Generator) -> torch.Tensor:
        """Frames of the motion [B, N] around random moments of random clips, in time order."""
        clip = torch.multinomial(self._weights, self.batch_size, replacement=True, generator=generator)
        start, length = self.motion.starts[clip], self.motion.lengths[clip]
        draw = torch.rand(self.batch_size, generator=generator, device=self._device)
        centre = (draw * length).long().clamp(max=length - 1)
        return start[:, None] + window_indices(centre, self._draw_offsets(generator), length[:, None] - 1)

    def _draw_offsets(self, generator: torch.Generator) -> torch.Tensor:
        """Offsets of a window's frames from its middle, the same for all or [B, N]."""
        offsets, one_each = self._offsets, (self.batch_size, 1)
        if self.views.speed:
            faster = math.log1p(self.views.speed)
            offsets = (offsets * _uniform(one_each, -faster, faster, generator, self._device).exp()).round().long()
        if self.views.truncated:
            draw, truncated = (torch.rand(one_each, generator=generator, device=self._device) for _ in range(2))
            # Squared, because the last frames that come are worth more than the first.
            future = (draw**2 * int(self._offsets[-1])).long()
            offsets = torch.where(truncated < self.views.truncated, offsets.minimum(future), offsets)
        return offsets

    def _draw_people(self, index: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """World joints [B, N, 17, 3] at moments [B, N], half of the people mirrored, sizes varied."""
        world = self.motion.joints[index]
        mirrored = world[:, :, self._mirror_order] * world.new_tensor([-1, 1, 1])
        flip = torch.rand(self.batch_size, 1, 1, 1, generator=generator, device=self._device) < 0.5
        world = torch.where(flip, mirrored, world)
        if self.views.bone_scale:
            scale = self.views.bone_scale
            sizes = _uniform((self.batch_size, 1, _H36M.n_joints, 1), 1 - scale, 1 + scale, generator, self._device)
            world = self._with_bones(world, (sizes + sizes[:, :, self._mirror_order]) / 2)
        scale = self.views.body_scale
        return world * _uniform((self.batch_size, 1, 1, 1), 1 - scale, 1 + scale, generator, self._device)

    def _with_bones(self, world: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """People [B, N, 17, 3] whose bones have other lengths, by factors [B, 1, 17, 1], in the same attitude."""
        root, parents = world[:, :, :1], list(_H36M.parents)
        parents[_PELVIS] = _PELVIS
        return root + self._hangs_on @ (sizes * (world - world[:, :, parents]))


def film(motion: Motion, views: Views, seed: int, longest_s: float = 10.0, cameras: int = 1) -> Sequences:
    """Film whole clips for testing, frame after frame; a long clip gets another camera and detector every `longest_s`.

    The same seed gives the same films, and the same cameras with and without noise. Actions are named "source: action".
    Frames in which most of the person is outside of the picture are there, but not to be scored.

    Args:
        longest_s: seconds.
        cameras: how many film each clip, with detectors of their own.
    """
    generator = torch.Generator(motion.joints.device)
    detections = Detections(replace(views, direct=0.0), motion.joints.device)
    recordings: list[Recording] = []
    for clip, (start, length) in enumerate(zip(motion.starts.tolist(), motion.lengths.tolist(), strict=True)):
        parts = math.ceil(length / (longest_s * motion.fps))
        filmed = motion.joints[start : start + length].tensor_split(parts) * cameras
        for part, world in enumerate(filmed):
            # Noise draws from the generator too: only a fresh one for each film keeps the cameras from depending on it.
            generator.manual_seed(seed * 1_000_003 + len(recordings))
            view = detections.view(world[None], 1 / motion.fps, generator)
            recordings.append(
                Recording(
                    subject=motion.subjects[clip],
                    action=f"{motion.sources[clip]}: {motion.actions[clip]}",
                    camera=f"{clip}.{part}",
                    keypoints=view.windows[0].cpu().numpy(),
                    joints=view.joints[0].cpu().numpy(),
                    valid=(view.in_picture[0] >= 0.5).cpu().numpy(),
                    up=view.up[0].cpu().numpy(),
                )
            )
    return Sequences.join(recordings, _H36M, unit_m=1.0, frame_rate_hz=motion.fps).to(motion.joints.device)


def coco_from_h36m(joints: torch.Tensor) -> torch.Tensor:
    """Place COCO keypoints on a Human3.6M skeleton: [..., 17, 3] metres -> [..., 17, 3].

    The face is built around the head: the tip of the nose lies beyond the neck/nose joint as seen from the thorax, eyes
    and ears at their average places behind it.
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


@dataclass(frozen=True)
class _Pictures:
    """One picture per window.

    Attributes:
        focal: [B, 1] screen coordinates.
        place: [B, 2] where the person stands in the picture, screen coordinates.
        distance_m: [B] from the camera to the person.
        aspect: [B] height / width.
    """

    focal: torch.Tensor
    place: torch.Tensor
    distance_m: torch.Tensor
    aspect: torch.Tensor


def _draw_pictures(views: Views, windows: int, generator: torch.Generator, device: torch.device) -> _Pictures:
    focal = torch.exp(_uniform((windows, 1), math.log(views.focal[0]), math.log(views.focal[1]), generator, device))
    choice = torch.randint(len(views.aspects), (windows,), generator=generator, device=device)
    aspect = torch.tensor(views.aspects, device=device)[choice]
    height = _uniform((windows,), *views.person_height, generator, device)
    # An upright adult of 1.7 m fills that share of the picture at this distance.
    distance = (focal[:, 0] * 1.7 / (height * 2 * aspect)).clamp(1.6, 12)
    room = torch.stack([torch.ones_like(aspect), aspect * (1 - height).clamp(min=0.1)], dim=-1)
    place = _uniform((windows, 2), -views.off_centre, views.off_centre, generator, device) * room
    return _Pictures(focal, place, distance, aspect)


def _draw_cameras(
    views: Views, world: torch.Tensor, picture: _Pictures, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cameras around the people: camera-to-world rotation [B, 1, 3, 3] and position [B, 1, 3]."""
    windows, device = len(world), world.device
    yaw = _uniform((windows,), -math.pi, math.pi, generator, device)
    pitch = torch.randn(windows, generator=generator, device=device) * math.radians(views.pitch_spread_deg)
    pitch = (pitch + math.radians(views.pitch_deg)).clamp(-0.6, 1.0)
    roll = torch.randn(windows, generator=generator, device=device) * math.radians(views.roll_spread_deg)
    forward = torch.stack([yaw.cos() * pitch.cos(), yaw.sin() * pitch.cos(), -pitch.sin()], dim=-1)
    right = torch.stack([yaw.sin(), -yaw.cos(), torch.zeros_like(yaw)], dim=-1)
    down = torch.linalg.cross(forward, right)
    cos, sin = roll.cos()[:, None], roll.sin()[:, None]
    axes = [cos * right + sin * down, cos * down - sin * right, forward]
    rotation = torch.stack(axes, dim=-1)
    ray = torch.cat([picture.place / picture.focal, torch.ones_like(picture.focal)], dim=-1)
    subject = world[:, :, _PELVIS].mean(dim=1)
    # Whoever walks towards the camera must not walk through it: it steps back until the nearest joint is in front.
    depth = ((world - subject[:, None, None]) * forward[:, None, None]).sum(-1)
    distance = torch.maximum(picture.distance_m, _NEAREST_M - depth.amin(dim=(1, 2)))
    position = subject - (rotation @ (ray * distance[:, None])[..., None])[..., 0]
    return rotation[:, None], position[:, None]


def _picture_of(points: torch.Tensor, picture: _Pictures) -> torch.Tensor:
    focal = picture.focal[:, None].expand(-1, 1, 2)
    return project_pinhole(points, focal, torch.zeros_like(focal))


def _inside(positions: torch.Tensor, picture: _Pictures) -> torch.Tensor:
    """Which screen positions [B, T, P, 2] lie inside the picture, [B, T, P]."""
    x, y = positions.unbind(-1)
    return (x.abs() <= 1) & (y.abs() <= picture.aspect[:, None, None])


def _smooth_noise(
    shape: tuple[int, int, int, int], dt_s: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Noise of unit variance that changes over a quarter of a second: knots, interpolated at the frames."""
    windows, frames, *rest = shape
    position = torch.arange(frames, device=device) * (dt_s / 0.25)
    lower = position.long()
    share = (position - lower)[:, None, None]
    knots = torch.randn((windows, int(lower[-1]) + 2, *rest), generator=generator, device=device)
    mixed = (1 - share) * knots[:, lower] + share * knots[:, lower + 1]
    return mixed / ((1 - share) ** 2 + share**2).sqrt()


def _uniform(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=device)
