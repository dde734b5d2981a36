"""POST /lift in JSON: the body to a request, the result to the answer, and both as OpenAPI describes them."""

from collections.abc import Sequence as Items
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from poselift.formats.answer import AXES, LiftedTrack, answer
from poselift.lifting import MAX_TIMESTAMP_S, Lifted, Sequence
from poselift.skeletons import SKELETONS, Skeleton, skeleton
from service.errors import InvalidRequest
from service.json_keypoints import Arrays, keypoint_array, take_keypoints
from service.models import Model
from service.pipeline import LiftResult
from service.request import (
    MAX_FPS,
    MAX_IMAGE_PX,
    MAX_NAME_CHARACTERS,
    MAX_TRACK_ID_CHARACTERS,
    MIN_FPS,
    LiftRequest,
    Track,
    check_distinct,
    check_keypoints,
    check_timing,
    targets_of,
    times_of,
)

# `fail_fast`: one wrong value is enough to refuse a request; collecting all those in ten thousand frames takes seconds.
Number = Annotated[float, Field(allow_inf_nan=False)]
Joint = Annotated[list[Number], Field(min_length=2, max_length=3, fail_fast=True)]
Frame = Annotated[list[Joint | None], Field(fail_fast=True)]
Frames = Annotated[list[Frame | None], Field(min_length=1, fail_fast=True)]
Pixels = Annotated[int, Field(ge=1, le=MAX_IMAGE_PX)]

KEYPOINTS_TEXT = (
    "One entry per frame, in time order: an array with one entry per joint of the skeleton, or null where the person "
    "was not detected. A joint is [x, y, score] or [x, y], in pixels from the top-left corner, or null where missing."
)


def _exactly_one(*names: str) -> dict[str, Any]:
    """What a schema says of fields of which one must be given and the others left out or null."""
    missing = {"type": "null"}
    return {
        "oneOf": [
            {
                "required": [given],
                "properties": {name: {"not": missing} if name == given else missing for name in names},
            }
            for given in names
        ]
    }


class TrackForm(BaseModel):
    """One of several people."""

    model_config = ConfigDict(strict=True, extra="forbid")

    track_id: Annotated[
        str,
        Field(min_length=1, max_length=MAX_TRACK_ID_CHARACTERS, description="The caller's name for this person."),
    ]
    keypoints: Annotated[Frames, Field(description=KEYPOINTS_TEXT)]


class LiftForm(BaseModel):
    """2D keypoints of one person (`keypoints`) or of several (`tracks`), as a detector found them in a video."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "allOf": [_exactly_one("keypoints", "tracks"), _exactly_one("fps", "timestamps_s")],
        },
    )

    keypoints: Annotated[Frames | None, Field(description=KEYPOINTS_TEXT)] = None
    tracks: Annotated[
        list[TrackForm] | None,
        Field(min_length=1, fail_fast=True, description="Several people, each with keypoints of their own."),
    ] = None
    skeleton: Annotated[
        str, Field(description="Which joints there are, in which order.", json_schema_extra={"enum": list(SKELETONS)})
    ]
    image_size: Annotated[
        tuple[Pixels, Pixels],
        Field(description="Width and height in pixels of the picture the keypoints were detected in."),
    ]
    fps: Annotated[
        float | None, Field(ge=MIN_FPS, le=MAX_FPS, description="Frames per second, when it is constant.")
    ] = None
    timestamps_s: Annotated[
        list[Annotated[Number, Field(ge=-MAX_TIMESTAMP_S, le=MAX_TIMESTAMP_S)]] | None,
        Field(min_length=1, fail_fast=True, description="Seconds, one per frame, strictly increasing; instead of fps."),
    ] = None
    model: Annotated[
        str | None,
        Field(
            max_length=MAX_NAME_CHARACTERS,
            description="name, name@version or name@label; the server's default when left out.",
        ),
    ] = None
    targets: Annotated[
        tuple[Annotated[int, Field(ge=0, le=2**53 - 1)], ...],
        Field(
            min_length=1,
            fail_fast=True,
            description="Indices of the frames to answer, increasing, from 0; every frame when left out. All frames "
            "are looked at for the poses of these.",
        ),
    ] = ()
    mirrored_average: Annotated[
        bool, Field(description="Also lift the mirrored person and average both: a little more exact, twice the work.")
    ] = False


class ModelReference(BaseModel):
    """Exactly which network gave an answer."""

    name: str
    version: int
    digest: Annotated[str, Field(description="Start of the SHA-256 of its weights.")]


class TimingMs(BaseModel):
    """Where the time of a request went, in milliseconds."""

    queue: Annotated[float, Field(description="Waiting for the network to be free.")]
    inference: Annotated[float, Field(description="The network running.")]
    total: Annotated[float, Field(description="From the first byte of the request to this answer.")]


Position = Annotated[list[float], Field(min_length=3, max_length=3)]
Poses = Annotated[
    list[list[Position]],
    Field(description="[x, y, z] in metres of each joint of the answer's skeleton, per frame."),
]
Imputed = Annotated[
    list[list[bool]],
    Field(description="True for joints that were made up, because what they come from was missing in that frame."),
]


class TrackAnswer(BaseModel):
    """One person's poses."""

    track_id: str
    poses: Poses
    imputed: Imputed


