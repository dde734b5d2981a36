"""Keypoints as a body of POST /lift."""

from collections.abc import Sequence as Items
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.formats.readers.recording import Track
from poselift.sequence import Sequence, constant_rate_hz

_TIME_DECIMALS = 9


def request_document(tracks: Items[Track]) -> dict[str, Any]:
    """The body of a POST /lift about the people of a file; keypoints are arrays, which orjson writes directly.

    People that have frames at the same rate, but not as many, keep theirs.
    """
    first = tracks[0].sequence
    longest_s = max((track.sequence.times_s for track in tracks), key=len)
    return {
        "skeleton": first.skeleton.name,
        "image_size": [max(1, round(first.width_px)), max(1, round(first.height_px))],
        **_timing(longest_s),
        **_people(tracks),
    }


def _people(tracks: Items[Track]) -> dict[str, Any]:
    if [track.track_id for track in tracks] == [None]:
        return {"keypoints": _frames(tracks[0].sequence)}
    return {"tracks": [{"track_id": track.track_id, "keypoints": _frames(track.sequence)} for track in tracks]}


def _frames(sequence: Sequence) -> list[NDArray[np.float32] | None]:
    """Each frame's keypoints, None in a frame without the person."""
    seen: NDArray[np.bool_] = np.asarray(~np.isnan(sequence.keypoints[..., 0]).all(axis=1))
    frames = np.ascontiguousarray(sequence.keypoints)
    return [frame if is_seen else None for frame, is_seen in zip(frames, seen, strict=True)]


def _timing(times_s: NDArray[np.float64]) -> dict[str, Any]:
    rate_hz = constant_rate_hz(times_s)
    return {"timestamps_s": np.round(times_s, _TIME_DECIMALS)} if rate_hz is None else {"fps": rate_hz}
