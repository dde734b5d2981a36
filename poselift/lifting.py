"""From detected keypoints to the input of a lifter, and from its output to poses.

The server and the command share this code and run the network in the same form, so they return the same numbers, up to
the last printed digit, which may depend on how windows were batched.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.camera import Camera
from poselift.coordinates import mirror, to_screen
from poselift.errors import InvalidArtifact
from poselift.known import known_rows
from poselift.lifters.lifter import Lifter, Task
from poselift.missing import hold_missing
from poselift.overlapping_windows import Blend, count_overlapping_windows, plan_overlapping_windows
from poselift.sequence import Sequence
from poselift.skeletons import Skeleton, convert_positions
from poselift.undistort import principal_point, undistort
from poselift.upright import turn_back, turn_upright, upright
from poselift.windows import WindowPlan, plan_windows

# Windows per forward pass: enough to use a whole CPU, few enough for any memory.
_WINDOWS_PER_PASS = 256
# The same limit in samples, for sequence-to-sequence lifters.
_SAMPLES_PER_PASS = 4096
# Windows over so few frames take longer to plan than to fill, so that plans are kept.
_SHORT_CLIP_FRAMES = 32


@dataclass(frozen=True)
class ScreenFrames:
    """Frames in the skeleton and coordinates of one lifter.

    Attributes:
        screen: [F, J_in, 2] float32 screen coordinates; NaN where a joint is missing. For a lifter that takes them,
            rows of what is known follow, [F, J_in + K, 2], see `poselift.known`.
        imputed: [F, J_out] the joints whose output will not be based on a detection in that frame.
    """

    screen: NDArray[np.float32]
    imputed: NDArray[np.bool_]


@dataclass(frozen=True)
class Lifted:
    """3D poses, one per target frame.

    Attributes:
        joints: [T, J_out, 3] metres, camera axes (x right, y down, z forward): float32, relative to the root joint; or,
            for completed poses, float64, relative to the origin of the given poses.
        imputed: [T, J_out] the joints that were filled in, because the joints they derive from were missing.
        expected_error_m: [T, J_out] float32, expected distance of each joint to its true position; None if the network
            does not estimate it.
        gravity: [T, 3] float32, the direction of falling in camera axes, about of length 1; None if the network does
            not estimate it.
        gravity_error: [T] float32, its expected error, about in radians; None as well.
    """

    joints: NDArray[np.floating]
    imputed: NDArray[np.bool_]
    expected_error_m: NDArray[np.float32] | None = None
    gravity: NDArray[np.float32] | None = None
    gravity_error: NDArray[np.float32] | None = None

    def before(self, camera: Camera) -> "Lifted":
        """These poses, which a network found before a camera without roll, before the camera as it is."""
        gravity = None if self.gravity is None else turn_back(self.gravity, camera)
        return replace(self, joints=turn_back(self.joints, camera), gravity=gravity)


@dataclass(frozen=True)
class Prepared:
    """The network's input for one sequence: distinct frames, and windows over them.

    Attributes:
        frames: [U, J_in, 2] float32 screen coordinates (or [U, J_in, 3] poses, for a network that completes them); NaN
            where a joint is missing and the network has a token for it. Those of the mirrored person may follow.
        index: [T, N] int64 indices into `frames`: the window of each target; or [W, N], the overlapping windows of a
            sequence-to-sequence lifter.
        imputed: [T, J_out] as in `Lifted`.
        blend: how the outputs of overlapping windows, [W, N, J_out, D], or of neighbouring frames of a stream, are
            averaged to those of the targets; None if each window has one output, that of its target.
        ahead: [T] the number of samples after each target, for a sequence-to-sequence lifter that answers for targets
            alone; None: it answers as usual.
    """

    frames: NDArray[np.float32]
    index: NDArray[np.int64]
    imputed: NDArray[np.bool_]
    blend: Blend | None = None
    ahead: NDArray[np.int64] | None = None

    def poses(self, outputs: NDArray[np.float32], manifest: Manifest) -> Lifted:
        """The poses of the targets.

        Args:
            manifest: that of the network, with which this was prepared.
            outputs: of the windows, [T, J_out, D], or of each of their frames, [W, N, J_out, D]: x, y, z in metres, and
                the expected error in metres, if the network estimates it; the direction of falling may follow as one
                more row.
        """
        return as_lifted(self.rows(outputs, manifest), self.imputed)

    def rows(self, outputs: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
        """The outputs for the targets, [T, J_out (+ 1), D]; for the arguments see `poses`."""
        if self.blend is None:
            return outputs
        facing = mirrored_back(outputs, self.blend, manifest.target)
        return mixed(facing if self.ahead is None else facing[:, None], self.blend)


def as_lifted(rows: NDArray[np.float32], imputed: NDArray[np.bool_]) -> Lifted:
    """The poses in outputs for targets, [T, J_out (+ 1), D] as in `Prepared.poses`; `imputed` is [T, J_out]."""
    joints_out = imputed.shape[1]
    joints, errors = rows[:, :joints_out, :3], rows[..., 3] if rows.shape[-1] > 3 else None
    falling = rows[:, joints_out, :3] if rows.shape[1] > joints_out else None
    return Lifted(
        joints,
        imputed,
        None if errors is None else errors[:, :joints_out],
        falling,
        None if errors is None or falling is None else errors[:, joints_out],
    )


def mixed(outputs: NDArray[np.float32], blend: Blend) -> NDArray[np.float32]:
    """Average outputs of windows, [W, N, J_out (+ 1), D], to those of targets, [T, J_out (+ 1), D]."""
    rows = blend.mix(outputs)
    if outputs.shape[-1] > 3 and (blend.weights < 0).any():
        # Positions may be extrapolated; an expected error is a mean, and never negative.
        shares = np.abs(blend.weights)
        shares /= shares.sum(axis=1, keepdims=True)
        rows[..., 3] = replace(blend, weights=shares).mix(outputs[..., 3])
    return rows


def prepare(sequence: Sequence, manifest: Manifest, targets: NDArray[np.int64] | None = None) -> Prepared:
    """Convert detected keypoints to the input of one lifter.

    Args:
        targets: [T] indices of the frames to lift; None for all.
    Raises:
        InvalidKeypoints: as `screen_frames`.
    """
    frames = _input_frames(sequence, manifest)
    return lay_windows(frames.screen, frames.imputed, sequence.elapsed_s, manifest, targets)


def prepare_parts(sequence: Sequence, manifest: Manifest, part_frames: int) -> Iterator[Prepared]:
    """As `prepare` for all frames, in consecutive parts: the windows of a long clip take more memory than its poses.

    Args:
        part_frames: targets of each part but the last.
    Raises:
        InvalidKeypoints: as `screen_frames`.
    """
    frames, count = _input_frames(sequence, manifest), len(sequence.times_s)
    for first in range(0, count, part_frames):
        targets = np.arange(first, min(first + part_frames, count))
        yield lay_windows(frames.screen, frames.imputed, sequence.elapsed_s, manifest, targets)


def _input_frames(sequence: Sequence, manifest: Manifest) -> ScreenFrames:
    """As `screen_frames`, with missing joints as the lifter takes them."""
    frames = screen_frames(sequence, manifest)
    return replace(frames, screen=hold_missing(frames.screen)) if manifest.missing_joints == "hold" else frames


def lay_windows(
    frames: NDArray[np.float32],
    imputed: NDArray[np.bool_],
    times_s: NDArray[np.float64],
    manifest: Manifest,
    targets: NDArray[np.int64] | None,
) -> Prepared:
    """Build the windows of one network over frames in its own skeleton and coordinates.

    Args:
        frames: [F, J_in, D].
        imputed: [F, J_out].
        times_s: [F] seconds.
        targets: [T] indices of the requested frames; None for all.
    """
    if len(times_s) <= _SHORT_CLIP_FRAMES:
        chosen = None if targets is None else targets.astype(np.int64).tobytes()
        plan, blend = _plan_short_clip(times_s.tobytes(), chosen, _WindowLayout.of(manifest))
    else:
        plan, blend = _plan(times_s, targets, _WindowLayout.of(manifest))
    sampled, index = np.ascontiguousarray(plan.sample(frames), dtype=np.float32), plan.index
    if blend is not None and blend.mirrored.any():
        index = index + len(sampled) * blend.mirrored[:, None]
        sampled = np.concatenate([sampled, mirror(sampled, manifest.source)])
    return Prepared(sampled, index, imputed if targets is None else imputed[targets], blend)


def count_windows(times_s: NDArray[np.float64], manifest: Manifest, targets: NDArray[np.int64] | None) -> int:
    """Count the windows of `lay_windows`, the amount of work for a sequence, in about a millisecond."""
    layout = _WindowLayout.of(manifest)
    if layout.overlapping:
        chosen = slice(None) if targets is None else targets
        return count_overlapping_windows(
            times_s,
            layout.rate_hz,
            layout.stride,
            layout.receptive_field,
            chosen,
            smoothed=layout.smoothed,
            smoothed_outputs=layout.smoothed,
        )
    return len(times_s) if targets is None else len(targets)


class _WindowLayout(NamedTuple):
    """How the windows of a network lie in time; hashable."""

    rate_hz: float
    stride: int
    receptive_field: int
    overlapping: bool
    smoothed: bool

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        return cls(
            manifest.frame_rate_hz,
            manifest.temporal_stride,
            manifest.network["frames"],
            manifest.sequence_to_sequence,
            manifest.smoothed,
        )


@lru_cache(maxsize=64)
def _plan_short_clip(times_s: bytes, targets: bytes | None, layout: _WindowLayout) -> tuple[WindowPlan, Blend | None]:
    """As `_plan`; who lifts a frame or two by `POST /lift` asks for the same windows again and again."""
    chosen = None if targets is None else np.frombuffer(targets, np.int64)
    return _plan(np.frombuffer(times_s, np.float64), chosen, layout)


def _plan(
    times_s: NDArray[np.float64], targets: NDArray[np.int64] | None, layout: _WindowLayout
) -> tuple[WindowPlan, Blend | None]:
    chosen = slice(None) if targets is None else targets
    if not layout.overlapping:
        return plan_windows(
            times_s, layout.rate_hz, layout.stride, layout.receptive_field, chosen, smoothed=layout.smoothed
        ), None
    return plan_overlapping_windows(
        times_s,
        layout.rate_hz,
        layout.stride,
        layout.receptive_field,
        chosen,
        smoothed=layout.smoothed,
        smoothed_outputs=layout.smoothed,
    )


def screen_frames(sequence: Sequence, manifest: Manifest) -> ScreenFrames:
    """Convert detected keypoints to the skeleton and coordinates of one lifter, without distortion, frame by frame.

    Lifters take the optical axis to be in the middle of the picture, and cameras to stand upright. Where they are told
    not to, keypoints are moved and turned so that it is as if they were; `Lifted.before` turns the poses back.

    Raises:
        InvalidKeypoints: as `to_screen` and `undistort`.
    """
    sequence = undistort(sequence)
    # For a single live frame, a NumPy call costs a microsecond or two, more than its arithmetic: so there are few.
    is_seen = sequence.keypoints[..., 2:] >= manifest.score_threshold  # False if the score is NaN
    positions = np.where(is_seen, sequence.keypoints[..., :2], np.float32(np.nan))
    size_px = manifest.screen.width_px or sequence.width_px, manifest.screen.height_px or sequence.height_px
    screen = to_screen(convert_positions(positions, sequence.skeleton, manifest.source), *size_px)
    if sequence.camera.principal_point_px is not None:
        screen -= to_screen(principal_point(sequence), *size_px)
    screen = turn_upright(screen, sequence.camera)
    is_missing = np.isnan(screen[..., 0] + screen[..., 1])
    np.copyto(screen, np.nan, where=is_missing[..., None])
    imputed = is_missing
    if manifest.target != manifest.source:
        imputed = np.isnan(convert_positions(screen, manifest.source, manifest.target)[..., 0])
    if manifest.known:
        known = known_rows(upright(sequence.camera), sequence.person, sequence.width_px)
        screen = np.concatenate([screen, np.broadcast_to(known, (len(screen), *known.shape))], axis=1)
    return ScreenFrames(np.asarray(screen, dtype=np.float32), imputed)


def mirrored(prepared: Prepared, manifest: Manifest) -> Prepared:
    """Mirror the person, for averaging the outputs of both.

    Returns:
        Mirrored frames with the same windows and missing joints; `averaged` joins the outputs of both.
    """
    return replace(prepared, frames=mirror(prepared.frames, manifest.source))


def averaged(outputs: NDArray[np.float32], of_mirrored: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Average the network's outputs for a person and for the `mirrored` person, both [..., J_out, D]."""
    mean: NDArray[np.float32] = (outputs + mirror(of_mirrored, manifest.target)) / 2
    return mean


