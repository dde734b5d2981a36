"""Live sessions in JSON: bodies and messages to frames, results to answers."""

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from poselift.skeletons import skeleton
from poselift_service.codecs.json.arrays import KEYPOINTS
from poselift_service.codecs.json.forms import EndForm, FramesForm, OpeningForm
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.json.refusals import validate
from poselift_service.codecs.json.writer import write_poses
from poselift_service.pipeline.checks import KEYPOINTS_FIELD, FramesPath, check_keypoints
from poselift_service.pipeline.live import LivePoses
from poselift_service.pipeline.off_loop import joints_in, run_off_loop_if_long
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
    lookahead = None if form.lookahead == "full" else form.lookahead
    source = skeleton(form.skeleton)
    return Opening(source, *form.image_size, form.fps, lookahead, form.coordinates, form.strict), form.model


async def read_frames(reader: JsonReader, body: bytes, session: Session) -> tuple[int, NDArray[np.float32]]:
    """Parse and validate frames of a session.

    Returns:
        Index of the first frame, and keypoints [F, J, 3], NaN where a number is missing.
    Raises:
        InvalidRequest: they break the contract; the path names the first field at fault.
    """
    form, arrays = await reader.read(body, FramesForm, KEYPOINTS, session.opening.source)
    keypoints = arrays["keypoints"]
    await run_off_loop_if_long(joints_in(keypoints), check_keypoints, keypoints, KEYPOINTS_FIELD)
    return form.frame_index, keypoints.astype(np.float32)


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

    @property
    def session_id(self) -> str:
        """Empty, because the path of the WebSocket names the session."""
        return ""

    @property
    def is_end_of_stream(self) -> bool:
        """Whether no frames will follow."""
        return self.end is not None

    @property
    def next_frame_index(self) -> int | None:
        """How many frames the client has sent, if the message ends the stream and says so."""
        return None if self.end is None else self.end.next_frame_index

    @property
    def frames_path(self) -> FramesPath:
        """Where the message has its frames."""
        return KEYPOINTS_FIELD

    async def frames(self, session: Session) -> tuple[int, NDArray[np.float32]]:
        """As `read_frames`."""
        return await read_frames(self.reader, self.body, session)


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
