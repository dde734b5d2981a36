"""From a validated request to poses: the one path behind every transport and both tasks."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from poselift import completion, lifting
from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import LiftedTrack
from poselift.input_warnings import InputWarning
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted, Prepared, averaged, count_windows, mirrored
from poselift.motion.clip import check_skeleton
from poselift.networks.slice import Slice
from poselift.plausibility import about_rate
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.queue import Priority
from poselift_service.pipeline.motion import MotionThreads, Refined, RefineRequest, refine, refined_for_file, with_world
from poselift_service.pipeline.off_loop import run_off_loop_if_long
from poselift_service.pipeline.request import (
    Clip,
    CompleteRequest,
    LiftRequest,
    Limits,
    Request,
    warnings_about,
    with_chosen_tracks,
)

Prepare = Callable[[Clip, Manifest, NDArray[np.int64] | None], Prepared]
Check = Callable[[Request[Clip]], tuple[InputWarning, ...]]


@dataclass(frozen=True)
class Result:
    """The answer to a request, and how long the request waited and ran.

    Attributes:
        warnings: what is likely not what the sender of the request meant.
        tracks: those that were chosen, in the order of the request; a pose for every frame, or for every target.
    """

    manifest: Manifest
    tracks: tuple[LiftedTrack, ...]
    queue_s: float
    inference_s: float
    warnings: tuple[InputWarning, ...] = ()

    @property
    def poses(self) -> int:
        """How many poses there are, of all tracks."""
        return sum(len(track.lifted.joints) for track in self.tracks)


class Pipeline:
    """Answers requests with the models that are loaded."""

    def __init__(self, models: ServedModels, *, limits: Limits) -> None:
        self._models = models
        self._limits = limits
        self._motion = MotionThreads()

    @property
    def models(self) -> ServedModels:
        return self._models

    @property
    def limits(self) -> Limits:
        return self._limits

    def find(self, reference: str | None) -> Model:
        """Find the model of a reference, as `ServedModels.find` does."""
        return self._models.find(reference)

    def refuse_refinement_when_full(self) -> None:
        """Refuse poses to refine while many others wait; for before the body is read. Raises Overloaded."""
        self._motion.refuse_when_full()

    def refuse_when_full(self, deadline: float) -> None:
        """Refuse a request that no model could take, however short it turns out to be; for before its body is read.

        So a queue that is full of long clips refuses nothing here: short requests find room beyond its capacity (see
        `Admission`). A long one is refused once its length is known.

        Raises:
            ServiceError: Overloaded or NotReady.
        """
        refusals = [model.batcher.refusal(1, priority=Priority.BULK, deadline=deadline) for model in self._models]
        first = refusals[0] if refusals else None
        if first is not None and all(refusals):
            raise first

    async def lift(self, request: LiftRequest, deadline: float) -> Result:
        """Lift the tracks of a request, all or those that it chooses.

        Args:
            deadline: moment of `time.monotonic()`.
        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        self._limits.check(request)
        chosen = await run_off_loop_if_long(request.joints, with_chosen_tracks, request)
        result = _turned_back(chosen, await self._answer(Task.LIFT, chosen, warnings_about, lifting.prepare, deadline))
        if chosen.world is None:
            return result
        return replace(result, tracks=await self._motion.run(with_world, chosen, result.tracks, deadline=deadline))

    async def refine(self, request: RefineRequest, deadline: float) -> Refined:
        """Put poses that were answered before into the world, without a network.

        Args:
            deadline: moment of `time.monotonic()`.
        Raises:
            InvalidRequest, PoseliftError: the poses do not fit the keypoints, or these cannot be used.
            DeadlineExceeded: it was not done in time.
        """
        self._limits.check(request.request)
        return await self._motion.run(refine, request, deadline=deadline)

    async def refine_for_file(
        self, request: RefineRequest, deadline: float, *, first_frame: int, world: bool
    ) -> tuple[LiftedTrack, ...]:
        """Poses that were answered before as files have them, in the world if that is asked for; as `refine` does."""
        self._limits.check(request.request)
        in_world = partial(refined_for_file, world=world)
        return await self._motion.run(in_world, request, first_frame, deadline=deadline)

    async def complete(self, request: CompleteRequest, deadline: float) -> Result:
        """Complete every track of a request: fill in the missing joints of its poses.

        Args:
            deadline: moment of `time.monotonic()`.
        Raises:
            ServiceError: any of them.
            PoseliftError: the poses cannot be used.
        """
        self._limits.check(request)
        result = await self._answer(Task.COMPLETE, request, _warnings_about_rate, completion.prepare, deadline)
        return await run_off_loop_if_long(request.joints, _with_given_joints, request, result)

    async def _answer(
        self, task: Task, request: Request[Clip], check: Check[Clip], prepare: Prepare[Clip], deadline: float
    ) -> Result:
        model = self._models.find_for(task, request.model)
        if request.world is not None:
            check_skeleton(model.manifest.target)
        with model.batcher.admit(_windows(request, model.manifest), priority=Priority.BULK, deadline=deadline):
            warnings, prepared = await run_off_loop_if_long(
                request.joints, _checked_and_prepared, request, model.manifest, check, prepare
            )
            sequences = [Slice(track.frames, track.index) for track in prepared]
            if request.mirrored_average:
                reflections = [mirrored(track, model.manifest) for track in prepared]
                sequences += [Slice(track.frames, track.index) for track in reflections]
            lifted = await model.batcher.lift(sequences, priority=Priority.BULK, deadline=deadline)
        tracks = await run_off_loop_if_long(request.joints, _tracks, request, prepared, lifted.answers, model.manifest)
        return Result(model.manifest, tracks, lifted.queue_s, lifted.inference_s, warnings)


