"""Whole clips in protobuf, over gRPC and HTTP: the bytes of `poselift.v1` to requests, results and models to bytes."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from poselift.formats.writers.track import axes
from poselift.lifters.lifter import Task
from poselift.pb import lifter_pb2 as pb
from poselift.person_choice import ALL
from poselift.sequence import MAX_TIMESTAMP_S, PoseSequence, Sequence, check_root
from poselift.skeletons import Skeleton, skeleton
from poselift_service.codecs.protobuf.counts import clip_limits
from poselift_service.codecs.protobuf.fields import (
    add_warnings,
    camera_of,
    check_image_size,
    coordinates_of,
    model_of,
    pack_bits,
    parse,
    person_of,
    set_floats,
    world_of,
)
from poselift_service.codecs.protobuf.world import fill_world
from poselift_service.errors import InvalidRequest
from poselift_service.inference.models import Model, ServedModels
from poselift_service.pipeline.checks import (
    MAX_FPS,
    MAX_TRACK_ID_CHARACTERS,
    MIN_FPS,
    FramesPath,
    check_keypoints,
    check_poses,
    check_timing,
    in_pixels,
    timing_field,
)
from poselift_service.pipeline.lift import Result
from poselift_service.pipeline.off_loop import run_off_loop_if_long
from poselift_service.pipeline.request import (
    CompleteRequest,
    LiftRequest,
    Limits,
    targets_of,
    times_of,
    tracks_of,
    with_people,
)

# Of three packed floats.
BYTES_PER_JOINT = 12

Floats = TypeVar("Floats", bound=Iterable[float])
ClipRequest = TypeVar("ClipRequest", LiftRequest, CompleteRequest)


async def read_off_loop_if_long(
    read: Callable[[bytes, Limits], ClipRequest], body: bytes, limits: Limits
) -> ClipRequest:
    """Read a body with `read_lift` or `read_complete`, in a thread when it is long."""
    return await run_off_loop_if_long(len(body) // BYTES_PER_JOINT, read, body, limits)


def read_lift(body: bytes, limits: Limits) -> LiftRequest:
    """Parse and validate a `LiftRequest`.

    Raises:
        InvalidRequest: it breaks the contract; the path names the first field at fault, and inside of flat arrays the
            frame, the joint and the coordinate, as in JSON.
        UnknownSkeleton: there is no such skeleton.
    """
    return lift_request(parse(body, pb.LiftRequest, clip_limits(limits)))


def lift_request(message: pb.LiftRequest) -> LiftRequest:
    """Validate a message; raises as `read_lift`."""
    source = skeleton(message.skeleton)
    check_image_size(message.image_size)
    size, model, coordinates = message.image_size, model_of(message), coordinates_of(message)
    fps, timestamps_s = _timing(message)
    camera, person = camera_of(message), person_of(message)

    def sequence(keypoints: Iterable[float], path: str) -> Sequence:
        frames = _keypoints(keypoints, source, path)
        times_s = times_of(len(frames), fps, timestamps_s, path)
        pixels = in_pixels(frames, coordinates, size.width_px, size.height_px, FramesPath(path))
        return Sequence(pixels, source, size.width_px, size.height_px, times_s, camera, person)

    several = _tracks([(track.track_id, track.keypoints) for track in message.tracks])
    tracks = tracks_of("keypoints", message.keypoints or None, several, sequence)
    people = [person_of(track, person, f"tracks[{number}].") for number, track in enumerate(message.tracks)]
    tracks = with_people(tracks, people)
    targets = targets_of(message.targets, tracks)
    return LiftRequest(
        tracks,
        model,
        message.mirrored_average,
        targets,
        _person_choice(message),
        timing_field(fps),
        message.strict,
        world_of(message),
    )


def read_complete(body: bytes, limits: Limits) -> CompleteRequest:
    """Parse and validate a `CompleteRequest`; raises as `read_lift` does, and InvalidPoses without a pelvis."""
    message = parse(body, pb.CompleteRequest, clip_limits(limits))
    source = skeleton(message.skeleton)
    model = model_of(message)
    fps, timestamps_s = _timing(message)

    def sequence(poses: Iterable[float], path: str) -> PoseSequence:
        joints = frames_of(poses, source, path)
        check_poses(joints, path)
        joints[np.isnan(joints).any(axis=-1)] = np.nan
        check_root(joints, source, path)
        return PoseSequence(joints.astype(np.float64), source, times_of(len(joints), fps, timestamps_s, path))

    several = _tracks([(track.track_id, track.poses) for track in message.tracks])
    tracks = tracks_of("poses", message.poses or None, several, sequence)
    targets = targets_of(message.targets, tracks)
    return CompleteRequest(tracks, model, message.mirrored_average, targets, timing=timing_field(fps))


def write_result(result: Result, *, total_s: float) -> bytes:
    """The `LiftResponse`, or the `CompleteResponse`, which has the same fields."""
    manifest = result.manifest
    answer = (pb.LiftResponse if manifest.task is Task.LIFT else pb.CompleteResponse)(
        model=pb.ModelReference(name=manifest.name, version=manifest.version, digest=manifest.digest),
        skeleton=manifest.target.name,
        joint_names=manifest.target.joint_names,
        unit="m",
        axes=axes(manifest.task),
        timing_ms=pb.TimingMs(queue=1000 * result.queue_s, inference=1000 * result.inference_s, total=1000 * total_s),
    )
    add_warnings(answer, result.warnings)
    for track in result.tracks:
        person = answer if track.track_id is None else answer.tracks.add(track_id=track.track_id)
        set_floats(person, person.JOINTS_FIELD_NUMBER, track.lifted.joints)
        person.imputed = pack_bits(track.lifted.imputed)
        if track.lifted.expected_error_m is not None:
            assert not isinstance(person, pb.CompleteResponse), "only networks that lift estimate it"
            set_floats(person, person.EXPECTED_ERROR_M_FIELD_NUMBER, track.lifted.expected_error_m)
        if track.world is not None:
            assert not isinstance(person, pb.CompleteResponse), "only what is lifted is put into the world"
            fill_world(person.world, track.world)
    return answer.SerializeToString()


def write_models(models: ServedModels) -> bytes:
    """The `ListModelsResponse`."""
    default = models.default
    described = [_model(model, is_default=model is default) for model in models]
    return pb.ListModelsResponse(models=described).SerializeToString()


def _keypoints(flat: Iterable[float], source: Skeleton, path: str) -> NDArray[np.float32]:
    """Keypoints [F, J, 3], NaN where a number is missing."""
    keypoints = frames_of(flat, source, path)
    check_keypoints(keypoints, FramesPath(path))
    return keypoints


def frames_of(flat: Iterable[float], source: Skeleton, path: str) -> NDArray[np.float32]:
    """[F, J, 3] from the numbers of a flat array.

    Args:
        path: of its field.
    Raises:
        InvalidRequest: there are not as many as in some frames.
    """
    values = np.array(flat, dtype=np.float32)
    if len(values) == 0 or len(values) % (3 * source.n_joints):
        raise InvalidRequest(
            f"Frames of {source.name} have {source.n_joints} joints of 3 numbers, and there must be at least one; "
            f"{len(values)} numbers are no such frames.",
            path=path,
        )
    return values.reshape(-1, source.n_joints, 3)


def _timing(message: pb.LiftRequest | pb.CompleteRequest) -> tuple[float | None, NDArray[np.float64] | None]:
    fps = message.fps if message.HasField("fps") else None
    # Written so that NaN is refused.
    if fps is not None and not MIN_FPS <= fps <= MAX_FPS:
        raise InvalidRequest(f"A frame rate lies in [{MIN_FPS:g}, {MAX_FPS:g}], unlike {fps:g}.", path="fps")
    timestamps_s = np.array(message.timestamps_s, dtype=np.float64) if message.timestamps_s else None
    if timestamps_s is not None and len(wrong := np.flatnonzero(~(np.abs(timestamps_s) <= MAX_TIMESTAMP_S))):
        first = int(wrong[0])
        raise InvalidRequest(
            f"A timestamp lies within {MAX_TIMESTAMP_S:g} s, unlike {timestamps_s[first]:g}.",
            path=f"timestamps_s[{first}]",
        )
    check_timing(fps, timestamps_s)
    return fps, timestamps_s


def _tracks(people: list[tuple[str, Floats]]) -> list[tuple[str, Floats]] | None:
    """The tracks of a request, after a check of their names; None when there are none."""
    for number, (track_id, _) in enumerate(people):
        if not 1 <= len(track_id) <= MAX_TRACK_ID_CHARACTERS:
            raise InvalidRequest(
                f"The name of a track has 1 to {MAX_TRACK_ID_CHARACTERS} characters, not {len(track_id)}.",
                path=f"tracks[{number}].track_id",
            )
    return people or None


def _person_choice(message: pb.LiftRequest) -> str:
    if not message.HasField("person_choice"):
        return ALL
    if not 1 <= len(message.person_choice) <= MAX_TRACK_ID_CHARACTERS:
        raise InvalidRequest(
            f"A person_choice has 1 to {MAX_TRACK_ID_CHARACTERS} characters, not {len(message.person_choice)}.",
            path="person_choice",
        )
    return message.person_choice


def _model(model: Model, *, is_default: bool) -> pb.Model:
    manifest = model.manifest
    described = pb.Model(
        reference=pb.ModelReference(name=manifest.name, version=manifest.version, digest=manifest.digest),
        labels=model.labels,
        is_default=is_default,
        system=manifest.system,
        task=manifest.task,
        input_skeleton=manifest.input_skeleton,
        output_skeleton=manifest.output_skeleton,
        receptive_field=model.receptive_field,
        receptive_field_s=model.receptive_field_s,
        score_threshold=manifest.score_threshold,
        expected_error=manifest.expected_error,
        attribution=manifest.attribution,
        data=[pb.DataSource(source=data.source, licence=data.licence) for data in manifest.data],
    )
    for score in manifest.scores:
        measures = Struct()
        measures.update(score)
        described.scores.append(measures)
    return described
