"""From detected keypoints to what a lifter takes, and from its answer to poses.

The server and the command line both come through here and run the network in the same form, so they give the same
numbers; they may differ in the last digit that is printed where windows were batched otherwise.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.coordinates import mirror, to_screen
from poselift.errors import InvalidKeypoints
from poselift.lifters.lifter import Lifter, Task
from poselift.skeletons import Skeleton, convert_positions
from poselift.windows import Blend, count_overlapping_windows, plan_overlapping_windows, plan_windows

# Detections may lie outside of the picture, but not this far: a larger number is a broken one.
MAX_POSITION_PX = 1e6
# Scores are meant to lie in [0, 1]. Peaks of heat maps go somewhat higher; percentages would pass every threshold.
MAX_SCORE = 10.0
# Enough for a time of day in seconds.
MAX_TIMESTAMP_S = 1e11

# Windows per forward pass when lifting without a server: enough to fill a CPU, small enough for any memory.
_WINDOWS_PER_PASS = 256
# The same in samples for lifters that answer for each of them.
_SAMPLES_PER_PASS = 4096


@dataclass(frozen=True)
class Sequence:
    """The detected keypoints of one person over time.

    Attributes:
        keypoints: [F, J, 3] float32: x and y in pixels, score in [0, 1]; x and y are NaN where a joint is missing.
        width_px, height_px: size of the picture they were detected in.
        times_s: [F] strictly increasing.
    Raises:
        InvalidKeypoints: a shape is wrong, a value is infinite, or the times do not increase.
    """

    keypoints: NDArray[np.float32]
    skeleton: Skeleton
    width_px: float
    height_px: float
    times_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        frames = len(self.keypoints)
        if self.keypoints.shape != (frames, self.skeleton.n_joints, 3) or frames == 0:
            raise InvalidKeypoints(
                f"Keypoints of skeleton {self.skeleton.name} must have the shape [frames, {self.skeleton.n_joints}, 3] "
                f"with at least one frame, not {list(self.keypoints.shape)}.",
                path="keypoints",
            )
        if np.isinf(self.keypoints).any():
            raise InvalidKeypoints("Keypoints must be finite numbers.", path="keypoints")
        if not (self.width_px > 0 and self.height_px > 0):
            raise InvalidKeypoints(
                f"The image size must be positive, not {self.width_px} x {self.height_px}.", path="image_size"
            )
        check_times(self.times_s, frames)

    @staticmethod
    def times_at(fps: float, frames: int) -> NDArray[np.float64]:
        """Times [F] of frames at a constant rate.

        Raises:
            InvalidKeypoints: the rate is not a positive, finite number.
        """
        if not (math.isfinite(fps) and fps > 0):
            raise InvalidKeypoints(f"The frame rate must be a positive number, not {fps}.", path="fps")
        return np.arange(frames, dtype=np.float64) / fps


def check_times(times_s: NDArray[np.float64], frames: int) -> None:
    """Raises:
    InvalidKeypoints: there are not as many times as frames, at least one, or they do not increase.
    """
    if times_s.shape != (frames,):
        raise InvalidKeypoints(f"There must be one time per frame ({frames}).", path="timestamps_s")
    # What lies between finite ends and increases is finite.
    ends_are_finite = math.isfinite(times_s[0]) and math.isfinite(times_s[-1])
    if not (ends_are_finite and (times_s[1:] > times_s[:-1]).all()):
        raise InvalidKeypoints("Times must increase from frame to frame.", path="timestamps_s")


@dataclass(frozen=True)
class ScreenFrames:
    """Frames as one lifter takes them, before any window is laid over them.

    Attributes:
        screen: [F, J_in, 2] float32 screen coordinates; NaN where a joint is missing.
        imputed: [F, J_out] the joints that the answer will have to make up in that frame.
    """

    screen: NDArray[np.float32]
    imputed: NDArray[np.bool_]


@dataclass(frozen=True)
class Lifted:
    """3D poses, one per input frame or target.

    Attributes:
        joints: [T, J_out, 3] metres, camera axes (x right, y down, z forward), relative to the root joint, float32;
            poses that were completed from where they came, float64.
        imputed: [T, J_out] the joints that were made up because what they come from was missing.
        expected_error_m: [T, J_out] float32, how far off each joint is likely to be; None when the network does not
            know.
    """

    joints: NDArray[np.floating]
    imputed: NDArray[np.bool_]
    expected_error_m: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Prepared:
    """What the engine needs to lift a sequence: frames, each once, and the windows over them.

    Attributes:
        frames: [U, J_in, 2] float32 screen coordinates (or [U, J_in, 3] poses, for a network that completes them); NaN
            where a joint is missing and the lifter has a token for it.
        index: [T, N] int64 rows of `frames`: the window of each target, by default every input frame; or [W, N], the
            overlapping windows of a sequence-to-sequence lifter.
        imputed: [T, J_out] the joints that the answer had to make up in that frame.
        blend: how the answers for such windows, [W, N, J_out, D], become those of the targets; None where each window
            has one answer, that of its target.
    """

    frames: NDArray[np.float32]
    index: NDArray[np.int64]
    imputed: NDArray[np.bool_]
    blend: Blend | None = None

    def poses(self, answers: NDArray[np.float32]) -> Lifted:
        """Poses of the targets.

        Args:
            answers: to the windows, [T, J_out, D], or to each of their frames, [W, N, J_out, D]: x, y, z in metres, and
                the expected error, in metres too, where the network knows it.
        """
        answer = answers if self.blend is None else self.blend.mix(answers)
        if answer.shape[-1] == 3:
            return Lifted(answer, self.imputed)
        return Lifted(answer[..., :3], self.imputed, expected_error_m=answer[..., 3])


def prepare(sequence: Sequence, manifest: Manifest, targets: NDArray[np.int64] | None = None) -> Prepared:
    """Turn detected keypoints into frames and windows for one lifter.

    Args:
        targets: [T] the frames to lift; None for all.
    Raises:
        InvalidKeypoints: as `screen_frames`.
    """
    frames = screen_frames(sequence, manifest)
    screen = hold_missing(frames.screen) if manifest.missing_joints == "hold" else frames.screen
    return lay_windows(screen, frames.imputed, sequence.times_s, manifest, targets)


def lay_windows(
    frames: NDArray[np.float32],
    imputed: NDArray[np.bool_],
    times_s: NDArray[np.float64],
    manifest: Manifest,
    targets: NDArray[np.int64] | None,
) -> Prepared:
    """Lay the windows of one network over frames [F, J, D] as it takes them.

    Args:
        imputed: [F, J_out].
        times_s: [F].
        targets: [T] the frames that are asked for; None for all.
    """
    place, blend = _place(times_s, manifest, targets), None
    if manifest.sequence_to_sequence:
        plan, blend = plan_overlapping_windows(*place, smoothed=manifest.smoothed)
    else:
        plan = plan_windows(*place, smoothed=manifest.smoothed)
    sampled = np.ascontiguousarray(plan.sample(frames), dtype=np.float32)
    return Prepared(sampled, plan.index, imputed if targets is None else imputed[targets], blend)


def count_windows(times_s: NDArray[np.float64], manifest: Manifest, targets: NDArray[np.int64] | None) -> int:
    """How many windows `lay_windows` will lay, which is the work that a sequence is; found out in a millisecond."""
    if manifest.sequence_to_sequence:
        return count_overlapping_windows(*_place(times_s, manifest, targets))
    return len(times_s) if targets is None else len(targets)


def _place(
    times_s: NDArray[np.float64], manifest: Manifest, targets: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], float, int, int, slice | NDArray[np.int64]]:
    """What functions that plan windows take."""
    wanted = slice(None) if targets is None else targets
    return times_s, manifest.frame_rate_hz, manifest.temporal_stride, manifest.network["frames"], wanted


def screen_frames(sequence: Sequence, manifest: Manifest) -> ScreenFrames:
    """Turn detected keypoints into the joints and coordinates of one lifter, each frame for itself.

    Raises:
        InvalidKeypoints: as `to_screen`.
    """
    # Each NumPy call costs a live frame a microsecond or two, more than the arithmetic in it.
    is_seen = sequence.keypoints[..., 2:] >= manifest.score_threshold  # not where the score itself is NaN
    positions = np.where(is_seen, sequence.keypoints[..., :2], np.float32(np.nan))
    screen = to_screen(
        convert_positions(positions, sequence.skeleton, manifest.source),
        manifest.screen.width_px or sequence.width_px,
        manifest.screen.height_px or sequence.height_px,
    )
    is_missing = np.isnan(screen[..., 0] + screen[..., 1])
    np.copyto(screen, np.nan, where=is_missing[..., None])
    imputed = is_missing
    if manifest.target != manifest.source:
        imputed = np.isnan(convert_positions(screen, manifest.source, manifest.target)[..., 0])
    return ScreenFrames(np.asarray(screen, dtype=np.float32), imputed)


def hold_missing(screen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give every missing joint its last seen position, for lifters that cannot take a hole.

    Before a joint is first seen, it sits in the middle of the joints that are there (or of the picture). Only the past
    is looked at, so a live stream and a finished clip fill their holes alike.

    Args:
        screen: [F, J, 2], NaN where missing.
    """
    return fill_unseen(hold_last_seen(screen))