def mirrored_back(outputs: NDArray[np.float32], blend: Blend, skeleton: Skeleton) -> NDArray[np.float32]:
    """Outputs of windows, [W, N, J_out, D], with those of windows that show the mirrored person mirrored back."""
    if not blend.mirrored.any():
        return outputs
    facing = outputs.copy()
    facing[blend.mirrored] = mirror(outputs[blend.mirrored], skeleton)
    return facing


def lift(artifact: Artifact, sequence: Sequence, *, mirrored_average: bool = False) -> Lifted:
    """Lift one sequence in this process.

    Args:
        mirrored_average: also lift the mirrored person and average both, as the papers do in their tests; twice the
            work.
    Raises:
        InvalidArtifact: the network does not lift keypoints.
        InvalidKeypoints: as `prepare`.
    """
    artifact.manifest.require(Task.LIFT)
    prepared = prepare(sequence, artifact.manifest)
    return run(artifact, prepared, mirrored_average=mirrored_average).before(sequence.camera)


def run(artifact: Artifact, prepared: Prepared, *, mirrored_average: bool) -> Lifted:
    """Run a network on prepared input, in this process; poses are before the camera without its roll.

    Raises:
        InvalidArtifact: the network's weights make numbers that are not finite.
    """
    network = artifact.lifter.for_inference()
    outputs = _run_in_passes(network, prepared, artifact.manifest)
    if mirrored_average:
        other = _run_in_passes(network, mirrored(prepared, artifact.manifest), artifact.manifest)
        outputs = averaged(outputs, other, artifact.manifest)
    if not np.isfinite(outputs).all():
        raise not_finite(artifact.manifest)
    return prepared.poses(outputs, artifact.manifest)


