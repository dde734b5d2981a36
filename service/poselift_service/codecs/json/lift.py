"""POST /lift and /complete in JSON: bodies to requests, results to answers, and both as OpenAPI describes them."""

from collections.abc import Sequence as Items
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from poselift.completion import PoseSequence, check_root
from poselift.formats.writers.json import poses_document
from poselift.formats.writers.track import AXES, AXES_AS_GIVEN
from poselift.lifters.lifter import Task
from poselift.lifting import MAX_TIMESTAMP_S, Sequence
from poselift.skeletons import SKELETONS, Skeleton, skeleton
from poselift_service.codecs.json.joints import KEYPOINTS, POSES, Arrays, Kind, joint_array, take_out
from poselift_service.errors import InvalidRequest
from poselift_service.inference.models import Model
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

# `fail_fast`: one wrong value is enough to refuse a request; collecting all those in ten thousand frames takes seconds.
Number = Annotated[float, Field(allow_inf_nan=False)]
Joint = Annotated[list[Number], Field(min_length=2, max_length=3, fail_fast=True)]
Frame = Annotated[list[Joint | None], Field(fail_fast=True)]
Frames = Annotated[list[Frame | None], Field(min_length=1, fail_fast=True)]
PoseJoint = Annotated[list[Number], Field(min_length=3, max_length=3, fail_fast=True)]
PoseFrame = Annotated[list[PoseJoint | None], Field(fail_fast=True)]
PoseFrames = Annotated[list[PoseFrame | None], Field(min_length=1, fail_fast=True)]
Pixels = Annotated[int, Field(ge=1, le=MAX_IMAGE_PX)]
Form = TypeVar("Form", bound=BaseModel)

KEYPOINTS_TEXT = (
    "One entry per frame, in time order: an array with one entry per joint of the skeleton, or null where the person "
    "was not detected. A joint is [x, y, score] or [x, y], in pixels from the top-left corner, or null where missing."
)

POSES_TEXT = (
    "One entry per frame, in time order: an array with one entry per joint of the skeleton, or null where all are "
    "missing. A joint is [x, y, z] in metres, in camera axes (x right, y down, z forward) from any origin, or null "
    "where missing. The pelvis must be there in one frame at least; elsewhere it is taken to lie on the straight line "
    "between those before and after."
)

