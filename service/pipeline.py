"""From a validated request to poses: the one path behind every transport."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.artifact import Manifest
from poselift.coordinates import mirror
from poselift.lifting import Prepared, mirrored, prepare
from service.batcher import Batcher, Priority
from service.engine import Slice
from service.errors import UnknownModel
from service.request import LiftRequest, Limits

# Preparing this many frames takes some milliseconds; more of them would be felt by everybody else on the event loop.
_FRAMES_PREPARED_INLINE = 500


@dataclass(frozen=True)
class Model:
    """An artifact that is served, and the queue in front of its engine."""

    manifest: Manifest
    labels: tuple[str, ...]
    batcher: Batcher

    @property
    def receptive_field(self) -> int:
        """Frames, at the artifact's own rate, that the network looks at for one pose."""
        return int(self.manifest.network["frames"])

    @property
    def receptive_field_s(self) -> float:
        """The time these frames span."""
        return round((self.receptive_field - 1) * self.manifest.temporal_stride / self.manifest.frame_rate_hz, 3)

    def answers_to(self, reference: str) -> bool:
        """Whether `name`, `name@version` or `name@label` means this one."""
        name, at, wanted = reference.partition("@")
        return name == self.manifest.name and (not at or wanted in (str(self.manifest.version), *self.labels))


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

    def __init__(self, models: Mapping[str, Model], *, default: str, limits: Limits) -> None:
        """Args:
        models: by name.
        default: name of the model for requests that name none.
        """
        self._models = models
        self._default = default
        self._limits = limits

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(self._models.values())

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def default(self) -> str:
        return self._default

    def find(self, reference: str | None) -> Model:
        """Look a model up by `name`, `name@version` or `name@label`; None means the default.

        Raises:
            UnknownModel: none answers to that.
        """
        model = self._models.get(self._default if reference is None else reference.partition("@")[0])
        if model is None or (reference is not None and not model.answers_to(reference)):
            raise UnknownModel(str(reference), sorted(self._models))
        return model

    def refuse_when_full(self, deadline: float) -> None:
        """Raise Overloaded or NotReady when no model could take even a single frame, before a request is even read."""
        refusals = [model.batcher.refusal(1, priority=Priority.BULK, deadline=deadline) for model in self.models]
        first = refusals[0]
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
