"""From the frames of a live session to poses, whichever transport they come over."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.averaged_window import OwnPoses
from poselift.input_warnings import InputWarning, refuse_any
from poselift.lifters.lifter import Task
from poselift.lifting import Lifted
from poselift.motion.clip import check_skeleton
from poselift.motion.world import WorldMotion
from poselift.plausibility import about_lens, check_live_frames
from poselift.sequence import Sequence
from poselift_service.errors import DeadlineExceeded, InvalidRequest, NotReady, SessionConflict, UnknownSession
from poselift_service.inference.models import Model
from poselift_service.inference.queue import Priority
from poselift_service.pipeline.checks import KEYPOINTS_FIELD, FramesPath, check_next_frame_index, in_pixels
from poselift_service.pipeline.lift import Pipeline
from poselift_service.pipeline.live_motion import Continuation, motion_rows, rows_of
from poselift_service.pipeline.live_windows import Work, lift_targets, plan_work
from poselift_service.pipeline.off_loop import joints_in, run_off_loop_if_long
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.copies import RESENDABLE_FRAMES
from poselift_service.sessions.motion import kept_indices
from poselift_service.sessions.session import Caller, Opening, Session, identity_of
from poselift_service.sessions.sessions import Sessions


@dataclass(frozen=True)
class LivePoses:
    """Poses that are ready.

    Attributes:
        session: its state after the request.
        targets: indices of the frames of these poses.
        future_frames: for each pose, the number of later frames that the network saw.
        lifted: the poses.
        warnings: what is likely wrong with the frames of the request.
        world: the motion of these poses in the world; None if the session does not ask for it, or there are no poses.
    """

    session: Session
    targets: range
    future_frames: tuple[int, ...]
    lifted: Lifted
    queue_s: float = 0.0
    inference_s: float = 0.0
    warnings: tuple[InputWarning, ...] = ()
    world: WorldMotion | None = None


class LiveFrames(NamedTuple):
    """Frames of a session that arrive.

    Attributes:
        first: frame index of the first one.
        keypoints: [F, J, 3] x and y in the coordinates of the session, and score; NaN where a joint is missing.
        times_s: [F] seconds; None where the frames have none.
        path: where their message has them.
    """

    first: int
    keypoints: NDArray[np.float32]
    times_s: NDArray[np.float64] | None = None
    path: FramesPath = KEYPOINTS_FIELD


class LiveLifter:
    """Lifts sessions with the models of a pipeline.

    Every deadline is a moment of its clock. What the store of the sessions has not answered by then is given up:
    DeadlineExceeded is raised, and the same request may be sent again.
    """

    def __init__(self, pipeline: Pipeline, sessions: Sessions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pipeline = pipeline
        self._sessions = sessions
        self._clock = clock

    @property
    def limits(self) -> Limits:
        """How large one message may be."""
        return self._pipeline.limits

    @property
    def ttl_s(self) -> float:
        """Time after which an unused session expires."""
        return self._sessions.ttl_s

    async def open(self, opening: Opening, model: str | None, caller: Caller, *, deadline: float) -> Session:
        """Open a session.

        Args:
            model: `name`, `name@version` or `name@label`; None for the server's default.
            caller: whose session it is; no other API key can use it.
        Raises:
            ServiceError: UnknownModel, WrongTask, Overloaded, SessionStoreDown, DeadlineExceeded.
            InvalidKeypoints: the network's window does not have that lookahead.
            InvalidPoses: it asks for motion in the world of poses that have none.
        """
        manifest = self._pipeline.models.find_for(Task.LIFT, model).manifest
        if opening.world is not None:
            check_skeleton(manifest.target)
        async with self._until(deadline):
            return await self._sessions.open(opening, manifest, caller)

    async def find(self, session_id: str, caller: Caller, *, deadline: float) -> Session:
        """Find a session, with the frames that this replica has seen.

        Raises:
            UnknownSession: it was never opened, is over, is another key's, or its network is no longer served.
            NotReady: its network is not served here, but may be elsewhere or soon.
            SessionStoreDown: the store cannot be reached.
            DeadlineExceeded: the store has not answered in time.
        """
        async with self._until(deadline):
            model = await self._model(session_id, identity_of(session_id, caller))
            return await self._sessions.find(session_id, model.manifest)

    async def read(self, session_id: str, caller: Caller, *, deadline: float) -> Session:
        """Read the current state of a session; raises as `find` does."""
        session = await self.find(session_id, caller, deadline=deadline)
        async with self._until(deadline):
            return await self._sessions.read(session)

    async def advance(self, session: Session, arriving: LiveFrames, *, deadline: float) -> LivePoses:
        """Append frames and lift the poses that become ready.

        Frames are stored before they are lifted. They may be sent again, unchanged or with newer frames behind them,
        as long as the poses that they complete can be lifted again: no frame is stored twice, and the poses are the
        same. Different frames with indices that are stored are refused: their sender would get the poses of the first
        ones.

        Args:
            arriving: the frames.
        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        first, frames = arriving.first, len(arriving.keypoints)
        self.limits.check_live(frames, arriving.path.field)
        sequence, warnings = await run_off_loop_if_long(
            joints_in(arriving.keypoints), _checked, session.opening, arriving
        )
        indices = range(first, first + frames)
        windows = session.window.expected_windows(indices)
        async with self._until(deadline):
            model = await self._model(session.session_id, session.manifest.identity)
        with contextlib.ExitStack() as permits:
            permits.enter_context(model.batcher.admit(windows, priority=Priority.LIVE, deadline=deadline))
            async with self._until(deadline):
                session = await self._sessions.append(session, first, sequence)
            targets = session.window.completed_by(indices, session.frames)
            motion = None if session.opening.world is None else Continuation.of(session, first)
            lifted = targets if motion is None else range(motion.next_target, targets.stop)
            work = plan_work(session, lifted)
            if (needed := len(work.frames)) > windows:
                permits.close()
                permits.enter_context(model.batcher.admit(needed, priority=Priority.LIVE, deadline=deadline))
            poses, own = await _lift(model, session, work, deadline, warnings)
        if own is not None:
            session = self._sessions.keep_own(session, own)
            poses = replace(poses, session=session)
        if motion is None:
            return poses
        ends = kept_indices(motion.index, first, indices.stop, RESENDABLE_FRAMES)
        moved = await motion.follow(session, lifted, poses.lifted, ends)
        async with self._until(deadline):
            session = await self._sessions.keep_motion(session, first, moved.states)
        return _in_world(replace(poses, session=session), moved.world, targets)

    async def end(self, session_id: str, caller: Caller, sent: int | None = None, *, deadline: float) -> LivePoses:
        """Lift the frames that wait for later ones, and end the session.

        For some seconds it can be ended again, with the same poses, because the first answer may have been lost.

        Args:
            sent: number of frames that the session must have; None if its client has not said. A store may have lost
                the newest ones, and those could not be sent again to a session that has ended.
            deadline: moment of `time.monotonic()`.
        Raises:
            InvalidRequest: no session can have so many frames.
            SessionConflict: the session has fewer frames; it goes on.
            ServiceError: any of them.
        """
        check_next_frame_index(sent)
        async with self._until(deadline):
            model = await self._model(session_id, identity_of(session_id, caller))
            session = await self._sessions.read_including_ended(session_id, model.manifest)
        if sent is not None and session.next_frame_index < sent:
            raise SessionConflict(session.next_frame_index)
        if session.opening.world is not None:
            async with self._until(deadline):
                session = await self._sessions.with_motion(session)
        targets = session.window.left_at(session.next_frame_index, session.frames)
        motion = None if session.opening.world is None else Continuation.of(session, session.next_frame_index)
        lifted = targets if motion is None else range(motion.next_target, targets.stop)
        work = plan_work(session, lifted)
        with model.batcher.admit(len(work.frames), priority=Priority.LIVE, deadline=deadline):
            poses, _ = await _lift(model, session, work, deadline)
        if motion is not None:
            poses = _in_world(poses, (await motion.follow(session, lifted, poses.lifted, [])).world, targets)
        async with self._until(deadline):
            await self._sessions.close_session(session)
        return poses

    @contextlib.asynccontextmanager
    async def _until(self, deadline: float) -> AsyncIterator[None]:
        """Bound calls of the store; raises DeadlineExceeded."""
        try:
            async with asyncio.timeout(deadline - self._clock()):
                yield
        except TimeoutError:
            raise DeadlineExceeded from None

    async def _model(self, session_id: str, identity: str) -> Model:
        """The model of a session.

        Raises:
            NotReady: it is not served here, but the session may live on elsewhere, or here in a moment.
            UnknownSession: it is not served, and there is no such session that others could serve.
            SessionStoreDown: the store cannot be reached.
        """
        model = self._pipeline.models.find_by_identity(identity)
        if model is not None:
            return model
        self._pipeline.models.refuse_until_loaded()
        if await self._sessions.is_shared(session_id):
            raise NotReady("The session's model is not served here; reconnect to another replica.")
        raise UnknownSession