def not_finite(manifest: Manifest) -> InvalidArtifact:
    """The error about a network whose outputs are not finite."""
    return InvalidArtifact(f"The model {manifest.name} answered with numbers that are not finite.")


def windows_per_pass(network: Lifter) -> int:
    """How many windows a network lifts in one forward pass, where nobody has measured what is best."""
    if network.config.sequence_to_sequence:
        return max(1, _SAMPLES_PER_PASS // network.receptive_field)
    return _WINDOWS_PER_PASS


@torch.inference_mode()
def _run_in_passes(network: Lifter, prepared: Prepared, manifest: Manifest) -> NDArray[np.float32]:
    frames, index = torch.from_numpy(prepared.frames), torch.from_numpy(prepared.index)
    outputs = []
    for windows in index.split(windows_per_pass(network)):
        first, last = windows.min(), windows.max()
        embedded = network.embed(frames[first : last + 1])
        outputs.append(finish(network.aggregate(embedded[windows - first]).answer, manifest))
    return torch.cat(outputs).numpy()


def finish(poses: torch.Tensor, manifest: Manifest) -> torch.Tensor:
    """Convert the output of a network, [..., J, D], to metres, with the root joint at zero.

    The root is set to zero, not subtracted: the network was trained to predict positions relative to it, and the papers
    compute their scores in this way.
    """
    metres = poses * manifest.unit_m  # also an estimated direction, of which only the direction counts
    metres[..., manifest.target.root, :] = 0
    return metres
