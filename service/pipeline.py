"""From a validated request to poses: the one path behind every transport."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.artifact import Manifest
from poselift.coordinates import mirror
from poselift.lifting import Prepared, mirrored, prepare
from service.batcher import Priority
from service.engine import Slice
from service.models import Model, ServedModels
from service.request import LiftRequest, Limits

# Preparing this many frames takes some milliseconds; more of them would be felt by everybody else on the event loop.
_FRAMES_PREPARED_INLINE = 500


@dataclass(frozen=True)
class LiftedTrack:
    """One person's poses.

    Attributes:
        joints: [T, J, 3] float32 metres, camera axes, relative to the root joint; T is every frame, or the targets.
        imputed: [T, J] joints that the network made up because the detector had missed what they come from.
    """

    track_id: str | None
    joints: NDArray[np.float32]
    imputed: NDArray[np.bool_]


@dataclass(frozen=True)
class LiftResult:
    """The answer to one request, and how long it waited and ran."""

    manifest: Manifest
    tracks: tuple[LiftedTrack, ...]
    queue_s: float
    inference_s: float


class Pipeline:
    """Lifts requests with the models that are loaded."""

    def __init__(self, models: ServedModels, *, limits: Limits) -> None:
        self._models = models
        self._limits = limits

    @property
    def models(self) -> ServedModels:
        return self._models

    @property
    def limits(self) -> Limits:
        return self._limits

    def find(self, reference: str | None) -> Model:
        """The model that a reference means, as `ServedModels.find`."""
        return self._models.find(reference)

    def refuse_when_full(self, deadline: float) -> None:
        """Raise Overloaded or NotReady when no model could take even a single frame, before a request is even read."""
        refusals = [model.batcher.refusal(1, priority=Priority.BULK, deadline=deadline) for model in self._models]
        first = refusals[0] if refusals else None
        if first is not None and all(refusals):
            raise first

    async def lift(self, request: LiftRequest, *, deadline: float) -> LiftResult:
        """Lift every track of a request.

        Args:
            deadline: moment of `time.monotonic()`.
        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        self._limits.check(request)
        model = self.find(request.model)
        with model.batcher.admit(request.windows, priority=Priority.BULK, deadline=deadline):
            prepared = await _prepare(request, model.manifest)
            sequences = [Slice(track.frames, track.index) for track in prepared]
            if request.mirrored_average:
                reflections = [mirrored(track, model.manifest) for track in prepared]
                sequences += [Slice(track.frames, track.index) for track in reflections]
            lifted = await model.batcher.lift(sequences, priority=Priority.BULK, deadline=deadline)
        joints = lifted.joints[: len(prepared)]
        if request.mirrored_average:
            others = [mirror(other, model.manifest.target) for other in lifted.joints[len(prepared) :]]
            joints = tuple((plain + other) / 2 for plain, other in zip(joints, others, strict=True))
        tracks = tuple(
            LiftedTrack(track.track_id, poses, made.imputed)
            for track, poses, made in zip(request.tracks, joints, prepared, strict=True)
        )
        return LiftResult(model.manifest, tracks, lifted.queue_s, lifted.inference_s)


async def _prepare(request: LiftRequest, manifest: Manifest) -> list[Prepared]:
    if request.frames <= _FRAMES_PREPARED_INLINE:
        return _prepare_all(request, manifest)
    return await asyncio.to_thread(_prepare_all, request, manifest)


def _prepare_all(request: LiftRequest, manifest: Manifest) -> list[Prepared]:
    return [prepare(track.sequence, manifest, request.targets) for track in request.tracks]
