"""Series of conditions for a model's card, in which one property at a time becomes worse than in training.

Only some frames of the data are scored, the same ones for all conditions of a series, so that differences between the
scores come from the conditions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter
from poselift.live_window import LiveWindow
from poselift.progress import progress
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.calibration import Decile, deciles
from poselift_training.evaluation.hidden_joints import hidden_joint_masks
from poselift_training.evaluation.report import Scores
from poselift_training.evaluation.scored_poses import MM_PER_M, ScoredPoses
from poselift_training.evaluation.served import lift_as_served

NOISE = (0.01, 0.03, 0.05)
"""Standard deviations of Gaussian noise in screen coordinates, as in table 8 of P-STMO."""

LOOKAHEADS = (0, 5, 15)
FRAME_RATES = (15, 25, 30, 50, 60)
SCORED_OF_TEN = 2
"""Number of neighbouring frames that are scored in every ten; a velocity needs two."""

_SEED = 20_220_317


@dataclass(frozen=True)
class Condition:
    """One condition of a series.

    Attributes:
        sequences: the input of the lifter, and the frames to score.
        lookahead: frames after each one that may be used for its pose; None: all.
    """

    name: str
    sequences: Sequences
    lookahead: int | None = None

    def to(self, device: torch.device | str) -> "Condition":
        """Copy to another device."""
        return replace(self, sequences=self.sequences.to(device))


@dataclass(frozen=True)
class Series:
    """Scores under a series of conditions.

    Attributes:
        scores: by the name of the condition.
        reference: name of the condition that the others are compared with.
        note: sentences for the card that say what varies.
    """

    scores: dict[str, Scores]
    reference: str
    note: str

    def cost_percent(self, name: str) -> float:
        """Increase of the MPJPE over the reference, in percent."""
        return 100 * (self.scores[name].mpjpe_mm / self.scores[self.reference].mpjpe_mm - 1)


@dataclass(frozen=True)
class ScoredLifter:
    """Scores a lifter, which is in evaluation mode and on the device of the data."""

    lifter: Lifter
    manifest: Manifest

    def series(self, what: str, conditions: Sequence[Condition], *, reference: str, note: str) -> Series:
        """Score each condition.

        Args:
            what: name of the series for the progress bar.
            reference, note: as in `Series`.
        """
        with progress(sum(int(condition.sequences.valid.sum()) for condition in conditions), what) as advance:
            return Series(
                {condition.name: self._score(condition, advance)[0].scores() for condition in conditions},
                reference,
                note,
            )

    def calibration(self, conditions: Sequence[Condition]) -> dict[str, tuple[Decile, ...]]:
        """Compare expected with true errors in each condition; empty for a network without expected errors."""
        if not self.manifest.expected_error:
            return {}
        with progress(
            sum(int(condition.sequences.valid.sum()) for condition in conditions), "expected errors"
        ) as advance:
            return {condition.name: self._deciles(condition, advance) for condition in conditions}

    def _deciles(self, condition: Condition, advance: Callable[[int], None]) -> tuple[Decile, ...]:
        scored, expected_m = self._score(condition, advance)
        assert expected_m is not None, "the manifest says that the network predicts errors"
        joints = [joint for joint in range(scored.skeleton.n_joints) if joint != scored.skeleton.root]
        return deciles(MM_PER_M * expected_m[:, joints].flatten(), scored.errors_mm[:, joints].flatten().cpu())

    def _score(self, condition: Condition, advance: Callable[[int], None]) -> tuple[ScoredPoses, Tensor | None]:
        """Poses in a condition, and their expected errors [M, J] in metres, if the network has them."""
        served = lift_as_served(
            self.lifter, self.manifest, condition.sequences, lookahead=condition.lookahead, advance=advance
        )
        frames = condition.sequences.valid.nonzero()[:, 0]
        return ScoredPoses.match(served.joints, frames, condition.sequences), served.expected_error_m


def subsampled(sequences: Sequences) -> Sequences:
    """Score only two neighbouring frames in every ten; the input stays the same."""
    return replace(sequences, valid=sequences.valid & (sequences.frame_indices % 10 < SCORED_OF_TEN))


def keypoint_conditions(exact: Sequences, detected: Sequences) -> Iterator[Condition]:
    """Exact keypoints, then with Gaussian noise, then detector-like ones."""
    yield Condition("exact", exact)
    # Drawn on the CPU, so that it is the same on every device.
    noise = torch.randn(exact.keypoints.shape, generator=torch.Generator().manual_seed(_SEED))
    noise = noise.to(exact.keypoints.device)
    for deviation in NOISE:
        yield Condition(f"Gaussian, {deviation:g}", replace(exact, keypoints=exact.keypoints + deviation * noise))
    yield Condition("detector-like", detected)


def lookahead_conditions(manifest: Manifest, detected: Sequences) -> Iterator[Condition]:
    """Live streams with increasing lookahead, then the finished clip."""
    assert detected.frame_rate_hz is not None, "simulated views have a frame rate"
    full = LiveWindow.of(manifest, detected.frame_rate_hz, None).lookahead
    for lookahead in LOOKAHEADS:
        if lookahead < full:
            yield Condition(f"{lookahead} frames", detected, lookahead)
    yield Condition("full", detected)


def missing_conditions(exact: Sequences) -> Iterator[Condition]:
    """Random joints hidden, then whole limbs."""
    for name, joints in hidden_joint_masks(exact):
        yield Condition(name, replace(exact, keypoints=exact.keypoints.masked_fill(joints.unsqueeze(-1), torch.nan)))


def frame_rate_conditions(motion: Motion, simulate: Callable[[Motion], Sequences]) -> Iterator[Condition]:
    """The same views at several frame rates; the moments that all rates have in common are scored.

    The views are simulated at a common multiple of the rates, so that all rates share the cameras, and the detector's
    errors at the same moment.

    Args:
        simulate: simulates views of motion at its own frame rate.
    """
    finest = math.lcm(*FRAME_RATES)
    views = simulate(motion.at_rate(finest))
    for rate in FRAME_RATES:
        frames = views.every(finest // rate)
        is_common = frames.frame_indices % (rate // math.gcd(*FRAME_RATES)) == 0
        yield Condition(f"{rate} fps", replace(frames, valid=frames.valid & is_common))
