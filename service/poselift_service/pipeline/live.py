"""From the frames of a live stream to poses: what every transport does with sessions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poselift.lifters.lifter import Task
from poselift.lifting import Lifted, Sequence
from poselift_service.errors import InvalidRequest, UnknownSession
from poselift_service.inference.models import Model
from poselift_service.inference.queue import Priority
from poselift_service.inference.slice import Slice
from poselift_service.pipeline.lift import Pipeline
from poselift_service.sessions.session import Opening, Session, identity_of
from poselift_service.sessions.sessions import Sessions


@dataclass(frozen=True)
class LivePoses:
    """Poses that have become ready.

    Attributes:
        session: as it is now.
        targets: the frames they are the poses of.
        future_frames: how many later frames each was lifted with.
        lifted: the poses.
    """

    session: Session
    targets: range
    future_frames: tuple[int, ...]
    lifted: Lifted
    queue_s: float = 0.0
    inference_s: float = 0.0


class LiveLifter:
    """Lifts sessions with the models of a pipeline."""

    def __init__(self, pipeline: Pipeline, sessions: Sessions, *, max_frames: int) -> None:
        """Args:
        max_frames: most frames that may come at a time.
        """
        self._pipeline = pipeline
        self._sessions = sessions
        self._max_frames = max_frames

    @property
    def max_frames(self) -> int:
        """Most frames that may come at a time."""
        return self._max_frames

    @property
    def ttl_s(self) -> float:
        """Time after which a session that is not used is forgotten."""
        return self._sessions.ttl_s

    async def open(self, opening: Opening, model: str | None) -> Session:
        """Begin a session.

        Args:
            model: `name`, `name@version` or `name@label`; None for the server's default.
        Raises:
            ServiceError: UnknownModel, WrongTask, Overloaded, SessionStoreDown.
            InvalidKeypoints: the network's window does not have that lookahead.
        """
        return await self._sessions.open(opening, self._pipeline.models.find_for(Task.LIFT, model).manifest)

    async def find(self, session_id: str) -> Session:
        """How a session was opened, and its frames as far as this replica has seen them.

        Raises:
            UnknownSession: there is none, not any more, or its network is not served any more.
            SessionStoreDown: the store cannot be reached.
        """
        return await self._sessions.find(session_id, self._model(identity_of(session_id)).manifest)

    async def read(self, session_id: str) -> Session:
        """A session as it is now; raises as `find` does."""
        return await self._sessions.read(await self.find(session_id))

    async def advance(
        self, session: Session, first: int, keypoints: NDArray[np.float32], *, deadline: float
    ) -> LivePoses:
        """Take the next frames and lift what has become ready.

        A frame is kept before it is lifted. Frames may be sent again, as they were or with newer ones behind them, for
        as long as what they complete can be lifted again: no frame is kept twice, and the poses are the same. Other
        frames under indices that are taken are refused: their sender would get the poses of the first ones.

        Args:
            first: frame index of the first one.
            keypoints: [F, J, 3] pixels and score; x and y NaN where a joint is missing.
            deadline: moment of `time.monotonic()`.
        Raises:
            ServiceError: any of them.
            PoseliftError: the keypoints cannot be used.
        """
        frames = len(keypoints)
        if frames > self._max_frames:
            raise InvalidRequest(
                f"At most {self._max_frames} frames may come at a time, not {frames}.", path="keypoints"
            )
        opening = session.opening
        times_s = Sequence.times_at(opening.fps, frames)
        sequence = Sequence(keypoints, opening.source, opening.width_px, opening.height_px, times_s)
        targets = session.window.completed_by(range(first, first + frames))
        model = self._model(session.manifest.identity)
        with model.batcher.admit(len(targets), priority=Priority.LIVE, deadline=deadline):
            session = await self._sessions.append(session, first, sequence)
            return await _lift(model, session, targets, deadline)

    async def end(self, session_id: str, *, deadline: float) -> LivePoses:
        """Lift the frames that still wait for later ones, and end the session.

        For a moment it can be ended again, with the same poses, because the first answer may have been lost.

        Raises:
            ServiceError: any of them.
        """
        model = self._model(identity_of(session_id))
        session = await self._sessions.read_including_ended(session_id, model.manifest)
        targets = session.window.left_at(session.next_frame_index)
        with model.batcher.admit(len(targets), priority=Priority.LIVE, deadline=deadline):
            poses = await _lift(model, session, targets, deadline)
        await self._sessions.close_session(session)
        return poses

    def _model(self, identity: str) -> Model:
        model = self._pipeline.models.find_by_identity(identity)
        if model is None:
            raise UnknownSession
        return model


async def _lift(model: Model, session: Session, targets: range, deadline: float) -> LivePoses:
    """Lift some targets of a session. To be called with a permit for them."""
    if not targets:
        joints_out = model.manifest.target.n_joints
        nothing = Lifted(np.zeros((0, joints_out, 3), np.float32), np.zeros((0, joints_out), np.bool_))
        return LivePoses(session, targets, (), nothing)
    prepared = session.window.prepare(session.frames, targets)
    lifted = await model.batcher.lift(
        [Slice(prepared.frames, prepared.index)], priority=Priority.LIVE, deadline=deadline
    )
    future_frames = tuple(session.window.future_frames(targets, session.next_frame_index))
    poses = prepared.poses(lifted.answers[0])
    return LivePoses(session, targets, future_frames, poses, lifted.queue_s, lifted.inference_s)
