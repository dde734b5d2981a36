"""Results to JSON."""

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from poselift.formats.writers.json import DECIMALS, poses_document
from poselift.formats.writers.world import world_document, world_rows
from poselift_service.pipeline.lift import Result
from poselift_service.pipeline.live import LivePoses
from poselift_service.pipeline.motion import Refined

# Written at once, in 2 ms at most.
_SHORT_FRAMES = 300
_PIECE_FRAMES = 128


class JsonWriter:
    """Writes answers to requests about whole clips; long ones one at a time and in pieces.

    The encoder holds Python's lock, so the event loop runs others between two pieces.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def write(self, result: Result, *, total_s: float) -> bytes:
        """The body of the answer."""
        document = _answer(result, total_s)
        if sum(len(track.lifted.joints) for track in result.tracks) > _SHORT_FRAMES:
            async with self._turn:
                await _encode_arrays(document)
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

    async def write_refined(self, refined: Refined, *, total_s: float) -> bytes:
        """The body that answers POST /refine."""
        people: list[dict[str, Any]] = [
            {"track_id": track_id, "world": world_document(world)} for track_id, world in refined.tracks
        ]
        person = {"world": people[0]["world"]} if people[0]["track_id"] is None else {"tracks": people}
        document = {**person, "timing_ms": {"total": round(1000 * total_s, 3)}}
        if refined.frames > _SHORT_FRAMES:
            async with self._turn:
                await _encode_arrays(document)
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def write_poses(poses: LivePoses, *, total_s: float) -> bytes:
    """The body that answers frames of a session."""
    return orjson.dumps(_live_answer(poses, total_s), option=orjson.OPT_SERIALIZE_NUMPY)


def write_shared_poses(answers: Iterable[LivePoses], *, total_s: float) -> bytes:
    """The message that answers frames of several sessions."""
    parts = [{"session_id": poses.session.session_id, **_live_answer(poses, total_s)} for poses in answers]
    return orjson.dumps({"sessions": parts}, option=orjson.OPT_SERIALIZE_NUMPY)


def _live_answer(poses: LivePoses, total_s: float) -> dict[str, Any]:
    lifted = poses.lifted
    # Adding zero turns -0.0 into 0.0.
    rounded = np.round(lifted.joints, DECIMALS) + 0.0
    frames = [
        {"frame_index": target, "lookahead": seen, "pose": pose, "imputed": imputed}
        for target, seen, pose, imputed in zip(poses.targets, poses.future_frames, rounded, lifted.imputed, strict=True)
    ]
    if lifted.expected_error_m is not None:
        for frame, expected_error_m in zip(frames, np.round(lifted.expected_error_m, DECIMALS), strict=True):
            frame["expected_error_m"] = expected_error_m
    world: dict[str, Any] = {}
    if poses.world is not None:
        rows, world["world"] = world_rows(poses.world)
        for frame, row in zip(frames, rows, strict=True):
            frame["world"] = row
    return {
        "frames": frames,
        "next_frame_index": poses.session.next_frame_index,
        **world,
        "warnings": poses.warnings,
        "timing_ms": _timing_ms(poses.queue_s, poses.inference_s, total_s),
    }


def _answer(result: Result, total_s: float) -> dict[str, Any]:
    """The answer to a clip, in which poses and imputed joints are arrays."""
    timing_ms = _timing_ms(result.queue_s, result.inference_s, total_s)
    return {**poses_document(result.manifest, result.tracks, result.warnings), "timing_ms": timing_ms}


def _timing_ms(queue_s: float, inference_s: float, total_s: float) -> dict[str, float]:
    times_s = {"queue": queue_s, "inference": inference_s, "total": total_s}
    return {stage: round(1000 * seconds, 3) for stage, seconds in times_s.items()}


async def _encode_arrays(answer: dict[str, Any]) -> None:
    """Replace the arrays of an answer by their JSON."""
    for track in answer.get("tracks", [answer]):
        for part in (track, world := track.get("world", {}), world.get("angles", {})):
            for name, values in part.items():
                if isinstance(values, np.ndarray):
                    part[name] = await _encode(values)


async def _encode(values: NDArray[Any]) -> orjson.Fragment:
    pieces = []
    for first in range(0, len(values), _PIECE_FRAMES):
        piece = orjson.dumps(values[first : first + _PIECE_FRAMES], option=orjson.OPT_SERIALIZE_NUMPY)
        pieces.append(piece[1:-1])
        await asyncio.sleep(0)
    return orjson.Fragment(b"[" + b",".join(pieces) + b"]")