def hold_last_seen(screen: NDArray[np.float32], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Give every missing joint its last seen position; a joint that was never seen stays NaN.

    Args:
        screen: [F, J, 2], NaN where missing.
        before: [J, 2] this function's answer for the frame before the first one, if there is any.
    """
    if before is not None:
        return hold_last_seen(np.concatenate([before[None], screen]))[1:]
    seen = ~np.isnan(screen[..., 0])
    last_seen = np.maximum.accumulate(np.where(seen, np.arange(len(screen))[:, None], 0), axis=0)
    return np.take_along_axis(screen, last_seen[..., None], axis=0)


def fill_unseen(screen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put joints that are NaN in the middle of the others of their frame, or of the picture when there are none."""
    known = ~np.isnan(screen[..., :1])
    if known.all():
        return screen
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    middle = np.where(known, screen, 0).sum(axis=1, keepdims=True) / count
    return np.where(known, screen, middle).astype(np.float32)


def mirrored(prepared: Prepared, manifest: Manifest) -> Prepared:
    """The same person seen in a mirror, for averaging both answers.

    Returns:
        Frames mirrored, windows and missing joints as they were. The poses that come out must be mirrored back.
    """
    return replace(prepared, frames=mirror(prepared.frames, manifest.source))


def lift(artifact: Artifact, sequence: Sequence, *, mirrored_average: bool = False) -> Lifted:
    """Lift one sequence in this process.

    Args:
        mirrored_average: also lift the mirrored person and average, as the papers do in their tests; twice the work.
    Raises:
        InvalidArtifact: the network does something else.
        InvalidKeypoints: as `prepare`.
    """
    artifact.manifest.require(Task.LIFT)
    prepared = prepare(sequence, artifact.manifest)
    return run(artifact, prepared, mirrored_average=mirrored_average)


def run(artifact: Artifact, prepared: Prepared, *, mirrored_average: bool) -> Lifted:
    """Run a network in this process over what was prepared for it."""
    network = artifact.lifter.for_inference()
    answers = _run(network, prepared, artifact.manifest)
    if mirrored_average:
        other = _run(network, mirrored(prepared, artifact.manifest), artifact.manifest)
        answers = (answers + mirror(other, artifact.manifest.target)) / 2
    return prepared.poses(answers)


@torch.inference_mode()
def _run(network: Lifter, prepared: Prepared, manifest: Manifest) -> NDArray[np.float32]:
    frames, index = torch.from_numpy(prepared.frames), torch.from_numpy(prepared.index)
    whole = network.config.sequence_to_sequence
    per_pass = max(1, _SAMPLES_PER_PASS // network.receptive_field) if whole else _WINDOWS_PER_PASS
    answers = []
    for windows in index.split(per_pass):
        first, last = windows.min(), windows.max()
        embedded = network.embed(frames[first : last + 1])
        answers.append(finish(network.aggregate(embedded[windows - first]).answer, manifest))
    return torch.cat(answers).numpy()


def finish(poses: torch.Tensor, manifest: Manifest) -> torch.Tensor:
    """Make a network's poses [..., J, D] into an answer in metres, its root joint at zero.

    The root is set, not subtracted: the network was trained to answer relative to a root at zero, and the papers report
    their numbers so.
    """
    answer = poses * manifest.unit_m
    answer[..., manifest.target.root, :] = 0
    return answer
