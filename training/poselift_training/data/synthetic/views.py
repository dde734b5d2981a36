"""Ranges of virtual cameras and detectors, and what one of each sees."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from poselift.errors import InvalidRecipe

OF_WINDOWS = (
    "body_scale",
    "bone_scale",
    "speed",
    "direct",
    "gaps",
    "missing_limb",
    "truncated",
    "proportions",
    "children",
    "composed",
    "white_noise",
    "known",
    "unknown",
)
"""Fields that count for windows with new views each; cameras that see whole recordings see them as they are."""


@dataclass(frozen=True)
class Views:
    """Ranges that virtual cameras and detectors are drawn from.

    Attributes:
        focal: shortest and longest focal length in screen coordinates (2 f / width), drawn log-uniformly; 1 is a wide
            angle of 90 degrees, 3 a portrait lens.
        person_height: smallest and largest share of the picture's height that an upright adult fills.
        aspects: height / width of the pictures, drawn evenly.
        pitch_deg, pitch_spread_deg: mean and standard deviation of the angle by which the camera looks down.
        roll_spread_deg: standard deviation of the camera's roll.
        off_centre: largest distance of the person from the middle of the picture, as a share of its half width.
        body_scale: largest change of a person's size, as a share.
        bone_scale: largest additional change of each bone's length, as a share; equal for left and right.
        speed: largest change of the speed of motion, as a share.
        noise: whether keypoints have a detector's errors, varying definitions of joints, and gaps.
        noise_scale: factor on the typical error.
        direct: share of the windows given as Human3.6M joints, without the detour over COCO keypoints.
        swaps: probability that within 1.6 s a detector takes limbs for those of the other side for a while.
        bursts: probability that within 1.6 s the keypoints of a limb are far less accurate for a while.
        gaps: share of the training windows with more missing joints, drawn as Human3.6M joints: in half of these
            windows up to half of all joints at random, in the others one or two whole limbs in all frames.
        missing_limb: share of the training windows with one whole limb missing in all frames, in addition to `gaps`.
        truncated: share of the training windows that end soon after their middle, as in a live stream: the last
            frame is repeated in place of those to come.
        proportions: largest change of a part of the body (legs, hips, trunk, head, shoulders, arms), as a share.
        children: share of the training windows whose person has the size and the proportions of a child.
        composed: share of the training windows in which limbs move as those of somebody else in the batch.
        white_noise: share of the training windows with additional noise, independent from frame to frame and joint to
            joint, of a standard deviation of up to 0.04 in screen coordinates.
        exact: share of the windows whose detector makes no errors and misses nothing.
        known: probability that a network that takes them is told the focal length, and as much the direction of falling
            and the stature, of a training window.
        unknown: share of the training windows of which it is told none of these.
    Raises:
        InvalidRecipe: a value is outside of its range; the message names it.
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
    missing_limb: float = 0.0
    truncated: float = 0.0
    proportions: float = 0.0
    children: float = 0.0
    composed: float = 0.0
    white_noise: float = 0.0
    exact: float = 0.0
    known: float = 0.0
    unknown: float = 0.0

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
        for name in (*OF_WINDOWS, "swaps", "bursts", "exact"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidRecipe(f"views.{name} is a share from 0 to 1, but is {getattr(self, name)}.")


class View(NamedTuple):
    """What cameras and their detectors see of B sequences.

    Attributes:
        windows, clean: [B, T, 17, 2] as in `poselift_training.data.Batch`.
        joints: [B, T, 17, 3] camera coordinates, metres.
        in_picture: [B, T] share of the joints that are inside the picture.
        up: [B, 3] camera coordinates, the direction away from the floor.
        focal: [B, 1] focal length, screen coordinates.
    """

    windows: torch.Tensor
    clean: torch.Tensor
    joints: torch.Tensor
    in_picture: torch.Tensor
    up: torch.Tensor
    focal: torch.Tensor
