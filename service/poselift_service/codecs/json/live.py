"""Live sessions in JSON: bodies and messages to frames, results to answers."""

import json
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from poselift.camera_fields import camera_from, person_from
from poselift.skeletons import skeleton
from poselift_service.codecs.json.arrays import KEYPOINTS
from poselift_service.codecs.json.forms import EndForm, FramesForm, OpeningForm, world_options
from poselift_service.codecs.json.reader import SHORT_BYTES, JsonReader
from poselift_service.codecs.json.refusals import validate
from poselift_service.codecs.json.writer import write_poses, write_shared_poses
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.checks import KEYPOINTS_FIELD, check_keypoints
from poselift_service.pipeline.live import LiveFrames, LivePoses
from poselift_service.pipeline.off_loop import joints_in, run_off_loop_if_long
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.session import Opening, Session

# A longer message is not parsed to find out whether it ends the stream.
_MAX_END_BYTES = 64


def read_opening(body: bytes) -> tuple[Opening, str | None]:
    """Parse and validate the body that opens a session.

    Returns:
        How the session is opened, and the model it asks for.
    Raises:
        InvalidRequest: it breaks the contract; the path names the first field at fault.
        UnknownSkeleton: there is no such skeleton.
    """
    form = validate(OpeningForm, body)
    source = skeleton(form.skeleton)
    camera, person = camera_from(form.camera, *form.image_size), person_from(form.person)
    timing, world = (form.fps, form.lookahead), world_options(form.world)
    opening = Opening(source, *form.image_size, *timing, form.coordinates, form.strict, camera, person, world)
    return opening, form.model


async def read_frames(reader: JsonReader, body: bytes, session: Session) -> LiveFrames:
    """Parse and validate frames of a session.

    Raises:
        InvalidRequest: they break the contract; the path names the first field at fault.
    """
    form, arrays = await reader.read(body, FramesForm, KEYPOINTS, session.opening.source)
    keypoints = arrays["keypoints"]
    await run_off_loop_if_long(joints_in(keypoints), check_keypoints, keypoints, KEYPOINTS_FIELD)
    return LiveFrames(form.frame_index, keypoints.astype(np.float32), _times_of(form, len(keypoints)))


def _times_of(form: FramesForm, frames: int) -> NDArray[np.float64] | None:
    if form.time_s is None:
        return None
    times_s = np.array(form.time_s, dtype=np.float64)
    if len(times_s) != frames:
        raise InvalidRequest(f"There must be one time per frame: {len(times_s)} for {frames}.", path="time_s")
    return times_s


def _read_end(message: bytes) -> EndForm | None:
    """Parse a message of a stream that says that no frames will follow; any other is a body with frames.

    Raises:
        InvalidRequest: it does not say properly how many frames there were.
    """
    if len(message) > _MAX_END_BYTES:
        return None
    try:
        document = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or {**document, "next_frame_index": 0} != {"end": True, "next_frame_index": 0}:
        return None
    return validate(EndForm, message)


@dataclass(frozen=True)
class JsonStreamMessage:
    """A message of a WebSocket: frames as `POST /sessions/{session_id}/frames` takes them, or the end."""

    reader: JsonReader
    body: bytes
    end: EndForm | None
    session_id: str = ""
    """Empty where the path of the WebSocket names the session."""

    @property
    def is_end_of_stream(self) -> bool:
        """Whether no frames will follow."""
        return self.end is not None

    @property
    def next_frame_index(self) -> int | None:
        """How many frames the client has sent, if the message ends the stream and says so."""
        return None if self.end is None else self.end.next_frame_index

    async def frames(self, session: Session) -> LiveFrames:
        """As `read_frames`."""
        return await read_frames(self.reader, self.body, session)


def _parts_of(body: bytes) -> tuple[list[dict[str, Any]], Callable[[Any], bytes]]:
    """The parts of a message about several sessions, and what writes a part as it was.

    Raises:
        ValueError, RecursionError: it is not made of such parts.
    """
    try:
        document = orjson.loads(body)
        dump: Callable[[Any], bytes] = orjson.dumps
    except orjson.JSONDecodeError:  # missing joints may be NaN, as Python writes them
        document, dump = json.loads(body), _dump_with_nan
    parts = document.get("sessions") if isinstance(document, dict) else None
    if not (isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts)):
        raise ValueError
    return parts, dump


def _dump_with_nan(part: Any) -> bytes:
    return json.dumps(part).encode()


def _frames_in(part: dict[str, Any]) -> int:
    keypoints = part.get("keypoints")
    return len(keypoints) if isinstance(keypoints, list) else 0


class JsonSharedCodec:
    """Reads messages about several sessions from JSON, and writes the answers to them."""

    def __init__(self, reader: JsonReader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits

    def read_messages(self, body: bytes) -> list[JsonStreamMessage]:
        """Take a message apart; what is wrong with the frames of a part comes out when they are read.

        Raises:
            InvalidRequest: it is too long, or has no parts, too many of them, or too many frames in all.
        """
        if len(body) > SHORT_BYTES:
            raise InvalidRequest(f"A message about several sessions has at most {SHORT_BYTES} bytes.", path="sessions")
        try:
            parts, dump = _parts_of(body)
            if len(parts) > self._limits.tracks:
                raise InvalidRequest(self._limits.tracks_refusal, path="sessions")
            self._limits.check_live(sum(map(_frames_in, parts)), path="sessions")
            return [self._message(part, dump) for part in parts]
        except (ValueError, TypeError, RecursionError):
            raise InvalidRequest(
                'The message must be {"sessions": [{"session_id": ..., "frame_index": ..., "keypoints": ...}, ...]}.',
                path="sessions",
            ) from None

    def _message(self, part: dict[str, Any], dump: Callable[[Any], bytes]) -> JsonStreamMessage:
        session_id = part.pop("session_id", "")
        body = dump(part)
        return JsonStreamMessage(self._reader, body, _read_end(body), session_id if isinstance(session_id, str) else "")

    def write_answers(self, answers: Items[LivePoses], *, total_s: float) -> bytes:
        """The answer to a message."""
        return write_shared_poses(answers, total_s=total_s)


class JsonStreamCodec:
    """Reads the messages of a stream from JSON, and writes the answers to it."""

    def __init__(self, reader: JsonReader) -> None:
        self._reader = reader

    def read_message(self, body: bytes) -> JsonStreamMessage:
        """Take a message; what is wrong with its frames comes out when they are read."""
        return JsonStreamMessage(self._reader, body, _read_end(body))

    def write_poses(self, poses: LivePoses, *, total_s: float) -> bytes:
        """The answer to a message."""
        return write_poses(poses, total_s=total_s)
