"""A model of the server's side of a stream, as docs/streaming.md describes it, that may lose frames and sessions."""

from poselift.client.answers import Pose, StreamAnswer
from poselift.client.arrays import FrameList
from poselift.client.conversation import EndMessage, FrameMessage, Message
from poselift.client.errors import ApiError

RESENDABLE = 32


class SessionModel:
    """Sessions whose poses say which frames they were computed from."""

    def __init__(self, full_lookahead: int, lookahead: int) -> None:
        self._before = 2 * full_lookahead - lookahead
        self._lookahead = lookahead
        self._frames: list[tuple[FrameList, float | None]] | None = []
        self._has_ended = False

    def open(self) -> None:
        """Open a session in the place of the one before."""
        self._frames, self._has_ended = [], False

    def expire(self) -> None:
        """Lose the session."""
        self._frames = None

    def lose(self, count: int) -> None:
        """Lose the newest frames of a session that has not ended."""
        if self._frames and not self._has_ended:
            del self._frames[-count:]

    def answer(self, message: Message) -> StreamAnswer:
        """Answer a message; raises ApiError."""
        if self._frames is None:
            raise ApiError("unknown_session", "There is none.")
        poses = self._end(message) if isinstance(message, EndMessage) else self._append(message)
        return StreamAnswer(poses, [])

    def _append(self, message: FrameMessage) -> list[Pose]:
        assert self._frames is not None
        index, count = message.frame_index, len(self._frames)
        frame = (message.keypoints, message.time_s)
        if index == count and not self._has_ended:
            self._frames.append(frame)
        elif not count - RESENDABLE <= index < count or self._frames[index] != frame:
            raise self._conflict()
        target = index - self._lookahead
        return [self._pose(target, index)] if target >= 0 else []

    def _end(self, message: EndMessage) -> list[Pose]:
        assert self._frames is not None
        count = len(self._frames)
        if message.next_frame_index != count:
            raise self._conflict()
        self._has_ended = True
        return [self._pose(target, count - 1) for target in range(max(0, count - self._lookahead), count)]

    def _pose(self, target: int, newest: int) -> Pose:
        assert self._frames is not None
        frames = self._frames[max(0, target - self._before) : newest + 1]
        window = [joints[0][0] for joints, _ in frames if joints is not None and joints[0] is not None]
        times_s = [time_s for _, time_s in frames if time_s is not None]
        return Pose(target, [window, times_s], [], newest - target)

    def _conflict(self) -> ApiError:
        assert self._frames is not None
        return ApiError("session_conflict", "Another frame is expected.", expected_frame_index=len(self._frames))
