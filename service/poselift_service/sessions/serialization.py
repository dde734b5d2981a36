"""The bytes in which a store keeps the openings and the frames of sessions."""

import json
import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from poselift.artifacts.manifest import Manifest
from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person
from poselift.errors import PoseliftError
from poselift.live_window import KeptFrames
from poselift.motion.world import WorldOptions
from poselift.skeletons import skeleton
from poselift_service.errors import InvalidRequest, UnknownSession
from poselift_service.sessions.session import Opening
from poselift_service.sessions.store import StoreReply

logger = logging.getLogger(__name__)

_SCREEN_DTYPE, _TIME_DTYPE = np.dtype("<f4"), np.dtype("<f8")


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
    if opening.camera != UNKNOWN_CAMERA:
        fields["camera"] = asdict(opening.camera)
    if opening.person != UNKNOWN_PERSON:
        fields["person"] = asdict(opening.person)
    if opening.world is not None:
        fields["world"] = asdict(opening.world)
    return json.dumps(fields).encode()


def load_opening(serialized: bytes) -> Opening:
    """Read what `dump_opening` wrote.

    Raises:
        UnknownSession: it is something else.
    """
    try:
        fields = json.loads(serialized)
        known = {"source": skeleton(fields["source"])} | _load_known(fields)
        return Opening(**{**fields, **known})
    except (ValueError, TypeError, AttributeError, LookupError, PoseliftError, InvalidRequest) as error:
        logger.warning("a stored session cannot be read: %s", type(error).__name__)
        raise UnknownSession from error


def _load_known(fields: dict[str, Any]) -> dict[str, Camera | Person | WorldOptions]:
    """What an opening says of the camera, the person and the world."""
    known: dict[str, Camera | Person | WorldOptions] = {}
    if "camera" in fields:
        camera: dict[str, Any] = fields["camera"]
        listed = {name: tuple(value) for name, value in camera.items() if isinstance(value, list)}
        known["camera"] = Camera(**{**camera, **listed})
    if "person" in fields:
        known["person"] = Person(**fields["person"])
    if "world" in fields:
        known["world"] = WorldOptions(**fields["world"])
    return known


def dump_frames(frames: KeptFrames) -> list[bytes]:
    """Serialize frames.

    Each is little-endian float32 screen coordinates [J_in, 2] and what is known, as `KeptFrames.screen`, then one bit
    per imputed joint [J_out], then, if it has one, its time as a float64.
    """
    screen = frames.screen.astype(_SCREEN_DTYPE, copy=False).tobytes()
    flags = np.packbits(frames.imputed, axis=1).tobytes()
    times = b"" if frames.times_s is None else frames.times_s.astype(_TIME_DTYPE, copy=False).tobytes()
    count = len(frames.screen)
    return [
        b"".join(part[frame * len(part) // count : (frame + 1) * len(part) // count] for part in (screen, flags, times))
        for frame in range(count)
    ]


def load_frames(reply: StoreReply, manifest: Manifest, *, timed: bool = False) -> KeptFrames:
    """Read the frames of a reply, as `dump_frames` wrote them.

    Args:
        timed: whether they have times.
    Raises:
        UnknownSession: they are something else.
    """
    rows, joints_out = manifest.frame_shape[0], manifest.target.n_joints
    screen_bytes, flag_bytes = rows * 2 * _SCREEN_DTYPE.itemsize, -(-joints_out // 8)
    frame_bytes = screen_bytes + flag_bytes + (_TIME_DTYPE.itemsize if timed else 0)
    if any(len(frame) != frame_bytes for frame in reply.frames):
        logger.warning("the stored frames of a session cannot be read")
        raise UnknownSession
    content = np.frombuffer(b"".join(reply.frames), np.uint8).reshape(-1, frame_bytes)
    screen = np.ascontiguousarray(content[:, :screen_bytes]).view(_SCREEN_DTYPE).astype(np.float32)
    flags = content[:, screen_bytes : screen_bytes + flag_bytes]
    imputed = np.unpackbits(flags, axis=1, count=joints_out).astype(np.bool_)
    times_s = None
    if timed:
        times_s = np.ascontiguousarray(content[:, -_TIME_DTYPE.itemsize :]).view(_TIME_DTYPE).astype(np.float64)[:, 0]
    return KeptFrames(reply.first, screen.reshape(-1, rows, 2), imputed.reshape(-1, joints_out), times_s)
