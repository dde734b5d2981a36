"""Requests about whole clips in JSON: bodies of POST /lift and POST /complete to requests, results to answers."""

from collections.abc import Sequence as Items

import numpy as np
from numpy.typing import NDArray

from poselift.camera_fields import camera_from, person_from
from poselift.person_choice import ALL
from poselift.sequence import PoseSequence, Sequence, check_root
from poselift.skeletons import skeleton
from poselift_service.codecs.json.arrays import KEYPOINTS, POSES, ArrayField
from poselift_service.codecs.json.documents import Arrays
from poselift_service.codecs.json.forms import CompleteForm, LiftForm, PoseTrackForm, TrackForm, world_options
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.json.writer import JsonWriter
from poselift_service.pipeline.checks import (
    FramesPath,
    check_keypoints,
    check_poses,
    check_timing,
    in_pixels,
    timing_field,
)
from poselift_service.pipeline.lift import Result
from poselift_service.pipeline.off_loop import joints_in, run_off_loop_if_long
from poselift_service.pipeline.request import (
    CompleteRequest,
    LiftRequest,
    targets_of,
    times_of,
    tracks_of,
    with_people,
)


class JsonLiftCodec:
    """Reads requests about whole clips from JSON, and writes results to it."""

    def __init__(self, reader: JsonReader) -> None:
        self._reader = reader
        self._writer = JsonWriter()

    async def read_lift(self, body: bytes) -> LiftRequest:
        """Parse and validate a body with keypoints.

        Raises:
            InvalidRequest: it breaks the contract; the path names the first field at fault.
            UnknownSkeleton: there is no such skeleton.
        """
        form, arrays = await self._reader.read(body, LiftForm, KEYPOINTS)
        return await run_off_loop_if_long(_joints(arrays), lift_request, form, arrays)

    async def read_complete(self, body: bytes) -> CompleteRequest:
        """Parse and validate a body with poses; raises as `read_lift` does, and InvalidPoses without a pelvis."""
        form, arrays = await self._reader.read(body, CompleteForm, POSES)
        return await run_off_loop_if_long(_joints(arrays), _complete_request, form, arrays)

    async def write(self, result: Result, *, total_s: float) -> bytes:
        """The body of the answer."""
        return await self._writer.write(result, total_s=total_s)


def _joints(arrays: Arrays) -> int:
    return sum(map(joints_in, arrays.values()))


def lift_request(form: LiftForm, arrays: Arrays) -> LiftRequest:
    """The request of a body, with its arrays by path; raises as `JsonLiftCodec.read_lift`."""
    source = skeleton(form.skeleton)
    check_timing(form.fps, form.timestamps_s)
    camera, person = camera_from(form.camera, *form.image_size), person_from(form.person)

    def sequence(keypoints: NDArray[np.float64], path: str) -> Sequence:
        check_keypoints(keypoints, FramesPath(path))
        times_s = times_of(len(keypoints), form.fps, form.timestamps_s, path)
        pixels = in_pixels(keypoints.astype(np.float32), form.coordinates, *form.image_size, FramesPath(path))
        return Sequence(pixels, source, *form.image_size, times_s, camera, person)

    tracks = tracks_of("keypoints", arrays.get("keypoints"), _tracks(form, KEYPOINTS, arrays), sequence)
    tracks = with_people(tracks, [person_from(track.person, person) for track in form.tracks or ()])
    targets = targets_of(form.targets, tracks)
    return LiftRequest(
        tracks,
        form.model,
        form.mirrored_average,
        targets,
        form.person_choice or ALL,
        timing_field(form.fps),
        form.strict,
        world_options(form.world),
    )


def _complete_request(form: CompleteForm, arrays: Arrays) -> CompleteRequest:
    source = skeleton(form.skeleton)
    check_timing(form.fps, form.timestamps_s)

    def sequence(joints: NDArray[np.float64], path: str) -> PoseSequence:
        check_poses(joints, path)
        check_root(joints, source, path)
        return PoseSequence(joints, source, times_of(len(joints), form.fps, form.timestamps_s, path))

    tracks = tracks_of("poses", arrays.get("poses"), _tracks(form, POSES, arrays), sequence)
    targets = targets_of(form.targets, tracks)
    return CompleteRequest(tracks, form.model, form.mirrored_average, targets, timing=timing_field(form.fps))


def _tracks(
    form: LiftForm | CompleteForm, field: ArrayField, arrays: Arrays
) -> list[tuple[str, NDArray[np.float64]]] | None:
    """The tracks of a body with their arrays; None when it has none."""
    if form.tracks is None:
        return None
    tracks: Items[TrackForm | PoseTrackForm] = form.tracks
    return [(track.track_id, arrays[f"tracks[{number}].{field.name}"]) for number, track in enumerate(tracks)]
