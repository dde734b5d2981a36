"""Lifting and completing in protobuf, over gRPC and HTTP: the bytes of `poselift.v1` to requests, results to bytes."""

import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from poselift.completion import PoseSequence, check_root
from poselift.formats.writers.track import axes
from poselift.lifters.lifter import Task
from poselift.lifting import MAX_TIMESTAMP_S, Sequence
from poselift.pb import lifter_pb2 as pb
from poselift.skeletons import Skeleton, skeleton
from poselift_service.errors import InvalidRequest
from poselift_service.inference.models import Model, ServedModels
from poselift_service.pipeline.lift import Result
from poselift_service.pipeline.request import (
    MAX_FPS,
    MAX_IMAGE_PX,
    MAX_NAME_CHARACTERS,
    MAX_TRACK_ID_CHARACTERS,
    MIN_FPS,
    CompleteRequest,
    LiftRequest,
    check_keypoints,
    check_poses,
    check_timing,
    targets_of,
    times_of,
    tracks_of,
)

_MISSING = (np.nan, np.nan, 0.0)
_PACKED = 2  # wire type of a field that starts with its length

AnyMessage = TypeVar("AnyMessage", bound=Message)
Flat = TypeVar("Flat", bound=Iterable[float])


def read(body: bytes) -> LiftRequest:
    """Parse and validate a `LiftRequest`.

    Raises:
        InvalidRequest: it is not what the contract says; the path names the first field at fault, and inside of flat
            arrays the frame, the joint and the coordinate, as in JSON.
        UnknownSkeleton: there is no such skeleton.
    """
    form = parse(body, pb.LiftRequest)
    source = skeleton(form.skeleton)
    check_image_size(form.image_size)
    model = model_of(form)
    fps, timestamps_s = _timing(form)

    def sequence(keypoints: Iterable[float], path: str) -> Sequence:
        frames = read_keypoints(keypoints, source, path)
        times_s = times_of(len(frames), fps, timestamps_s, path)
        return Sequence(frames, source, form.image_size.width_px, form.image_size.height_px, times_s)

    several = _several([(person.track_id, person.keypoints) for person in form.tracks])
    tracks = tracks_of("keypoints", form.keypoints or None, several, sequence)
    return LiftRequest(tracks, model, form.mirrored_average, targets_of(form.targets, tracks))


def read_complete(body: bytes) -> CompleteRequest:
    """Parse and validate a `CompleteRequest`; raises as `read` does, and InvalidPoses where there is no pelvis."""
    form = parse(body, pb.CompleteRequest)
    source = skeleton(form.skeleton)
    model = model_of(form)
    fps, timestamps_s = _timing(form)

    def sequence(poses: Iterable[float], path: str) -> PoseSequence:
        joints = _frames(poses, source, path)
        check_poses(joints, path)
        joints[np.isnan(joints).any(axis=-1)] = np.nan
        check_root(joints, source, path)
        return PoseSequence(joints.astype(np.float64), source, times_of(len(joints), fps, timestamps_s, path))

    several = _several([(person.track_id, person.poses) for person in form.tracks])
    tracks = tracks_of("poses", form.poses or None, several, sequence)
    return CompleteRequest(tracks, model, form.mirrored_average, targets_of(form.targets, tracks))


def write(result: Result, *, total_s: float) -> bytes:
    """The `LiftResponse`, or `CompleteResponse`, which has the same fields."""
    manifest = result.manifest
    answer = (pb.LiftResponse if manifest.task is Task.LIFT else pb.CompleteResponse)(
        model=pb.ModelReference(name=manifest.name, version=manifest.version, digest=manifest.digest),
        skeleton=manifest.target.name,
        joint_names=manifest.target.joint_names,
        unit="m",
        axes=axes(manifest.task),
        timing_ms=pb.TimingMs(queue=1000 * result.queue_s, inference=1000 * result.inference_s, total=1000 * total_s),
    )
    for track in result.tracks:
        person = answer if track.track_id is None else answer.tracks.add(track_id=track.track_id)
        set_floats(person, person.JOINTS_FIELD_NUMBER, track.lifted.joints)
        person.imputed = bits(track.lifted.imputed)
        if track.lifted.expected_error_m is not None:
            assert not isinstance(person, pb.CompleteResponse), "only networks that lift know it"
            set_floats(person, person.EXPECTED_ERROR_M_FIELD_NUMBER, track.lifted.expected_error_m)
    return answer.SerializeToString()


def write_models(models: ServedModels) -> bytes:
    """The `ListModelsResponse`."""
    default = models.default
    described = [_model(model, is_default=model is default) for model in models]
    return pb.ListModelsResponse(models=described).SerializeToString()


