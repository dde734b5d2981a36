"""Virtual cameras: where they stand, and how a person appears in their pictures."""

import math
from dataclasses import dataclass

import torch

from poselift.coordinates import project_pinhole
from poselift.lifters.constants import numbers
from poselift_training.data.synthetic.draws import uniform
from poselift_training.data.synthetic.views import Views

PELVIS = 0
# Smallest distance of a joint from the camera.
_NEAREST_M = 0.5
_ADULT_HEIGHT_M = 1.7


@dataclass(frozen=True)
class Framing:
    """How a person is placed in the picture, one picture for each window.

    Attributes:
        focal: [B, 1] focal length, screen coordinates.
        place: [B, 2] position of the person in the picture, screen coordinates.
        distance_m: [B] from the camera to the person.
        aspect: [B] height / width of the picture.
    """

    focal: torch.Tensor
    place: torch.Tensor
    distance_m: torch.Tensor
    aspect: torch.Tensor

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Project camera coordinates [B, T, P, 3], metres, to screen coordinates [B, T, P, 2]."""
        focal = self.focal[:, None].expand(-1, 1, 2)
        return project_pinhole(points, focal, torch.zeros_like(focal))

    def contains(self, positions: torch.Tensor) -> torch.Tensor:
        """Which screen positions [B, T, P, 2] are inside the picture, [B, T, P] bool."""
        x, y = positions.unbind(-1)
        return (x.abs() <= 1) & (y.abs() <= self.aspect[:, None, None])


def draw_framing(views: Views, windows: int, generator: torch.Generator, device: torch.device) -> Framing:
    """Draw a picture for each window."""
    focal = torch.exp(uniform((windows, 1), math.log(views.focal[0]), math.log(views.focal[1]), generator, device))
    choice = torch.randint(len(views.aspects), (windows,), generator=generator, device=device)
    aspect = numbers(views.aspects, device)[choice]
    height = uniform((windows,), *views.person_height, generator, device)
    # At this distance an upright adult fills that share of the picture.
    distance = (focal[:, 0] * _ADULT_HEIGHT_M / (height * 2 * aspect)).clamp(1.6, 12)
    room = torch.stack([torch.ones_like(aspect), aspect * (1 - height).clamp(min=0.1)], dim=-1)
    place = uniform((windows, 2), -views.off_centre, views.off_centre, generator, device) * room
    return Framing(focal, place, distance, aspect)


def draw_cameras(
    views: Views, world: torch.Tensor, framing: Framing, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a camera for each window, so that the person appears as framed.

    Args:
        world: [B, T, 17, 3] metres, z up.
    Returns:
        Camera-to-world rotation [B, 1, 3, 3] and position [B, 1, 3], metres.
    """
    windows, device = len(world), world.device
    yaw = uniform((windows,), -math.pi, math.pi, generator, device)
    pitch = torch.randn(windows, generator=generator, device=device) * math.radians(views.pitch_spread_deg)
    pitch = (pitch + math.radians(views.pitch_deg)).clamp(-0.6, 1.0)
    roll = torch.randn(windows, generator=generator, device=device) * math.radians(views.roll_spread_deg)
    forward = torch.stack([yaw.cos() * pitch.cos(), yaw.sin() * pitch.cos(), -pitch.sin()], dim=-1)
    right = torch.stack([yaw.sin(), -yaw.cos(), torch.zeros_like(yaw)], dim=-1)
    down = torch.linalg.cross(forward, right)
    cos, sin = roll.cos()[:, None], roll.sin()[:, None]
    axes = [cos * right + sin * down, cos * down - sin * right, forward]
    rotation = torch.stack(axes, dim=-1)
    ray = torch.cat([framing.place / framing.focal, torch.ones_like(framing.focal)], dim=-1)
    subject = world[:, :, PELVIS].mean(dim=1)
    # A person who walks towards the camera must not pass through it: move it back until every joint is in front.
    depth = ((world - subject[:, None, None]) * forward[:, None, None]).sum(-1)
    distance = torch.maximum(framing.distance_m, _NEAREST_M - depth.amin(dim=(1, 2)))
    position = subject - (rotation @ (ray * distance[:, None])[..., None])[..., 0]
    return rotation[:, None], position[:, None]
