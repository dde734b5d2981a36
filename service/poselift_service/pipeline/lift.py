"""From a validated request to poses: the one path behind every transport, whatever a network makes them of."""

import asyncio
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from poselift import completion, lifting
from poselift.artifacts.manifest import Manifest
from poselift.coordinates import mirror
from poselift.formats.writers.track import LiftedTrack
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted, Prepared, count_windows, mirrored
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.queue import Priority
from poselift_service.inference.slice import Slice
from poselift_service.pipeline.request import Clip, CompleteRequest, LiftRequest, Limits, Request

# What is done with this many frames takes some milliseconds; more of them would be felt by everybody else on the event
# loop.
_FRAMES_PREPARED_INLINE = 500

Done = TypeVar("Done")
Preparing = Callable[[Clip, Manifest, NDArray[np.int64] | None], Prepared]


@dataclass(frozen=True)
class Result:
    """What a request is answered with, and how long it waited and ran.

    Attributes:
        tracks: in the order of the request; a pose for every frame, or for every target.
    """

    manifest: Manifest
    tracks: tuple[LiftedTrack, ...]
    queue_s: float
    inference_s: float


class Pipeline:
    """Answers requests with the models that are loaded."""

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

    async def lift(self, request: LiftRequest, deadline: float) -> Result:
        """Lift every track of a request.

        Args:
            deadline: moment of `time.monotonic()`.
        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        return await self._answer(Task.LIFT, request, lifting.prepare, deadline)

    async def complete(self, request: CompleteRequest, deadline: float) -> Result:
        """Complete every track of a request: its poses, with those joints made up that are missing.

        Args:
            deadline: moment of `time.monotonic()`.
        Raises:
            ServiceError: any of them.
            PoseliftError: the poses cannot be used.
        """
        result = await self._answer(Task.COMPLETE, request, completion.prepare, deadline)
        return await _unfelt(request, _filled, request, result)

    async def _answer(self, task: Task, request: Request[Clip], prepare: Preparing[Clip], deadline: float) -> Result:
        self._limits.check(request)
        model = self._models.find_for(task, request.model)
        with model.batcher.admit(_windows(request, model.manifest), priority=Priority.BULK, deadline=deadline):
            prepared = await _unfelt(request, _prepare, request, model.manifest, prepare)
            sequences = [Slice(track.frames, track.index) for track in prepared]
            if request.mirrored_average:
                reflections = [mirrored(track, model.manifest) for track in prepared]
                sequences += [Slice(track.frames, track.index) for track in reflections]
            lifted = await model.batcher.lift(sequences, priority=Priority.BULK, deadline=deadline)
        tracks = await _unfelt(request, _tracks, request, prepared, lifted.answers, model.manifest)
        return Result(model.manifest, tracks, lifted.queue_s, lifted.inference_s)


def _windows(request: Request[Clip], manifest: Manifest) -> int:
    """How much work a request is."""
    passes = 2 if request.mirrored_average else 1
    return passes * sum(count_windows(track.sequence.times_s, manifest, request.targets) for track in request.tracks)


async def _unfelt(request: Request[Clip], work: Callable[..., Done], *args: object) -> Done:
    """Do some work on a request where others feel least of it."""
    return work(*args) if request.frames <= _FRAMES_PREPARED_INLINE else await asyncio.to_thread(work, *args)


def _prepare(request: Request[Clip], manifest: Manifest, prepare: Preparing[Clip]) -> list[Prepared]:
    return [prepare(track.sequence, manifest, request.targets) for track in request.tracks]


def _tracks(
    request: Request[Clip], prepared: Items[Prepared], answers: Items[NDArray[np.float32]], manifest: Manifest
) -> tuple[LiftedTrack, ...]:
    """Of the answers to the sequences, and then to their reflections, if these were asked for too."""
    plain, reflected = answers[: len(prepared)], answers[len(prepared) :]
    if request.mirrored_average:
        plain = [(one + mirror(other, manifest.target)) / 2 for one, other in zip(plain, reflected, strict=True)]
    return tuple(
        LiftedTrack(track.track_id, made.poses(answer))
        for track, answer, made in zip(request.tracks, plain, prepared, strict=True)
    )


def _filled(request: CompleteRequest, result: Result) -> Result:
    """With what the network made up in its place, and all else as it came."""
    made = [track.lifted for track in result.tracks]
    filled = [
        Lifted(completion.fill(track.sequence, lifted.joints, request.targets), lifted.imputed)
        for track, lifted in zip(request.tracks, made, strict=True)
    ]
    tracks = tuple(track._replace(lifted=lifted) for track, lifted in zip(result.tracks, filled, strict=True))
    return replace(result, tracks=tracks)