def _warnings_about_rate(request: CompleteRequest) -> tuple[InputWarning, ...]:
    warning = about_rate(request.tracks[0].sequence.times_s, request.timing)
    return () if warning is None else (warning,)


def _windows(request: Request[Clip], manifest: Manifest) -> int:
    """The number of windows that the network has to run for a request."""
    passes = 2 if request.mirrored_average else 1
    return passes * sum(count_windows(track.sequence.times_s, manifest, request.targets) for track in request.tracks)


def _checked_and_prepared(
    request: Request[Clip], manifest: Manifest, check: Check[Clip], prepare: Prepare[Clip]
) -> tuple[tuple[InputWarning, ...], list[Prepared]]:
    warnings = check(request)
    return warnings, [prepare(track.sequence, manifest, request.targets) for track in request.tracks]


def _tracks(
    request: Request[Clip], prepared: Items[Prepared], answers: Items[NDArray[np.float32]], manifest: Manifest
) -> tuple[LiftedTrack, ...]:
    """The poses of each track.

    Args:
        answers: of the network, to the sequences and then, if the request averages, to their reflections.
    """
    plain, reflected = answers[: len(prepared)], answers[len(prepared) :]
    if request.mirrored_average:
        plain = [averaged(one, other, manifest) for one, other in zip(plain, reflected, strict=True)]
    return tuple(
        LiftedTrack(track.track_id, made.poses(answer, manifest))
        for track, answer, made in zip(request.tracks, plain, prepared, strict=True)
    )


def _turned_back(request: LiftRequest, result: Result) -> Result:
    """The result with poses before the cameras as they are."""
    tracks = tuple(
        track._replace(lifted=track.lifted.before(given.sequence.camera))
        for track, given in zip(result.tracks, request.tracks, strict=True)
    )
    return replace(result, tracks=tracks)


def _with_given_joints(request: CompleteRequest, result: Result) -> Result:
    """The result with the given joints unchanged, and those of the network where joints were missing."""
    completed = [track.lifted for track in result.tracks]
    filled = [
        Lifted(completion.fill(track.sequence, lifted.joints, request.targets), lifted.imputed)
        for track, lifted in zip(request.tracks, completed, strict=True)
    ]
    tracks = tuple(track._replace(lifted=lifted) for track, lifted in zip(result.tracks, filled, strict=True))
    return replace(result, tracks=tracks)
