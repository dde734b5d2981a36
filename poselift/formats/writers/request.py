"""Keypoints as a body of POST /lift."""

from collections.abc import Sequence as Items
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poselift.camera import Camera
from poselift.sequence import Sequence, constant_rate_hz

_TIME_DECIMALS = 9


class Detected(Protocol):
    """One person, as `Track` and `LiftedTrack` have them."""

    @property
    def track_id(self) -> str | None:
        """None for the only person of a recording without identities."""

    @property
    def sequence(self) -> Sequence | None:
        """The keypoints."""


def request_document(tracks: Items[Detected]) -> dict[str, Any]:
    """The body of a POST /lift about people; keypoints are arrays, which orjson writes directly.

    People that have frames at the same rate, but not as many, keep theirs.

    Args:
        tracks: all with keypoints.
    """
    sequences = [_sequence(track) for track in tracks]
    first = sequences[0]
    longest_s = max((sequence.times_s for sequence in sequences), key=len)
    return {
        "skeleton": first.skeleton.name,
        "image_size": [max(1, round(first.width_px)), max(1, round(first.height_px))],
        **_timing(longest_s),
        **_camera(first.camera),
        **_people(tracks),
    }


def _sequence(track: Detected) -> Sequence:
    assert track.sequence is not None, "these have keypoints"
    return track.sequence


def _people(tracks: Items[Detected]) -> dict[str, Any]:
    if [track.track_id for track in tracks] == [None]:
        return _person(_sequence(tracks[0]))
    return {"tracks": [{"track_id": track.track_id, **_person(_sequence(track))} for track in tracks]}


def _person(sequence: Sequence) -> dict[str, Any]:
    height_m = sequence.person.height_m
    known = {} if height_m is None else {"person": {"height_m": height_m}}
    return {"keypoints": _frames(sequence), **known}


def _camera(camera: Camera) -> dict[str, Any]:
    """What is known of the camera, as `camera_fields.CameraFields` has it."""
    said = {
        "focal_px": camera.focal_px,
        "principal_point_px": camera.principal_point_px,
        "distortion": camera.distortion or None,
        "fisheye": camera.fisheye or None,
        "gravity": camera.gravity,
    }
    known = {name: value for name, value in said.items() if value is not None}
    return {"camera": known} if known else {}


def _frames(sequence: Sequence) -> list[NDArray[np.float32] | None]:
    """Each frame's keypoints, None in a frame without the person."""
    seen: NDArray[np.bool_] = np.asarray(~np.isnan(sequence.keypoints[..., 0]).all(axis=1))
    frames = np.ascontiguousarray(sequence.keypoints)
    return [frame if is_seen else None for frame, is_seen in zip(frames, seen, strict=True)]


def _timing(times_s: NDArray[np.float64]) -> dict[str, Any]:
    rate_hz = constant_rate_hz(times_s)
    return {"timestamps_s": np.round(times_s, _TIME_DECIMALS)} if rate_hz is None else {"fps": rate_hz}