EXPECTED_ERROR_TEXT = (
    "How far off each joint is likely to be, in metres: the expected distance to where it really is, relative to the "
    "pelvis. Only of a model that knows it (`expected_error` in `GET /models`)."
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


SkeletonName = Annotated[
    str, Field(description="Which joints there are, in which order.", json_schema_extra={"enum": list(SKELETONS)})
]
TrackId = Annotated[
    str, Field(min_length=1, max_length=MAX_TRACK_ID_CHARACTERS, description="The caller's name for this person.")
]
Fps = Annotated[float | None, Field(ge=MIN_FPS, le=MAX_FPS, description="Frames per second, when it is constant.")]
Timestamps = Annotated[
    list[Annotated[Number, Field(ge=-MAX_TIMESTAMP_S, le=MAX_TIMESTAMP_S)]] | None,
    Field(min_length=1, fail_fast=True, description="Seconds, one per frame, strictly increasing; instead of fps."),
]
ModelName = Annotated[
    str | None,
    Field(
        max_length=MAX_NAME_CHARACTERS,
        description="name, name@version or name@label; the server's default when left out.",
    ),
]
Targets = Annotated[
    tuple[Annotated[int, Field(ge=0, le=2**53 - 1)], ...],
    Field(
        min_length=1,
        fail_fast=True,
        description="Indices of the frames to answer, increasing, from 0; every frame when left out. All frames are "
        "looked at for the poses of these.",
    ),
]


class TrackForm(BaseModel):
    """One of several people."""

    model_config = ConfigDict(strict=True, extra="forbid")

    track_id: TrackId
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
    skeleton: SkeletonName
    image_size: Annotated[
        tuple[Pixels, Pixels],
        Field(description="Width and height in pixels of the picture the keypoints were detected in."),
    ]
    fps: Fps = None
    timestamps_s: Timestamps = None
    model: ModelName = None
    targets: Targets = ()
    mirrored_average: Annotated[
        bool, Field(description="Also lift the mirrored person and average both: a little more exact, twice the work.")
    ] = False


class PoseTrackForm(BaseModel):
    """One of several people."""

    model_config = ConfigDict(strict=True, extra="forbid")

    track_id: TrackId
    poses: Annotated[PoseFrames, Field(description=POSES_TEXT)]


class CompleteForm(BaseModel):
    """3D poses of one person (`poses`) or of several (`tracks`), of which joints or whole frames are missing."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"allOf": [_exactly_one("poses", "tracks"), _exactly_one("fps", "timestamps_s")]},
    )

    poses: Annotated[PoseFrames | None, Field(description=POSES_TEXT)] = None
    tracks: Annotated[
        list[PoseTrackForm] | None,
        Field(min_length=1, fail_fast=True, description="Several people, each with poses of their own."),
    ] = None
    skeleton: Annotated[SkeletonName, Field(description="Which joints there are; it must be the model's own skeleton.")]
    fps: Fps = None
    timestamps_s: Timestamps = None
    model: Annotated[
        ModelName,
        Field(
            description="name, name@version or name@label; when left out, the server's default if that completes "
            "poses, otherwise the only model that does."
        ),
    ] = None
    targets: Targets = ()
    mirrored_average: Annotated[
        bool, Field(description="Also complete the mirrored person and average both, for twice the work.")
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
ExpectedError = Annotated[list[list[float]] | None, Field(description=EXPECTED_ERROR_TEXT)]


class TrackAnswer(BaseModel):
    """One person's poses."""

    track_id: str
    poses: Poses
    imputed: Imputed
    expected_error_m: ExpectedError = None


class LiftAnswer(BaseModel):
    """One 3D pose per input frame, or per target: `poses` and what belongs to them for `keypoints`, `tracks` for
    `tracks`."""

    model: ModelReference
    skeleton: str
    joint_names: list[str]
    unit: Literal["m"]
    axes: Annotated[str, Field(examples=[AXES, AXES_AS_GIVEN])]
    poses: Poses | None = None
    imputed: Imputed | None = None
    expected_error_m: ExpectedError = None
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
    task: Annotated[Task, Field(description="What it does: lift keypoints, or complete 3D poses.")]
    input_skeleton: Annotated[
        str,
        Field(
            description="What the network takes; keypoints of other skeletons are converted to it, poses must be its."
        ),
    ]
    output_skeleton: str
    receptive_field: Annotated[int, Field(description="Frames the network looks at at a time.")]
    receptive_field_s: Annotated[float, Field(description="The time these frames span.")]
    score_threshold: Annotated[float, Field(description="A keypoint with a lower score counts as missing.")]
    expected_error: Annotated[bool, Field(description="Whether its answers have `expected_error_m`.")]
    attribution: str
    data: tuple[dict[str, str], ...]
    scores: tuple[dict[str, Any], ...]


def read(body: bytes) -> LiftRequest:
    """Parse and validate a body.

    Raises:
        InvalidRequest: it is not what the contract says; the path names the first field at fault.
        UnknownSkeleton: there is no such skeleton.
    """
    rest, arrays = take_out(body, KEYPOINTS)
    return request_of(validated(LiftForm, rest), arrays)


def request_of(form: LiftForm, arrays: Arrays) -> LiftRequest:
    """The request that a form and the keypoints taken out of it, by path, are; raises as `read` does."""
    source = skeleton(form.skeleton)
    check_timing(form.fps, form.timestamps_s)

    def sequence(frames: list[Frame | None], path: str) -> Sequence:
        keypoints = joints_of(arrays.get(path), frames, KEYPOINTS, source, path).astype(np.float32)
        times_s = times_of(len(keypoints), form.fps, form.timestamps_s, path)
        return Sequence(keypoints, source, *form.image_size, times_s)

    several = None if form.tracks is None else [(track.track_id, track.keypoints) for track in form.tracks]
    tracks = tracks_of("keypoints", form.keypoints, several, sequence)
    return LiftRequest(tracks, form.model, form.mirrored_average, targets_of(form.targets, tracks))


def read_complete(body: bytes) -> CompleteRequest:
    """Parse and validate a body with poses; raises as `read` does, and InvalidPoses where there is no pelvis."""
    rest, arrays = take_out(body, POSES)
    return complete_request_of(validated(CompleteForm, rest), arrays)


def complete_request_of(form: CompleteForm, arrays: Arrays) -> CompleteRequest:
    """The request that a form and the poses taken out of it, by path, are; raises as `read_complete` does."""
    source = skeleton(form.skeleton)
    check_timing(form.fps, form.timestamps_s)

    def sequence(frames: list[PoseFrame | None], path: str) -> PoseSequence:
        joints = joints_of(arrays.get(path), frames, POSES, source, path)
        check_root(joints, source, path)
        return PoseSequence(joints, source, times_of(len(joints), form.fps, form.timestamps_s, path))

    several = None if form.tracks is None else [(track.track_id, track.poses) for track in form.tracks]
    tracks = tracks_of("poses", form.poses, several, sequence)
    return CompleteRequest(tracks, form.model, form.mirrored_average, targets_of(form.targets, tracks))


def write(result: Result, *, total_s: float) -> bytes:
    """The answer's body."""
    return orjson.dumps(answer_to(result, total_s=total_s), option=orjson.OPT_SERIALIZE_NUMPY)


def answer_to(result: Result, *, total_s: float) -> dict[str, Any]:
    """The answer, in which poses and imputed joints are arrays."""
    times_s = {"queue": result.queue_s, "inference": result.inference_s, "total": total_s}
    timing_ms = {stage: round(1000 * seconds, 3) for stage, seconds in times_s.items()}
    return {**poses_document(result.manifest, result.tracks), "timing_ms": timing_ms}


def describe_model(model: Model, *, is_default: bool) -> ModelAnswer:
    """What GET /models says of a model."""
    manifest = model.manifest
    return ModelAnswer(
        **_reference(manifest.name, manifest.version, manifest.digest),
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


def validated(kind: type[Form], body: bytes) -> Form:
    """A document as its schema has it.

    Raises:
        InvalidRequest: it is not what the schema says; the path names the first field at fault.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None


def joints_of(
    taken: NDArray[np.float64] | None,
    frames: Items[Items[Items[float] | None] | None],
    kind: Kind,
    source: Skeleton,
    path: str,
    *,
    first: int = 0,
) -> NDArray[np.float64]:
    """Keypoints or poses [F, J, 3], NaN where missing (in x and y alone of keypoints), out of the field `path`.

    Args:
        taken: those that `take_out` took from there, if it could.
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
        taken = joint_array(frames, kind, source)
        assert taken is not None, "the schema has nothing against them, and the joints are as many as they should be"
    if kind is KEYPOINTS:
        check_keypoints(taken, path, first=first)
    else:
        check_poses(taken, path, first=first)
    return taken


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
