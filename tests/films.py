"""Motion capture filmed by virtual cameras whose pose, lens and place are known: truth for motion in the world."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.cameras import PELVIS, Framing, draw_framing
from poselift_training.data.synthetic.detector import Detector
from poselift_training.data.synthetic.views import Views

from poselift.camera import UNKNOWN_CAMERA, Camera, Person
from poselift.coordinates import to_pixels, world_to_camera
from poselift.motion.bones import bone_lengths, stature
from poselift.sequence import Sequence
from poselift.skeletons import skeleton

H36M = skeleton("h36m17")
# Screen coordinates are centred, so any picture that is large enough serves.
SIZE_PX = 1000.0
_NEAREST_M = 0.8
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Film:
    """What one camera saw, and the truth.

    Attributes:
        name: "source: action".
        exact, detected: keypoints without and with the errors of a detector.
        joints: [F, 17, 3] metres, camera axes.
        world: [F, 17, 3] metres, z up, floor at about 0.
        up: [3] the direction away from the floor in camera axes.
        focal_px: focal length.
        seen: [F] whether half of the joints are in the picture.
    """

    name: str
    exact: Sequence
    detected: Sequence
    joints: Floats
    world: Floats
    up: Floats
    focal_px: float
    seen: NDArray[np.bool_]

    def known(self, kind: str, *, focal: bool = True) -> Sequence:
        """The "exact" or the "detected" keypoints, with the person's height and, if asked, the focal length."""
        sequence: Sequence = getattr(self, kind)
        person = Person(height_m=stature_of(self.joints))
        return replace(sequence, camera=Camera(focal_px=self.focal_px) if focal else UNKNOWN_CAMERA, person=person)


def stature_of(poses: Floats) -> float:
    """Stature in metres by the usual lengths of the bones of poses [F, 17, 3]."""
    return stature(np.median(bone_lengths(poses), axis=0))


def films(
    motion: Motion, seed: int, *, longest_s: float = 10.0, pitch_deg: float | None = None, roll_deg: float | None = None
) -> Iterator[Film]:
    """Film whole clips; long ones are cut, and each part has a camera of its own.

    Args:
        pitch_deg, roll_deg: of the camera; drawn as in training if None.
    """
    views = Views()
    generator = torch.Generator()
    for clip, (start, length) in enumerate(zip(motion.starts.tolist(), motion.lengths.tolist(), strict=True)):
        parts = motion.joints[start : start + length].tensor_split(math.ceil(length / (longest_s * motion.fps)))
        for part, world in enumerate(parts):
            generator.manual_seed(seed * 1_000_003 + clip * 1009 + part)
            pitch = _normal(views.pitch_deg, views.pitch_spread_deg, generator) if pitch_deg is None else pitch_deg
            roll = _normal(0.0, views.roll_spread_deg, generator) if roll_deg is None else roll_deg
            name = f"{motion.sources[clip]}: {motion.actions[clip]}"
            yield _film(name, world, motion.fps, views, (math.radians(pitch), math.radians(roll)), generator)


def _film(
    name: str,
    world: torch.Tensor,
    fps: float,
    views: Views,
    angles: tuple[float, float],
    generator: torch.Generator,
) -> Film:
    framing = draw_framing(views, 1, generator, world.device)
    rotation, position = _place_camera(world, framing, *angles, generator)
    joints = world_to_camera(world[None], rotation, position)
    detector = Detector(views, world.device)
    body = detector.draw_keypoint_definition(world[None], generator)
    places = framing.project(world_to_camera(body, rotation, position))
    screen_per_m = framing.focal[:, None, None, :1] / joints[:, :, :1, 2:]
    errors = detector.draw_errors(places, framing, dt_s=1 / fps, screen_per_m=screen_per_m, generator=generator)
    exact = framing.project(joints)
    return Film(
        name=name,
        exact=_sequence(exact[0], fps),
        detected=_sequence(detector.to_h36m(places + errors)[0], fps),
        joints=joints[0].double().numpy(),
        world=world.double().numpy(),
        up=rotation[0, 0, 2].double().numpy(),
        focal_px=float(framing.focal) * SIZE_PX / 2,
        seen=(framing.contains(exact).float().mean(dim=-1) >= 0.5)[0].numpy(),
    )


def _place_camera(
    world: torch.Tensor, framing: Framing, pitch: float, roll: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Camera-to-world rotation [1, 1, 3, 3] and position [1, 1, 3], so that the person appears as framed."""
    yaw = float(torch.rand((), generator=generator)) * 2 * math.pi
    forward = torch.tensor(
        [math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), -math.sin(pitch)], dtype=world.dtype
    )
    right = torch.tensor([math.sin(yaw), -math.cos(yaw), 0.0], dtype=world.dtype)
    down = torch.linalg.cross(forward, right)
    axes = [math.cos(roll) * right + math.sin(roll) * down, math.cos(roll) * down - math.sin(roll) * right, forward]
    rotation = torch.stack(axes, dim=-1)
    ray = torch.cat([framing.place / framing.focal, torch.ones_like(framing.focal)], dim=-1)[0]
    subject = world[:, PELVIS].mean(dim=0)
    nearest = ((world - subject) @ forward).min()
    distance = torch.maximum(framing.distance_m[0], _NEAREST_M - nearest)
    return rotation[None, None], (subject - rotation @ ray * distance)[None, None]


def _sequence(screen: torch.Tensor, fps: float) -> Sequence:
    pixels = to_pixels(screen, SIZE_PX, SIZE_PX).numpy()
    scores = np.where(np.isnan(pixels[..., :1]), 0, 1)
    keypoints = np.concatenate([pixels, scores], axis=-1).astype(np.float32)
    return Sequence(keypoints, H36M, SIZE_PX, SIZE_PX, Sequence.times_at(fps, len(pixels)))


def _normal(mean: float, spread: float, generator: torch.Generator) -> float:
    return mean + spread * float(torch.randn((), generator=generator))


def shortened(motion: Motion, clips: list[int]) -> Motion:
    """Some of the clips."""
    parts = [motion.joints[motion.starts[clip] : motion.starts[clip] + motion.lengths[clip]] for clip in clips]
    lengths = motion.lengths[clips]
    return replace(
        motion,
        joints=torch.cat(parts),
        starts=lengths.cumsum(0) - lengths,
        lengths=lengths,
        sources=tuple(motion.sources[clip] for clip in clips),
        actions=tuple(motion.actions[clip] for clip in clips),
        subjects=tuple(motion.subjects[clip] for clip in clips),
    )
