"""The bytes in which a store keeps the openings and the frames of sessions."""

import json
import logging

import numpy as np

from poselift.artifacts.manifest import Manifest
from poselift.errors import PoseliftError
from poselift.live_window import KeptFrames
from poselift.skeletons import skeleton
from poselift_service.errors import InvalidRequest, UnknownSession
from poselift_service.sessions.session import Opening
from poselift_service.sessions.store import StoreReply

logger = logging.getLogger(__name__)

_SCREEN_DTYPE = np.dtype("<f4")


def dump_opening(opening: Opening) -> bytes:
    """Serialize an opening as JSON."""
    fields: dict[str, object] = {
        "source": opening.source.name,
        "width_px": opening.width_px,
        "height_px": opening.height_px,
        "fps": opening.fps,
        "lookahead": opening.lookahead,
    }
    # Left out by default, so that servers of the version before, which do not know them, can read most sessions.
    if opening.coordinates != "pixels":
        fields["coordinates"] = opening.coordinates
    if opening.strict:
        fields["strict"] = True
    return json.dumps(fields).encode()


def load_opening(serialized: bytes) -> Opening:
    """Read what `dump_opening` wrote.

    Raises:
        UnknownSession: it is something else.
    """
    try:
        fields = json.loads(serialized)
        return Opening(**{**fields, "source": skeleton(fields["source"])})
    except (ValueError, TypeError, LookupError, PoseliftError, InvalidRequest) as error:
        logger.warning("a stored session cannot be read: %s", type(error).__name__)
        raise UnknownSession from error


def dump_frames(frames: KeptFrames) -> list[bytes]:
    """Serialize frames: little-endian float32 screen coordinates [J_in, 2], then one bit per imputed joint [J_out]."""
    screen = frames.screen.astype(_SCREEN_DTYPE, copy=False).tobytes()
    flags = np.packbits(frames.imputed, axis=1).tobytes()
    count = len(frames.screen)
    screen_bytes, flag_bytes = len(screen) // count, len(flags) // count
    return [
        screen[frame * screen_bytes : (frame + 1) * screen_bytes] + flags[frame * flag_bytes : (frame + 1) * flag_bytes]
        for frame in range(count)
    ]


def load_frames(reply: StoreReply, manifest: Manifest) -> KeptFrames:
    """Read the frames of a reply, as `dump_frames` wrote them.

    Raises:
        UnknownSession: they are something else.
    """
    joints_in, joints_out = manifest.source.n_joints, manifest.target.n_joints
    screen_bytes, flag_bytes = joints_in * 2 * _SCREEN_DTYPE.itemsize, -(-joints_out // 8)
    if any(len(frame) != screen_bytes + flag_bytes for frame in reply.frames):
        logger.warning("the stored frames of a session cannot be read")
        raise UnknownSession
    content = np.frombuffer(b"".join(reply.frames), np.uint8).reshape(-1, screen_bytes + flag_bytes)
    screen = np.ascontiguousarray(content[:, :screen_bytes]).view(_SCREEN_DTYPE).astype(np.float32)
    imputed = np.unpackbits(content[:, screen_bytes:], axis=1, count=joints_out).astype(np.bool_)
    return KeptFrames(reply.first, screen.reshape(-1, joints_in, 2), imputed.reshape(-1, joints_out))