def _checked(opening: Opening, arriving: LiveFrames) -> tuple[Sequence, tuple[InputWarning, ...]]:
    """The frames of a message as a sequence, and what is likely wrong with them."""
    path, size_px = arriving.path, (opening.width_px, opening.height_px)
    keypoints = in_pixels(arriving.keypoints, opening.coordinates, *size_px, path)
    times_s = _times_of(arriving, opening)
    sequence = Sequence(keypoints, opening.source, *size_px, times_s, opening.camera, opening.person)
    warnings = check_live_frames(sequence.keypoints, *size_px, path.seen(sequence.keypoints))
    if warning := about_lens(sequence):
        warnings = (*warnings, warning)
    if opening.strict:
        refuse_any(warnings)
    return sequence, warnings


def _times_of(arriving: LiveFrames, opening: Opening) -> NDArray[np.float64]:
    """The times of frames; of those of constant frame rate, from the first of them on.

    Raises:
        InvalidRequest: they have times and should not, or the other way round, or do not increase.
    """
    times_s = arriving.times_s
    if opening.fps is not None:
        if times_s is not None:
            raise InvalidRequest("Only a session that is opened without fps has frames with time_s.", path="time_s")
        return Sequence.times_at(opening.fps, len(arriving.keypoints))
    if times_s is None:
        raise InvalidRequest(
            "The session was opened without fps, so every frame needs its time_s in seconds.", path="time_s"
        )
    if (np.diff(times_s) <= 0).any():
        raise InvalidRequest("Times must increase from frame to frame.", path="time_s")
    return times_s


def _in_world(poses: LivePoses, world: WorldMotion | None, targets: range) -> LivePoses:
    """Poses of some targets and those before them, as those of these targets with their motion in the world."""
    again = len(poses.targets) - len(targets)
    return replace(
        poses,
        targets=targets,
        future_frames=poses.future_frames[again:],
        lifted=rows_of(poses.lifted, slice(again, None)),
        world=None if world is None or not targets else motion_rows(world, slice(again, None)),
    )


async def _lift(
    model: Model, session: Session, work: Work, deadline: float, warnings: tuple[InputWarning, ...] = ()
) -> tuple[LivePoses, OwnPoses | None]:
    """Lift some targets of a session; also the own poses to keep. The caller holds a permit for the windows."""
    targets = work.targets
    if not targets:
        joints_out = model.manifest.target.n_joints
        nothing = Lifted(np.zeros((0, joints_out, 3), np.float32), np.zeros((0, joints_out), np.bool_))
        return LivePoses(session, targets, (), nothing, warnings=warnings), None
    lifted, own, run = await lift_targets(model, session, work, deadline)
    future_frames = tuple(session.window.future_frames(targets, session.frames))
    return LivePoses(session, targets, future_frames, lifted, run.queue_s, run.inference_s, warnings), own
