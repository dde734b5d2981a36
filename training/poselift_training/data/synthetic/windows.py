"""Training windows cut from motion capture at random moments, each with new views."""

import math
from collections.abc import Mapping

import torch

from poselift.coordinates import root_relative
from poselift.lifters.constants import indices, numbers
from poselift.skeletons import skeleton
from poselift.windows import window_indices, window_offsets
from poselift_training.data import Batch
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.bodies import compose, draw_proportions, scale_bones
from poselift_training.data.synthetic.cameras import PELVIS
from poselift_training.data.synthetic.draws import uniform
from poselift_training.data.synthetic.known import draw_known_rows
from poselift_training.data.synthetic.simulate import ViewSimulator
from poselift_training.data.synthetic.views import Views

_H36M = skeleton("h36m17")
_LARGEST_WHITE_NOISE = 0.04


class SyntheticWindows:
    """Random windows of motion capture, each seen by a camera and a detector of its own.

    A batch is a pure function of the seed and the step.

    Args:
        frames: frames per window, N.
        stride: frames of the recording from one window frame to the next.
        batch_size: windows per step.
        past: frames before those, which a live stream remembers: windows have N + P frames.
        targets: frames of a window that a lifter learns from.
        shares, rare: as in `Motion.frame_weights`.
        smoothed: whether each frame of a window is the mean with the frames before and after it, as for a smoothed
            artifact.
        known: whether windows have rows of what is known of camera and person, see `poselift.known`.
        gravity: whether poses have the direction of falling as one more row.
    """

    def __init__(
        self,
        motion: Motion,
        views: Views,
        *,
        frames: int,
        stride: int,
        batch_size: int,
        seed: int,
        past: int = 0,
        targets: int = 1,
        shares: Mapping[str, float] | None = None,
        rare: float = 0.0,
        smoothed: bool = False,
        known: bool = False,
        gravity: bool = False,
    ) -> None:
        self.motion = motion
        self.views = views
        self.batch_size = batch_size
        self._targets = targets
        self._known = known
        self._gravity = gravity
        self._device = motion.joints.device
        # The frames that are simulated, and which of them each frame of a window is the mean of.
        self._reach = last = int(window_offsets(frames, stride)[-1])
        self._spacing = 1 if smoothed else stride
        first = -last - past * stride
        seen = range(first - 1, last + 2) if smoothed else range(first, last + 1, stride)
        self._offsets = torch.tensor(seen, device=self._device)
        middle = torch.arange(past + frames, device=self._device)[:, None] * (stride if smoothed else 1)
        self._averaged = middle + torch.arange(3 if smoothed else 1, device=self._device)
        self._seed = seed * 1_000_000_007
        self._weights = motion.clip_weights(shares).float()
        # Rounding of their sum must not put a draw beyond the last frame: hence float64.
        self._rare = motion.frame_weights(shares, rare).cumsum(0) if rare else None
        self._simulator = ViewSimulator(views, self._device)
        self._mirror_order = indices(_H36M.mirror_order, self._device)

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which a lifter has learned from as many frames as the motion has."""
        return math.ceil(len(self.motion.joints) / (self.batch_size * self._targets))

    def batch(self, step: int) -> Batch:
        """Draw the windows of one step, [batch_size, N, 17, ...]."""
        generator = torch.Generator(self._device).manual_seed(self._seed + step)
        index = self._draw_moments(generator)
        world = self._draw_people(index, generator)
        view = self._simulator.view(world, self._spacing / self.motion.fps, generator)
        windows = view.windows
        if self.views.white_noise:
            windows = windows + draw_white_noise(self.views.white_noise, windows.shape, generator, self._device)
        # Copies of one frame, past the ends of a clip or of a truncated window, have the same keypoints.
        windows = windows.take_along_dim(torch.searchsorted(index, index)[..., None, None], dim=1)
        windows = windows[:, self._averaged].nanmean(dim=2)
        middle = self._averaged[:, self._averaged.shape[1] // 2]
        targets = root_relative(view.joints[:, middle], PELVIS)
        if self.views.gaps:
            gaps = draw_gaps(self.views.gaps, len(windows), len(middle), generator, self._device)
            windows = windows.masked_fill(gaps[..., None], torch.nan)
        if self.views.missing_limb:
            limb = draw_missing_limb(self.views.missing_limb, len(windows), generator, self._device)
            windows = windows.masked_fill(limb[:, None, :, None], torch.nan)
        if self._known:
            known = draw_known_rows(view, self.views.known, self.views.unknown, generator)
            windows = torch.cat([windows, known[:, middle]], dim=2)
        if self._gravity:
            falling = -view.up[:, None, None].expand(-1, targets.shape[1], 1, -1)
            targets = torch.cat([targets, falling], dim=2)
        return Batch(windows, view.clean[:, middle], targets)

    def _draw_moments(self, generator: torch.Generator) -> torch.Tensor:
        """Frames of the motion [B, N] around random moments of random clips, in time order."""
        clip, centre = self._draw_clips(generator) if self._rare is None else self._draw_rare(self._rare, generator)
        start, length = self.motion.starts[clip], self.motion.lengths[clip]
        return start[:, None] + window_indices(centre, self._draw_offsets(generator), length[:, None] - 1)

    def _draw_clips(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips [B], and a frame of each, all frames of a clip alike."""
        clip = torch.multinomial(self._weights, self.batch_size, replacement=True, generator=generator)
        length = self.motion.lengths[clip]
        draw = torch.rand(self.batch_size, generator=generator, device=self._device)
        return clip, (draw * length).long().clamp(max=length - 1)

    def _draw_rare(self, below: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, frames by weights of their own; `below` [T] are these, summed up."""
        draw = torch.rand(self.batch_size, generator=generator, device=self._device, dtype=torch.float64)
        frame = torch.searchsorted(below, draw * below[-1], right=True).clamp(max=len(below) - 1)
        clip = torch.searchsorted(self.motion.starts, frame, right=True) - 1
        return clip, frame - self.motion.starts[clip]

    def _draw_offsets(self, generator: torch.Generator) -> torch.Tensor:
        """Offsets of the frames of a window from its middle: [N] for all windows, or [B, N]."""
        offsets, one_each = self._offsets, (self.batch_size, 1)
        if self.views.speed:
            faster = math.log1p(self.views.speed)
            offsets = (offsets * uniform(one_each, -faster, faster, generator, self._device).exp()).round().long()
        if self.views.truncated:
            draw, truncated = (torch.rand(one_each, generator=generator, device=self._device) for _ in range(2))
            # Squared, so that short futures are more frequent: the first frames after the middle help the most.
            future = (draw**2 * self._reach).long()
            offsets = torch.where(truncated < self.views.truncated, offsets.minimum(future), offsets)
        return offsets

    def _draw_people(self, index: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """World joints [B, N, 17, 3] at moments [B, N]: half of the people mirrored, sizes varied."""
        world = self.motion.joints[index]
        mirrored = world[:, :, self._mirror_order] * numbers([-1, 1, 1], self._device)
        flip = torch.rand(self.batch_size, 1, 1, 1, generator=generator, device=self._device) < 0.5
        world = torch.where(flip, mirrored, world)
        if self.views.bone_scale:
            scale = self.views.bone_scale
            factors = uniform((self.batch_size, 1, _H36M.n_joints, 1), 1 - scale, 1 + scale, generator, self._device)
            world = scale_bones(world, (factors + factors[:, :, self._mirror_order]) / 2)
        if self.views.composed:
            world = compose(world, self.views.composed, generator)
        if self.views.proportions or self.views.children:
            world = draw_proportions(world, self.views.proportions, self.views.children, generator)
        scale = self.views.body_scale
        return world * uniform((self.batch_size, 1, 1, 1), 1 - scale, 1 + scale, generator, self._device)


def draw_white_noise(share: float, shape: torch.Size, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Draw noise [B, T, 17, 2] for a share of the windows, each with a level of its own; zero for the others."""
    windows = shape[0]
    noisy = torch.rand((windows, 1, 1, 1), generator=generator, device=device) < share
    level = uniform((windows, 1, 1, 1), 0, _LARGEST_WHITE_NOISE, generator, device)
    return torch.randn(shape, generator=generator, device=device) * (noisy * level)


def draw_gaps(
    share: float, windows: int, frames: int, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Draw missing Human3.6M joints, [B, T, 17] bool.

    Args:
        share: share of the windows with missing joints: in half of them joints at random, in the others one or two
            limbs in all frames.
    """
    draw = torch.rand((windows, 1, 1), generator=generator, device=device)
    rate = uniform((windows, 1, 1), 0, 0.5, generator, device)
    at_random = torch.rand((windows, frames, _H36M.n_joints), generator=generator, device=device) < rate
    whole_limbs = (_draw_limbs(windows, generator, device) | _draw_limbs(windows, generator, device))[:, None]
    return torch.where(draw < share / 2, at_random, whole_limbs & (draw < share))


def draw_missing_limb(share: float, windows: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Draw the joints of one limb for a share of the windows, [B, 17] bool; none for the others."""
    missing = torch.rand((windows, 1), generator=generator, device=device) < share
    return _draw_limbs(windows, generator, device) & missing


def _draw_limbs(windows: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Draw the joints of an arm or leg for each window, [B, 17] bool."""
    is_in_limb = [joint in joints for joints in _H36M.limbs.values() for joint in range(_H36M.n_joints)]
    limbs = indices(is_in_limb, device).view(-1, _H36M.n_joints) > 0
    return limbs[torch.randint(len(limbs), (windows,), generator=generator, device=device)]
