"""A live stream, as coroutines."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from poselift.client.answers import InputWarning, Pose, SessionState, StreamWorld, read_session
from poselift.client.arrays import ArrayLike, TimedFrame, frame_of
from poselift.client.connection import Connection
from poselift.client.conversation import KEPT_FRAMES, MAX_UNANSWERED, Conversation, Recovery
from poselift.client.errors import ApiError, timed_out
from poselift.client.retries import Backoff

if TYPE_CHECKING:
    from poselift.client.http_calls import HttpCalls

# A connection that answers nothing for this share of the time limit is replaced: the server may hang, or be gone.
_STALL_SHARE = 0.25
# Time to end a session that its program leaves because of an error.
_LEAVING_S = 2.0

Connect = Callable[[SessionState], Awaitable[Connection]]
Frames = Iterable[ArrayLike | None] | Iterable[TimedFrame]
AsyncFrames = AsyncIterable[ArrayLike | None] | AsyncIterable[TimedFrame]


class AsyncStream:
    """One person's stream. Lost connections, servers and sessions are replaced without a lost frame.

    Used by one task at a time. A call that is cancelled loses nothing, either: the next one goes on.

    Attributes:
        session: the session as the server describes it.
    """

    session: SessionState

    def __init__(self, http: "HttpCalls", connect: Connect, opening: Mapping[str, Any], timeout_s: float) -> None:
        """Prepare a stream; entering it opens its session.

        Args:
            connect: makes a connection of a session.
            opening: body of `POST /sessions`.
            timeout_s: longest time without any answer.
        """
        self._http = http
        self._connect = connect
        self._opening = opening
        self._timeout_s = timeout_s
        self._conversation = Conversation()
        self._connection: Connection | None = None
        self._backoff = Backoff()

    async def __aenter__(self) -> Self:
        await self._open_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._drop()
        if not self._conversation.has_ended:
            # The session would expire, but its server counts it until then.
            with contextlib.suppress(ApiError):
                await self._http.call("DELETE", f"/sessions/{self.session.session_id}", timeout_s=_LEAVING_S)

    @property
    def warnings(self) -> list[InputWarning]:
        """What the server found odd in the frames so far, the first of each code."""
        return self._conversation.warnings

    @property
    def world(self) -> StreamWorld | None:
        """What the newest poses in the world have in common; None before the first, and if it was not asked for."""
        return self._conversation.world

    async def send(self, keypoints: ArrayLike | None, *, time_s: float | None = None, ahead: int = 1) -> list[Pose]:
        """Send the next frame; returns the poses that are ready, which with a lookahead are of earlier frames.

        Args:
            keypoints: [J, 3] or [J, 2]: x, y and score of each joint, NaN or None where it is missing; None where
                nobody was found.
            time_s: when the frame was taken, in seconds from any origin, if the session has no frame rate. With one,
                frames that the camera dropped must be sent, too, as None.
            ahead: how many frames may be without an answer, at most 32. With 1, this waits for the answer to this
                frame.
        Raises:
            ApiError: the frame cannot be used, or there was no answer for too long.
            ValueError: the stream has ended.
        """
        if self._conversation.is_ending:
            raise ValueError("the stream has ended, and takes no more frames")
        if not 1 <= ahead <= MAX_UNANSWERED:
            raise ValueError(f"`ahead` is between 1 and {MAX_UNANSWERED}, not {ahead}")
        self._conversation.add_frame(frame_of(keypoints), None if time_s is None else float(time_s))
        return await self._exchange(most_unanswered=ahead - 1)

    async def end(self) -> list[Pose]:
        """End the session; returns the poses that were still waiting for later frames.

        Raises:
            ApiError: there was no answer for too long.
        """
        self._conversation.add_end()
        poses = await self._exchange(most_unanswered=0)
        await self._drop()
        return poses

    async def poses(self, frames: Frames | AsyncFrames, *, ahead: int = 1) -> AsyncIterator[Pose]:
        """Send frames, end the stream, and yield the pose of each.

        Args:
            frames: keypoints as `send` takes them; in a session without a frame rate, pairs of keypoints and time.
            ahead: as for `send`: 1 for a camera, whose poses come at once; more for a recording, which is then not
                slowed down by the way to the server and back.
        Raises:
            ApiError: as for `send`.
            ValueError: a frame needs a time and has none.
        """
        async for frame in _asynchronous(frames):
            keypoints, time_s = self.split(frame)
            for pose in await self.send(keypoints, time_s=time_s, ahead=ahead):
                yield pose
        for pose in await self.end():
            yield pose

    def split(self, frame: ArrayLike | TimedFrame | None) -> tuple[ArrayLike | None, float | None]:
        """Take a frame of `poses` apart into its keypoints and its time, None in a session with a frame rate."""
        if "fps" in self._opening:
            return frame, None
        if not (isinstance(frame, tuple) and len(frame) == 2):
            raise ValueError("in a session without `fps`, each frame is a pair of its keypoints and its time")
        return frame

    async def _exchange(self, *, most_unanswered: int) -> list[Pose]:
        """Send everything, and receive until no more than that many messages are without an answer."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout_s
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, clock() + self._stall_s)):
                    connection = await self._send_all()
                    if self._conversation.unanswered <= most_unanswered:
                        return self._conversation.take_poses()
                    self._conversation.take_answer(await connection.receive())
                deadline = clock() + self._timeout_s
                self._backoff.reset()
            except (ApiError, TimeoutError) as failure:
                await self._recover(failure, deadline)
            except BaseException:
                # Where in a message it was interrupted is not known.
                await self._drop()
                raise

    async def _send_all(self) -> Connection:
        if self._connection is None:
            self._connection = await self._connect(self.session)
            self._conversation.begin_connection()
        while (message := self._conversation.next_message()) is not None:
            await self._connection.send(message)
        return self._connection

    async def _recover(self, failure: ApiError | TimeoutError, deadline: float) -> None:
        """Do what docs/streaming.md says about an error; raise it where nothing helps, or time is up."""
        await self._drop()
        error = failure if isinstance(failure, ApiError) else timed_out(self._stall_s)
        recovery = self._conversation.take_error(error)
        pause_s = self._backoff.next_pause_s(error.retry_after_s)
        if asyncio.get_running_loop().time() + pause_s >= deadline:
            raise error
        await asyncio.sleep(pause_s)
        if recovery is Recovery.REOPEN:
            await self._open_session()

    async def _open_session(self) -> None:
        opened = await self._http.call(
            "POST", "/sessions", self._opening, timeout_s=self._timeout_s, attempt_s=self._stall_s
        )
        self.session = read_session(opened)
        # The whole window. Where frames have times, how many that is is not known: all that are kept.
        full = self.session.full_lookahead
        self._conversation.begin_session(context=KEPT_FRAMES if full is None else 2 * full)

    @property
    def _stall_s(self) -> float:
        return _STALL_SHARE * self._timeout_s

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.drop()


async def _asynchronous(frames: Frames | AsyncFrames) -> AsyncIterator[ArrayLike | TimedFrame | None]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame
