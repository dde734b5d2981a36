"""Lifts whole clips in this process, as fast as the server's engine does where there is enough to lift.

Choosing the fastest network takes some seconds. So PyTorch begins, and the choice is made once its pace tells that the
rest would take longer.
"""

import logging
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted, Prepared, averaged, mirrored, not_finite, prepare_parts, windows_per_pass
from poselift.networks.candidates import candidates
from poselift.networks.network import EngineUnavailable
from poselift.networks.slice import Slice
from poselift.networks.torch_cpu import TorchNetwork, for_inference
from poselift.networks.tuned import TunedNetwork
from poselift.sequence import Sequence

# Frames whose windows are laid at a time: hundreds of megabytes for the largest networks.
_PART_FRAMES = 16_384
# PyTorch's pace is known after this time, because the first passes are slow.
_PACE_S = 1.0
# The choice of a network is worth its time if PyTorch needed longer than this.
_WORTH_CHOOSING_S = 15.0
# A server is tuned for weeks, and a file for minutes.
_ROUNDS_S = 0.1

logger = logging.getLogger(__name__)


class ClipLifter:
    """Lifts clips with one artifact; what it learns about networks serves all of them."""

    def __init__(self, artifact: Artifact, *, worth_choosing_s: float = _WORTH_CHOOSING_S) -> None:
        """Prepare PyTorch.

        Args:
            worth_choosing_s: how long PyTorch's work, past and to come, must take for other networks to be measured.
        """
        manifest = self._manifest = artifact.manifest
        manifest.require(Task.LIFT)
        self._artifact = artifact
        self._worth_choosing_s = worth_choosing_s
        self._torch = TorchNetwork(for_inference(artifact, "cpu"), manifest, threads=torch.get_num_threads())
        self._torch_windows = windows_per_pass(artifact.lifter)
        self._torch_s = 0.0
        self._torch_frames = 0.0
        self._tuned: TunedNetwork | None = None
        self._is_decided = False

    @property
    def manifest(self) -> Manifest:
        """That of the artifact."""
        return self._manifest

    @property
    def network(self) -> TorchNetwork | TunedNetwork:
        """What lifts the next windows."""
        return self._tuned or self._torch

    def lift(
        self,
        sequence: Sequence,
        *,
        mirrored_average: bool = False,
        advance: Callable[[float], None] = lambda frames: None,
    ) -> Lifted:
        """Lift one sequence; the poses are those of `lifting.lift`, to the rounding of another network.

        Args:
            mirrored_average: as for `lifting.lift`.
            advance: called with the number of frames that were lifted since the last call.
        Raises:
            InvalidArtifact: the network's weights make numbers that are not finite.
            InvalidKeypoints: as `lifting.prepare`.
        """
        left, parts = float(len(sequence.times_s)), []
        try:
            for prepared in prepare_parts(sequence, self._manifest, _PART_FRAMES):
                parts.append(self._lift_part(prepared, left, mirrored_average, advance))
                left -= len(prepared.imputed)
        except FloatingPointError:
            raise not_finite(self._manifest) from None
        return _joined(parts).before(sequence.camera)

    def _lift_part(
        self, prepared: Prepared, frames_left: float, mirrored_average: bool, advance: Callable[[float], None]
    ) -> Lifted:
        passes = 2 if mirrored_average else 1
        outputs = self._outputs(prepared, frames_left, passes, advance)
        if mirrored_average:
            other = self._outputs(mirrored(prepared, self._manifest), frames_left, passes, advance)
            outputs = averaged(outputs, other, self._manifest)
        return prepared.poses(outputs, self._manifest)

    def _outputs(
        self, prepared: Prepared, frames_left: float, passes: int, advance: Callable[[float], None]
    ) -> NDArray[np.float32]:
        """The network's outputs for the windows of a part, by batches."""
        windows = Slice(prepared.frames, prepared.index)
        count, first, outputs = len(prepared.index), 0, []
        frames_per_window = len(prepared.imputed) / count / passes
        while first < count:
            self._decide(frames_left)
            batch = windows.part(first, min(first + self._batch_windows, count))
            frames = len(batch.index) * frames_per_window
            outputs.append(self._lift_batch(batch, frames))
            first += len(batch.index)
            frames_left -= frames
            advance(frames)
        return np.concatenate(outputs)

    @property
    def _batch_windows(self) -> int:
        return self._torch_windows if self._tuned is None else self._tuned.batch_windows

    def _lift_batch(self, batch: Slice, frames: float) -> NDArray[np.float32]:
        if self._tuned is not None:
            return self._tuned.lift(batch)
        started = time.monotonic()
        outputs = self._torch.lift(batch.frames, batch.index)
        self._torch_s += time.monotonic() - started
        self._torch_frames += frames
        if not np.isfinite(outputs).all():
            raise FloatingPointError
        return outputs

    def _decide(self, frames_left: float) -> None:
        """Choose the fastest network if PyTorch would need long for all frames, those of earlier clips included."""
        if self._is_decided or self._torch_s <= _PACE_S:
            return
        if self._torch_s * (1 + frames_left / self._torch_frames) < self._worth_choosing_s:
            return
        self._is_decided = True
        make_candidates = candidates(self._artifact, library="auto", device="auto", threads=0, precision="auto")
        tuned = TunedNetwork(self._manifest, make_candidates, rounds_s=_ROUNDS_S)
        try:
            tuned.tune()
        # Poses that depend on the size of the batch; a GPU that is full or lost. PyTorch on the CPU goes on.
        except (EngineUnavailable, MemoryError, RuntimeError) as error:
            logger.warning("%s is run by PyTorch: %s", self._manifest.name, error)
            return
        self._tuned = tuned


def _joined(parts: list[Lifted]) -> Lifted:
    """Consecutive parts as one."""
    return Lifted(
        np.concatenate([part.joints for part in parts]),
        np.concatenate([part.imputed for part in parts]),
        _joined_if_told([part.expected_error_m for part in parts]),
        _joined_if_told([part.gravity for part in parts]),
        _joined_if_told([part.gravity_error for part in parts]),
    )


def _joined_if_told(parts: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    told = [part for part in parts if part is not None]
    return np.concatenate(told) if told else None
