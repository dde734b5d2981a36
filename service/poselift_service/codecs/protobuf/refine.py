"""Stored answers with their keypoints in protobuf: the bytes of `poselift.v1` to requests, motion to bytes."""

from dataclasses import replace

import numpy as np

from poselift.errors import PoseliftError
from poselift.formats.writers.track import LiftedTrack
from poselift.lifting import Lifted
from poselift.motion.clip import with_gravity
from poselift.motion.world import WorldOptions
from poselift.pb import lifter_pb2 as pb
from poselift.skeletons import SKELETONS
from poselift_service.codecs.protobuf.counts import refine_limits
from poselift_service.codecs.protobuf.fields import parse
from poselift_service.codecs.protobuf.lift import BYTES_PER_JOINT, frames_of, lift_request
from poselift_service.codecs.protobuf.world import fill_world
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.checks import check_poses
from poselift_service.pipeline.motion import Refined, RefineRequest
from poselift_service.pipeline.off_loop import run_off_loop_if_long
from poselift_service.pipeline.request import Limits

_ANSWERED = SKELETONS["h36m17"]


async def read_refine(body: bytes, limits: Limits) -> RefineRequest:
    """Parse and validate a `RefineRequest`, in a thread when it is long.

    Raises:
        InvalidRequest, PoseliftError: it breaks the contract; the path names the first field at fault.
    """
    return await run_off_loop_if_long(len(body) // BYTES_PER_JOINT, _read, body, limits)


def _read(body: bytes, limits: Limits) -> RefineRequest:
    message = parse(body, pb.RefineRequest, refine_limits(limits))
    try:
        request = lift_request(message.request)
        request = replace(request, world=request.world or WorldOptions())
    except (InvalidRequest, PoseliftError) as error:
        raise type(error)(error.message, path=f"request.{error.path}" if error.path else "request") from error
    answer = message.answer
    if not answer.tracks:
        return RefineRequest(request, (_track(None, answer, "answer"),))
    tracks = enumerate(answer.tracks)
    return RefineRequest(
        request, tuple(_track(track.track_id, track, f"answer.tracks[{number}]") for number, track in tracks)
    )


def _track(track_id: str | None, person: pb.LiftResponse | pb.LiftedTrack, path: str) -> LiftedTrack:
    joints = frames_of(person.joints, _ANSWERED, f"{path}.joints")
    check_poses(joints, f"{path}.joints")
    if np.isnan(joints).any():
        raise InvalidRequest("The poses of an answer have every joint.", path=f"{path}.joints")
    errors = np.array(person.expected_error_m, np.float32)
    if len(errors) not in (0, joints[..., 0].size) or not (np.isfinite(errors) & (errors >= 0)).all():
        raise InvalidRequest(
            "There must be a distance for each joint of each pose, or none.", path=f"{path}.expected_error_m"
        )
    imputed = np.zeros(joints.shape[:2], np.bool_)
    lifted = Lifted(joints, imputed, errors.reshape(joints.shape[:2]) if len(errors) else None)
    if person.world.gravity.HasField("network"):
        told = person.world.gravity.network
        lifted = with_gravity(lifted, told.direction, told.uncertainty_deg, f"{path}.world.gravity.network")
    return LiftedTrack(track_id, lifted)


def write_refined(refined: Refined, *, total_s: float) -> bytes:
    """The `RefineResponse`."""
    answer = pb.RefineResponse(timing_ms=pb.TimingMs(total=1000 * total_s))
    for track_id, motion in refined.tracks:
        fill_world(answer.world if track_id is None else answer.tracks.add(track_id=track_id).world, motion)
    return answer.SerializeToString()
