"""Run the windows of a session's targets: one window each, or those own poses that the session does not keep yet."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from poselift.averaged_window import AveragedWindow, OwnPoses
from poselift.lifting import Lifted, Prepared
from poselift.live_window import KeptFrames
from poselift.networks.slice import Slice
from poselift_service.inference.models import Model
from poselift_service.inference.queue import EntryResult, Priority
from poselift_service.sessions.session import Session

# Laying this many windows takes some milliseconds; more would delay everything else on the event loop.
_MAX_WINDOWS_ON_LOOP = 64
_NOTHING_RUN = EntryResult((), 0.0, 0.0)


class Answer(NamedTuple):
    """Poses of targets.

    Attributes:
        own: own poses to keep for the next targets; None for a window without them.
        run: the times of the windows that were run.
    """

    lifted: Lifted
    own: OwnPoses | None
    run: EntryResult


def count_windows(session: Session, targets: range) -> int:
    """How many windows `lift_targets` runs."""
    if not targets or not isinstance(session.window, AveragedWindow):
        return len(targets)
    return len(session.window.averages(session.frames, targets).missing(session.own))


async def lift_targets(model: Model, session: Session, targets: range, deadline: float) -> Answer:
    """Lift some targets of a session, at least one. The caller holds a permit for `count_windows`.

    Raises:
        ServiceError: as `Batcher.lift`.
    """
    window, kept = session.window, session.frames
    if not isinstance(window, AveragedWindow):
        prepared, run = await _run(model, window.prepare, kept, targets, deadline)
        return Answer(prepared.poses(run.answers[0], model.manifest), None, run)
    averages, own, run = window.averages(kept, targets), session.own, _NOTHING_RUN
    if missing := averages.missing(own):
        prepared, run = await _run(model, window.prepare_own, kept, missing, deadline)
        lifted = OwnPoses(missing.start, prepared.rows(run.answers[0], model.manifest))
        own = averages.completed(own, lifted)
    assert own is not None, "poses that are not missing are known"
    imputed = kept.imputed[targets.start - kept.start :][: len(targets)]
    return Answer(averages.poses(own, imputed), own, run)


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