def parse(body: bytes, kind: type[AnyMessage]) -> AnyMessage:
    """A message of that kind.

    Raises:
        InvalidRequest: the bytes are none.
    """
    try:
        return kind.FromString(body)
    except DecodeError:
        raise InvalidRequest(f"The body is not a {kind.DESCRIPTOR.full_name}.") from None


def read_keypoints(flat: Iterable[float], source: Skeleton, path: str) -> NDArray[np.float32]:
    """Keypoints [F, J, 3], x and y NaN where missing, from as many numbers.

    Args:
        path: name of the field they came from.
    Raises:
        InvalidRequest: these are no whole frames, or not even one, or a number is out of range.
    """
    keypoints = _frames(flat, source, path)
    check_keypoints(keypoints, path)
    mark_missing(keypoints)
    return keypoints


def _frames(flat: Iterable[float], source: Skeleton, path: str) -> NDArray[np.float32]:
    """[F, J, 3] from as many numbers."""
    values = np.array(flat, dtype=np.float32)
    if len(values) == 0 or len(values) % (3 * source.n_joints):
        raise InvalidRequest(
            f"Frames of {source.name} have {source.n_joints} joints of 3 numbers, and there must be at least one; "
            f"{len(values)} numbers are no such frames.",
            path=path,
        )
    return values.reshape(-1, source.n_joints, 3)


def mark_missing(keypoints: NDArray[np.float32]) -> None:
    """Let every joint with a NaN among its numbers, in an array [F, J, 3], be NaN in x and y and have the score 0."""
    if math.isnan(np.vdot(keypoints, keypoints)):  # as a sum would be, in half the time
        keypoints[np.isnan(keypoints).any(axis=-1)] = _MISSING


def set_floats(message: Message, field_number: int, values: NDArray[np.floating]) -> None:
    """Fill a packed field of floats with an array.

    By way of the wire format, in which it is just these bytes: through the message's own list, every number becomes an
    object first, and 10 000 frames take 0.2 s instead of 1 ms.
    """
    numbers = values.astype("<f4", copy=False).tobytes()
    message.MergeFromString(_varint(field_number << 3 | _PACKED) + _varint(len(numbers)) + numbers)


def bits(flags: NDArray[np.bool_]) -> bytes:
    """Flags [F, J] as bits, the first in the least significant of the first byte."""
    return np.packbits(flags, bitorder="little").tobytes()


def _timing(form: pb.LiftRequest | pb.CompleteRequest) -> tuple[float | None, NDArray[np.float64] | None]:
    fps = form.fps if form.HasField("fps") else None
    # Written so that NaN is refused.
    if fps is not None and not MIN_FPS <= fps <= MAX_FPS:
        raise InvalidRequest(f"A frame rate lies in [{MIN_FPS:g}, {MAX_FPS:g}], unlike {fps:g}.", path="fps")
    timestamps_s = np.array(form.timestamps_s, dtype=np.float64) if form.timestamps_s else None
    if timestamps_s is not None and len(wrong := np.flatnonzero(~(np.abs(timestamps_s) <= MAX_TIMESTAMP_S))):
        first = int(wrong[0])
        raise InvalidRequest(
            f"A timestamp lies within {MAX_TIMESTAMP_S:g} s, unlike {timestamps_s[first]:g}.",
            path=f"timestamps_s[{first}]",
        )
    check_timing(fps, timestamps_s)
    return fps, timestamps_s


def model_of(form: pb.LiftRequest | pb.CompleteRequest | pb.CreateSessionRequest) -> str | None:
    """The model that a request names, if it does.

    Raises:
        InvalidRequest: no model has so long a name.
    """
    if form.HasField("model") and len(form.model) > MAX_NAME_CHARACTERS:
        raise InvalidRequest(f"A model is named by at most {MAX_NAME_CHARACTERS} characters.", path="model")
    return form.model if form.HasField("model") else None


def check_image_size(size: pb.ImageSize) -> None:
    """Refuse what is no size of a picture.

    Raises:
        InvalidRequest: the path names the side.
    """
    for name, pixels in (("width_px", size.width_px), ("height_px", size.height_px)):
        if not 1 <= pixels <= MAX_IMAGE_PX:
            raise InvalidRequest(
                f"A picture has 1 to {MAX_IMAGE_PX} pixels each way, not {pixels}.", path=f"image_size.{name}"
            )


def _several(people: list[tuple[str, Flat]]) -> list[tuple[str, Flat]] | None:
    """The tracks of a request, whose names are checked; None when there are none."""
    for number, (track_id, _) in enumerate(people):
        if not 1 <= len(track_id) <= MAX_TRACK_ID_CHARACTERS:
            raise InvalidRequest(
                f"The name of a track has 1 to {MAX_TRACK_ID_CHARACTERS} characters, not {len(track_id)}.",
                path=f"tracks[{number}].track_id",
            )
    return people or None


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


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
