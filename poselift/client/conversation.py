"""The frames of a stream and what has become of them: the reconnect protocol of docs/streaming.md, without any I/O."""

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto

from poselift.client.answers import InputWarning, Pose, StreamAnswer, StreamWorld
from poselift.client.arrays import FrameList
from poselift.client.errors import ApiError
from poselift.client.retries import TEMPORARY_CODES

# Resends within this many frames are always accepted.
MAX_UNANSWERED = 32
# Kept after their answers, for a store that has lost its newest frames: 20 s at 60 frames per second, about 2 MB.
KEPT_FRAMES = 1200
# The session still exists, and its frames may be sent again.
_RECONNECT_CODES = TEMPORARY_CODES | {"stream_idle", "deadline_exceeded", "engine_failed", "request_timeout"}
# These may come for ever, so after several without any answer between them the stream fails.
_COUNTED_CODES = ("session_conflict", "unknown_session", "deadline_exceeded", "engine_failed")
_MOST_FAILURES = 5


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """One frame to send; its index is that of the session."""

    frame_index: int
    keypoints: FrameList
    time_s: float | None


@dataclass(frozen=True, slots=True)
class EndMessage:
    """No frame will follow; `next_frame_index` is how many the session has."""

    next_frame_index: int


Message = FrameMessage | EndMessage


class Recovery(Enum):
    """What a stream does after an error."""

    RECONNECT = auto()
    REOPEN = auto()


class Conversation:
    """One stream over any number of connections and, where the server lost them, of sessions.

    Frames are counted from 0 over the whole stream. `_answered` is the position of the first message without an
    answer, `_sent` that of the first that was not sent over this connection; the end comes after the last frame.
    """

    def __init__(self) -> None:
        self._frames: deque[FrameMessage] = deque()
        self._kept_first = 0
        self._frame_count = 0
        self._is_ending = False
        self._session_first = 0
        self._answered = 0
        self._sent = 0
        # Whatever the server says, it has once had all frames below this one.
        self._most_answered = 0
        self._next_pose = 0
        self._failures = 0
        self._poses: list[Pose] = []
        self._warnings: dict[str, InputWarning] = {}
        self.world: StreamWorld | None = None

    @property
    def unanswered(self) -> int:
        """Number of messages without an answer, sent or not."""
        return self._frame_count + self._is_ending - self._answered

    @property
    def has_ended(self) -> bool:
        """Whether the end was answered."""
        return self._is_ending and self.unanswered == 0

    @property
    def is_ending(self) -> bool:
        """Whether no frame may follow."""
        return self._is_ending

    @property
    def waits_for_answer(self) -> bool:
        """Whether something was sent over this connection that has no answer."""
        return self._sent > self._answered

    @property
    def warnings(self) -> list[InputWarning]:
        """What the server found odd in the frames so far, the first of each code."""
        return list(self._warnings.values())

    def add_frame(self, keypoints: FrameList, time_s: float | None = None) -> None:
        """Take the next frame."""
        self._frames.append(FrameMessage(self._frame_count, keypoints, time_s))
        self._frame_count += 1
        while len(self._frames) > KEPT_FRAMES and self._kept_first < self._answered:
            self._frames.popleft()
            self._kept_first += 1

    def add_end(self) -> None:
        """Say that no frame will follow."""
        self._is_ending = True

    def begin_connection(self) -> None:
        """Send everything without an answer again, over a new connection."""
        self._sent = self._answered

    def begin_session(self, context: int) -> None:
        """Begin with a new session, because the server has lost the one before.

        It gets the frames from which the poses that were not received yet are computed, as far as they are kept; what
        it answers about older ones is known already.

        Args:
            context: how many frames before its own a pose depends on.
        """
        self._session_first = max(self._kept_first, self._next_pose - context)
        self._answered = self._sent = self._most_answered = self._session_first

    def next_message(self) -> Message | None:
        """The next message for this connection; None while there is none, or too many are unanswered."""
        if self._sent - self._answered >= MAX_UNANSWERED or self._sent >= self._frame_count + self._is_ending:
            return None
        position = self._sent
        self._sent += 1
        if position == self._frame_count:
            return EndMessage(position - self._session_first)
        frame = self._frames[position - self._kept_first]
        return FrameMessage(position - self._session_first, frame.keypoints, frame.time_s)

    def take_answer(self, answer: StreamAnswer) -> None:
        """Take the answer to the oldest message without one; raises ApiError if there is none."""
        if not self.waits_for_answer:
            raise ApiError("unexpected_answer", "The server has answered more messages than it was sent.")
        self._answered += 1
        self._most_answered = max(self._most_answered, self._answered)
        self._failures = 0
        for warning in answer.warnings:
            self._warnings.setdefault(warning.code, warning)
        self.world = answer.world or self.world
        for pose in answer.poses:
            self._take_pose(pose)

    def take_error(self, error: ApiError) -> Recovery:
        """Decide what helps against an error; raises it if nothing does."""
        if error.code in _COUNTED_CODES:
            self._failures += 1
            if self._failures > _MOST_FAILURES:
                raise error
        if error.code == "session_conflict":
            self._resume_at(error)
        elif error.code == "unknown_session":
            return Recovery.REOPEN
        elif error.code not in _RECONNECT_CODES:
            raise error
        return Recovery.RECONNECT

    def take_poses(self) -> list[Pose]:
        """The poses that have arrived since the last call, each frame once, in order."""
        poses, self._poses = self._poses, []
        return poses

    def _take_pose(self, pose: Pose) -> None:
        index = pose.frame_index + self._session_first
        # Equal frames give equal poses, so a second one brings nothing new.
        if index >= self._next_pose:
            self._poses.append(replace(pose, frame_index=index))
            self._next_pose = index + 1

    def _resume_at(self, conflict: ApiError) -> None:
        if conflict.expected_frame_index is None:
            raise conflict
        expected = conflict.expected_frame_index + self._session_first
        # Higher, it has frames that somebody else has sent; lower, some that are no longer here.
        if not self._kept_first <= expected <= self._most_answered:
            raise conflict
        self._answered = expected