class LiftAnswer(BaseModel):
    """One 3D pose per input frame, or per target: `poses` and `imputed` for `keypoints`, `tracks` for `tracks`."""

    model: ModelReference
    skeleton: str
    joint_names: list[str]
    unit: Literal["m"]
    axes: Annotated[str, Field(examples=[AXES])]
    poses: Poses | None = None
    imputed: Imputed | None = None
    tracks: list[TrackAnswer] | None = None
    timing_ms: TimingMs


class SkeletonAnswer(BaseModel):
    """A skeleton that keypoints may come in or that poses are given in."""

    name: str
    joint_names: tuple[str, ...]
    parents: Annotated[
        tuple[int, ...], Field(description="Index of each joint's parent; -1 for one that hangs on nothing.")
    ]
    left: Annotated[
        tuple[int, ...], Field(description="Joints of the left side, paired with those in `right` at the same place.")
    ]
    right: tuple[int, ...]
    root: Annotated[int | None, Field(description="The pelvis; null where the skeleton has none.")]


class ModelAnswer(ModelReference):
    """A model that is served."""

    labels: tuple[str, ...]
    is_default: bool
    system: str
    input_skeleton: Annotated[str, Field(description="What the network takes; other skeletons are converted to it.")]
    output_skeleton: str
    receptive_field: Annotated[int, Field(description="Frames the network looks at for one pose.")]
    receptive_field_s: Annotated[float, Field(description="The time these frames span.")]
    score_threshold: Annotated[float, Field(description="A keypoint with a lower score counts as missing.")]
    attribution: str
    data: tuple[dict[str, str], ...]
    scores: tuple[dict[str, Any], ...]


def read(body: bytes) -> LiftRequest:
    """Parse and validate a body.

    Raises:
        InvalidRequest: it is not what the contract says; the path names the first field at fault.
        UnknownSkeleton: there is no such skeleton.
    """
    rest, arrays = take_keypoints(body)
    try:
        form = LiftForm.model_validate_json(rest)
    except ValidationError as error:
        raise refusal(error) from None
    return request_of(form, arrays)


def request_of(form: LiftForm, arrays: Arrays) -> LiftRequest:
    """The request that a form and the keypoints taken out of it, by path, are; raises as `read` does."""
    source = skeleton(form.skeleton)
    check_timing(form.fps, form.timestamps_s)
    if form.keypoints is not None and form.tracks is None:
        tracks = [Track(None, _sequence(form, form.keypoints, source, arrays, "keypoints"))]
    elif form.tracks is not None and form.keypoints is None:
        check_distinct([track.track_id for track in form.tracks])
        tracks = [
            Track(track.track_id, _sequence(form, track.keypoints, source, arrays, f"tracks[{number}].keypoints"))
            for number, track in enumerate(form.tracks)
        ]
    else:
        raise InvalidRequest("Either keypoints or tracks must be given, and not both.", path="keypoints")
    return LiftRequest(tuple(tracks), form.model, form.mirrored_average, targets_of(form.targets, tracks))


