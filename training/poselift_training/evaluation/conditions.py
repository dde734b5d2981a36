"""How a lifter does when one thing at a time becomes worse than in its training: a model's card shows it.

Every condition is scored on some frames of the data alone, the same ones for all conditions of a series, so that their
differences are those of the condition.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Lifter
from poselift.live import LiveWindow
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.calibration import Decile, deciles
from poselift_training.evaluation.hidden_joints import hide
from poselift_training.evaluation.report import Scores
from poselift_training.evaluation.scored_poses import MM_PER_M, ScoredPoses
from poselift_training.evaluation.served import serve
from poselift_training.progress import progress

NOISE = (0.01, 0.03, 0.05)
"""Deviations of Gaussian noise in screen coordinates, as in table 8 of P-STMO."""

LOOKAHEADS = (0, 5, 15)
FRAME_RATES = (15, 25, 30, 50, 60)
SCORED_OF_TEN = 2
"""Neighbouring frames of every ten that are scored; two of them make a velocity."""

_SEED = 20_220_317


@dataclass(frozen=True)
class Case:
    """One condition of a series.

    Attributes:
        sequences: what the lifter is shown, and the frames to be scored.
        lookahead: frames after each one that its pose may see; None: all.
    """

    name: str
    sequences: Sequences
    lookahead: int | None = None

    def to(self, device: torch.device | str) -> "Case":
        """The same case on another device."""
        return replace(self, sequences=self.sequences.to(device))


@dataclass(frozen=True)
class Series:
    """Scores under a series of conditions.

    Attributes:
        scores: by the name of the condition.
        reference: the condition that the costs of the others are counted from.
        note: sentences that say what varies.
    """

    scores: dict[str, Scores]
    reference: str
    note: str

    def cost_percent(self, name: str) -> float:
        """How much higher the MPJPE is than under the reference."""
        return 100 * (self.scores[name].mpjpe_mm / self.scores[self.reference].mpjpe_mm - 1)


@dataclass(frozen=True)
class Subject:
    """The lifter that is judged: in evaluation mode, on the device of the data."""

    lifter: Lifter
    manifest: Manifest

    def series(self, what: str, cases: Sequence[Case], *, reference: str, note: str) -> Series:
        """Score each case.

        Args:
            what: varies, a word for the progress bar.
            reference, note: as in `Series`.
        """
        with progress(sum(int(case.sequences.valid.sum()) for case in cases), what) as advance:
            return Series({case.name: self._scored(case, advance)[0].scores() for case in cases}, reference, note)

    def calibration(self, cases: Sequence[Case]) -> dict[str, tuple[Decile, ...]]:
        """Expected against true errors of each case; none of a network that expects no errors."""
        if not self.manifest.expected_error:
            return {}
        with progress(sum(int(case.sequences.valid.sum()) for case in cases), "expected errors") as advance:
            return {case.name: self._deciles(case, advance) for case in cases}

    def _deciles(self, case: Case, advance: Callable[[int], None]) -> tuple[Decile, ...]:
        scored, expected_m = self._scored(case, advance)
        assert expected_m is not None, "the network says of itself that it expects errors"
        joints = [joint for joint in range(scored.skeleton.n_joints) if joint != scored.skeleton.root]
        return deciles(MM_PER_M * expected_m[:, joints].flatten(), scored.errors_mm[:, joints].flatten().cpu())

    def _scored(self, case: Case, advance: Callable[[int], None]) -> tuple[ScoredPoses, Tensor | None]:
        """Poses of a case, and the errors [M, J] in metres that the network expects of them, if it does."""
        served = serve(self.lifter, self.manifest, case.sequences, lookahead=case.lookahead, advance=advance)
        frames = case.sequences.valid.nonzero()[:, 0]
        return ScoredPoses.of(served.joints, frames, case.sequences), served.expected_error_m


def thinned(sequences: Sequences) -> Sequences:
    """The same films, of which two neighbouring frames of every ten are scored."""
    return replace(sequences, valid=sequences.valid & (sequences.frame_indices % 10 < SCORED_OF_TEN))


def keypoint_cases(exact: Sequences, detected: Sequences) -> Iterator[Case]:
    """Exact keypoints, then with Gaussian noise, then detector-like ones."""
    yield Case("exact", exact)
    # Drawn on the CPU, so that every device sees the same.
    noise = torch.randn(exact.keypoints.shape, generator=torch.Generator().manual_seed(_SEED))
    noise = noise.to(exact.keypoints.device)
    for deviation in NOISE:
        yield Case(f"Gaussian, {deviation:g}", replace(exact, keypoints=exact.keypoints + deviation * noise))
    yield Case("detector-like", detected)


def lookahead_cases(manifest: Manifest, detected: Sequences) -> Iterator[Case]:
    """A live stream with ever more lookahead, then the finished clip."""
    assert detected.frame_rate_hz is not None, "films have a frame rate"
    full = LiveWindow.of(manifest, detected.frame_rate_hz, None).lookahead
    for lookahead in LOOKAHEADS:
        if lookahead < full:
            yield Case(f"{lookahead} frames", detected, lookahead)
    yield Case("full", detected)


def missing_cases(exact: Sequences) -> Iterator[Case]:
    """Joints hidden by chance, then whole limbs."""
    for name, joints in hide(exact):
        yield Case(name, replace(exact, keypoints=exact.keypoints.masked_fill(joints.unsqueeze(-1), torch.nan)))


def frame_rate_cases(motion: Motion, filmed: Callable[[Motion], Sequences]) -> Iterator[Case]:
    """One film at the frames of each rate; scored are the moments that all rates have in common.

    The film is made at a rate that is a multiple of them all. So every rate has the same camera, and at the same moment
    the same error of the detector.

    Args:
        filmed: films motion at its own rate.
    """
    finest = math.lcm(*FRAME_RATES)
    film = filmed(motion.at_rate(finest))
    for rate in FRAME_RATES:
        frames = film.every(finest // rate)
        is_common = frames.frame_indices % (rate // math.gcd(*FRAME_RATES)) == 0
        yield Case(f"{rate} fps", replace(frames, valid=frames.valid & is_common))
