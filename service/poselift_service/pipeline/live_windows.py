"""Run the windows of a session's targets: one window each, or those own poses that the session does not keep yet."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from poselift.averaged_window import AveragedWindow, Averages, OwnPoses
from poselift.lifting import Lifted, Prepared
from poselift.live_window import KeptFrames
from poselift.networks.slice import Slice
from poselift_service.inference.models import Model
from poselift_service.inference.queue import EntryResult, Priority
from poselift_service.sessions.session import Session

# Laying this many windows takes some milliseconds; more would delay everything else on the event loop.
_MAX_WINDOWS_ON_LOOP = 64
_NOTHING_RUN = EntryResult((), 0.0, 0.0)


class Work(NamedTuple):
    """What it takes to lift targets.

    Attributes:
        targets: consecutive frame indices.
        averages: how own poses are averaged; None for a window without them, or without targets.
        frames: those whose windows are run.
    """

    targets: range
    averages: Averages | None
    frames: range


class Answer(NamedTuple):
    """Poses of targets.

    Attributes:
        own: own poses to keep for the next targets; None for a window without them.
        run: the times of the windows that were run.
    """

    lifted: Lifted
    own: OwnPoses | None
    run: EntryResult


def plan_work(session: Session, targets: range) -> Work:
    """What it takes to lift some targets of a session: one window each, or one for each own pose that it lacks."""
    if not targets or not isinstance(session.window, AveragedWindow):
        return Work(targets, None, targets)
    averages = session.window.averages(session.frames, targets)
    return Work(targets, averages, averages.missing(session.own))


async def lift_targets(model: Model, session: Session, work: Work, deadline: float) -> Answer:
    """Lift some targets of a session, at least one. The caller holds a permit for the windows of `work.frames`.

    Raises:
        ServiceError: as `Batcher.lift`.
    """
    window, kept, camera = session.window, session.frames, session.opening.camera
    if work.averages is None or not isinstance(window, AveragedWindow):
        prepared, run = await _run(model, window.prepare, kept, work.frames, deadline)
        return Answer(prepared.poses(run.answers[0], model.manifest).before(camera), None, run)
    own, run = session.own, _NOTHING_RUN
    if work.frames:
        prepared, run = await _run(model, window.prepare_own, kept, work.frames, deadline)
        lifted = OwnPoses(work.frames.start, prepared.rows(run.answers[0], model.manifest))
        own = work.averages.completed(own, lifted)
    assert own is not None, "poses that are not missing are known"
    imputed = kept.imputed[work.targets.start - kept.start :][: len(work.targets)]
    return Answer(work.averages.poses(own, imputed).before(camera), own, run)


async def _run(
    model: Model,
    prepare: Callable[[KeptFrames, range], Prepared],
    kept: KeptFrames,
    frames: range,
    deadline: float,
) -> tuple[Prepared, EntryResult]:
    if len(frames) <= _MAX_WINDOWS_ON_LOOP:
        prepared = prepare(kept, frames)
    else:
        prepared = await asyncio.to_thread(prepare, kept, frames)
    windows = Slice(prepared.frames, prepared.index, prepared.ahead)
    return prepared, await model.batcher.lift([windows], priority=Priority.LIVE, deadline=deadline)