def write(result: LiftResult, *, total_s: float) -> bytes:
    """The answer's body."""
    return orjson.dumps(answer_to(result, total_s=total_s), option=orjson.OPT_SERIALIZE_NUMPY)


def answer_to(result: LiftResult, *, total_s: float) -> dict[str, Any]:
    """The answer, in which poses and imputed joints are arrays."""
    tracks = [LiftedTrack(track.track_id, Lifted(track.joints, track.imputed)) for track in result.tracks]
    times_s = {"queue": result.queue_s, "inference": result.inference_s, "total": total_s}
    timing_ms = {stage: round(1000 * seconds, 3) for stage, seconds in times_s.items()}
    return {**answer(result.manifest, tracks), "timing_ms": timing_ms}


def describe_model(model: Model, *, is_default: bool) -> ModelAnswer:
    """What GET /models says of a model."""
    manifest = model.manifest
    return ModelAnswer(
        **_reference(manifest.name, manifest.version, manifest.digest),
        labels=model.labels,
        is_default=is_default,
        system=manifest.system,
        input_skeleton=manifest.input_skeleton,
        output_skeleton=manifest.output_skeleton,
        receptive_field=model.receptive_field,
        receptive_field_s=model.receptive_field_s,
        score_threshold=manifest.score_threshold,
        attribution=manifest.attribution,
        data=tuple(source.model_dump() for source in manifest.data),
        scores=manifest.scores,
    )


def describe_skeleton(source: Skeleton) -> SkeletonAnswer:
    """What GET /skeletons says of a skeleton."""
    return SkeletonAnswer(
        name=source.name,
        joint_names=source.joint_names,
        parents=source.parents,
        left=source.left,
        right=source.right,
        root=source.root,
    )


def _reference(name: str, version: int, digest: str) -> dict[str, Any]:
    return {"name": name, "version": version, "digest": digest}


def _sequence(form: LiftForm, frames: list[Frame | None], source: Skeleton, arrays: Arrays, path: str) -> Sequence:
    keypoints = checked_keypoints(arrays.get(path), frames, source, path)
    times_s = times_of(len(keypoints), form.fps, form.timestamps_s, path)
    width_px, height_px = form.image_size
    return Sequence(keypoints, source, width_px, height_px, times_s)


def checked_keypoints(
    taken: NDArray[np.float64] | None, frames: list[Frame | None], source: Skeleton, path: str, *, first: int = 0
) -> NDArray[np.float32]:
    """Keypoints [F, J, 3], x and y NaN where missing, out of the field `path`.

    Args:
        taken: those that `take_keypoints` took from there, if it could.
        frames: what else is there.
        first: number of the first frame.
    Raises:
        InvalidRequest: a frame has another number of joints, or a value cannot be used.
    """
    for number, frame in enumerate(frames if taken is None else (), start=first):
        if frame is not None and len(frame) != source.n_joints:
            raise InvalidRequest(
                f"A frame of {source.name} has {source.n_joints} joints, not {len(frame)}.", path=f"{path}[{number}]"
            )
    if taken is None:
        taken = keypoint_array(frames, source)
        assert taken is not None, "the schema has nothing against them, and the joints are as many as they should be"
    check_keypoints(taken, path, first=first)
    return taken.astype(np.float32)


def refusal(error: ValidationError, *, path: str = "", first: int = 0) -> InvalidRequest:
    """The first thing that pydantic found, as one sentence and the path of the field.

    Args:
        path: of what was looked at, when it is not a whole document but elements of an array.
        first: index of the first one in that array.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = _path(found["loc"], path, first)
    match found["type"]:
        case "json_invalid":
            return InvalidRequest(f"The body cannot be read: {found['msg']}.")
        case "model_type":
            return InvalidRequest(f"{path or 'The body'} must be a JSON object.", path=path or None)
        case "missing":
            return InvalidRequest(f"The field {path} is missing.", path=path)
        case "extra_forbidden":
            return InvalidRequest(f"There is no field {path} in a request.", path=path)
        case _:
            return InvalidRequest(f"The value of {path} cannot be used: {found['msg']}.", path=path)


def _path(location: Items[int | str], path: str, first: int) -> str:
    for step in location:
        path += f"[{step + first}]" if isinstance(step, int) else f".{step}" if path else step
        first = 0
    return path
