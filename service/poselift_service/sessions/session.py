"""A session: one person's live stream, how it was opened, and its newest frames.

Which frames it takes next is the rule of `frame_order`.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.averaged_window import AveragedWindow, OwnPoses, stream_window
from poselift.block_window import BlockWindow
from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person
from poselift.coordinates import Coordinates
from poselift.live_window import KeptFrames, LiveWindow
from poselift.motion.world import WorldOptions
from poselift.skeletons import Skeleton
from poselift.timed_window import MAX_RATE_HZ, TimedWindow
from poselift_service.errors import InvalidRequest, UnknownSession
from poselift_service.sessions.store import ReplicaCursor

# A slower stream is not live; for a faster one, a session would have to keep thousands of frames per window.
MIN_SESSION_FPS, MAX_SESSION_FPS = 1, MAX_RATE_HZ
# The longest pause of a camera that is no mistake: times in milliseconds, or a clock that was set.
MAX_GAP_S = 10.0

StreamWindow = LiveWindow | TimedWindow | AveragedWindow | BlockWindow
"""The windows over the frames of a session."""

_RECOMMENDED_LOOKAHEAD_S = 0.3
_USUAL_FPS = 30
_SESSION_ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")
_RANDOM_BYTES, _TAG_DIGITS = 12, 8


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        key: name of the API key; None where none is required.
        peer: address of the connection.
    """

    key: str | None = None
    peer: str = ""

    @property
    def name(self) -> str:
        """What sessions are counted by."""
        return f"address {self.peer}" if self.key is None else f"key {self.key}"


@dataclass(frozen=True)
class Opening:
    """The parameters with which a session is opened; they are the same for all of its frames.

    Attributes:
        source: skeleton of its keypoints.
        fps: frame rate; None where each frame has a time of its own.
        lookahead: number of later frames that a pose waits for, or `full` for as many as the network's window reaches;
            None for the default of the server. In an open session, it is a number if all poses wait for the same.
        coordinates: those of its keypoints.
        strict: whether to refuse frames that would otherwise be answered with a warning.
        camera, person: what is known of them.
        world: how motion in the world is answered; None if it is not.
    Raises:
        InvalidRequest: the frame rate is outside the limits of a live stream.
    """

    source: Skeleton
    width_px: int
    height_px: int
    fps: float | None
    lookahead: int | Literal["full"] | None
    coordinates: Coordinates = "pixels"
    strict: bool = False
    camera: Camera = UNKNOWN_CAMERA
    person: Person = UNKNOWN_PERSON
    world: WorldOptions | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not MIN_SESSION_FPS <= self.fps <= MAX_SESSION_FPS:
            raise InvalidRequest(
                f"A session has {MIN_SESSION_FPS} to {MAX_SESSION_FPS} frames per second, not {self.fps:g}.", path="fps"
            )


@dataclass(frozen=True)
class Session:
    """A replica's copy of a session.

    Attributes:
        session_id: identity of the artifact that lifts the session, a random name, and a tag of the API key. It keeps
            frames stored for one network from ever being fed to another.
        stamp: stamp of the newest frame.
        motion: states of its motion in the world, each after all frames before an index.
        own: own poses of its newest frames, for an `AveragedWindow`; None: they are lifted again where they are needed.
    """

    session_id: str
    opening: Opening
    manifest: Manifest
    window: StreamWindow
    frames: KeptFrames
    stamp: bytes
    motion: Mapping[int, bytes] = field(default_factory=dict)
    own: OwnPoses | None = None

    @property
    def is_timed(self) -> bool:
        """Whether each frame has a time of its own."""
        return self.opening.fps is None

    @property
    def full_lookahead_s(self) -> float:
        """The time that the network's window reaches after a frame."""
        window = self.window.own if isinstance(self.window, AveragedWindow) else self.window
        if isinstance(window, LiveWindow):
            assert self.opening.fps is not None
            return window.full_lookahead / self.opening.fps
        return window.full_lookahead_s

    @property
    def next_frame_index(self) -> int:
        return self.frames.stop

    @property
    def cursor(self) -> ReplicaCursor:
        """How far this copy reaches."""
        return ReplicaCursor(self.frames.stop, self.stamp)


def window_of(manifest: Manifest, opening: Opening) -> StreamWindow:
    """The window over the frames of a session.

    Raises:
        InvalidKeypoints: the network's window does not reach that far ahead.
    """
    lookahead = opening.lookahead if isinstance(opening.lookahead, int) else None
    if lookahead is None and opening.fps is not None and manifest.sequence_to_sequence:
        return BlockWindow(manifest, opening.fps)
    return stream_window(manifest, opening.fps, lookahead)


def recommended_lookahead(manifest: Manifest, opening: Opening) -> int | Literal["full"]:
    """Later frames to wait for where nobody has chosen.

    The whole window for a lifter that predicts the middle of one. A sequence-to-sequence lifter needs little to be
    nearly as accurate, and with the whole window its poses come in blocks, which is not what live motion should look
    like.
    """
    if not manifest.sequence_to_sequence:
        return "full"
    return round(_RECOMMENDED_LOOKAHEAD_S * (opening.fps or _USUAL_FPS))


def check_frame_times(times_s: NDArray[np.float64], first: int, before: KeptFrames) -> None:
    """Refuse times that cannot be those of the next frames of a camera.

    Args:
        times_s: [F] seconds.
        first: index of the first of these frames.
        before: the frames before it, if there are any.
    Raises:
        InvalidRequest: they do not increase, or jump.
    """
    position = first - before.start
    assert before.times_s is not None
    known_s = before.times_s[max(0, position - 1) : max(0, position)]
    gaps_s = np.diff(np.concatenate([known_s, times_s]))
    wrong = np.flatnonzero((gaps_s <= 0) | (gaps_s > MAX_GAP_S))
    if not len(wrong):
        return
    frame, gap_s = first + 1 - len(known_s) + int(wrong[0]), float(gaps_s[wrong[0]])
    if gap_s <= 0:
        sentence = f"Frame {frame} comes {-gap_s:g} s before the one before it; times must increase."
    else:
        sentence = (
            f"Frame {frame} comes {gap_s:g} s after the one before it, more than {MAX_GAP_S:g}: times are in seconds, "
            "and after a long pause another session is opened."
        )
    raise InvalidRequest(sentence, path="time_s")


def new_session_id(identity: str, key: str | None) -> str:
    """Make the ID of a session that may only be used with the API key that opens it.

    Its last digits are a tag of the key's name. A caller cannot choose that name, so the tag needs no secret.

    Args:
        identity: of the artifact that lifts the session.
        key: name of the API key; None lets everybody use the session.
    """
    random = secrets.token_hex(_RANDOM_BYTES)
    return f"{identity}-{random}{_tag(random, key)}"


def identity_of(session_id: str, caller: Caller) -> str:
    """Read the identity of the artifact that lifts a session from the session's ID.

    Raises:
        UnknownSession: it is not a valid session ID, or another key has opened the session.
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise UnknownSession
    identity, _, name = session_id.partition("-")
    random, tag = name[:-_TAG_DIGITS], name[-_TAG_DIGITS:]
    if caller.key is not None and tag not in (_tag(random, caller.key), _tag(random, None)):
        raise UnknownSession
    return identity


def _tag(random: str, key: str | None) -> str:
    return hashlib.sha256(f"{random} {key or ''}".encode()).hexdigest()[:_TAG_DIGITS]
