"""Answers in JSON: the schemas that OpenAPI shows, and the descriptions of models, skeletons and sessions."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import AXES, AXES_AS_GIVEN
from poselift.formats.writers.world import WORLD_AXES
from poselift.input_warnings import WARNINGS
from poselift.lifters.lifter import Task
from poselift.skeletons import Skeleton
from poselift_service.inference.models import Model
from poselift_service.sessions.session import Session

_EXPECTED_ERROR = (
    "Expected error of each joint, in metres: the expected distance to its true position, relative to the pelvis. Only "
    "for models that estimate it (`expected_error` in `GET /models`)."
)


class ModelReference(BaseModel):
    """Identifies the network that gave an answer."""

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
    Field(description="True for joints that were imputed, because their keypoints were missing in that frame."),
]
ExpectedError = Annotated[list[list[float]] | None, Field(description=_EXPECTED_ERROR)]


class WarningAnswer(BaseModel):
    """Something in a request that is likely not what its sender meant."""

    code: Annotated[str, Field(json_schema_extra={"enum": list(WARNINGS)})]
    message: Annotated[str, Field(description="What was found, and what to do about it.")]
    path: Annotated[str | None, Field(description="The field that it is about, if it is about a single one.")] = None


Warnings = Annotated[list[WarningAnswer], Field(description="What is likely not what was meant; mostly empty.")]


class NetworkGravityAnswer(BaseModel):
    """The direction of falling, as the network by itself estimates it."""

    direction: Annotated[list[float], Field(min_length=3, max_length=3, description="Unit vector in camera axes.")]
    uncertainty_deg: Annotated[float, Field(description="Its expected error in degrees; 0 if it was given.")]


class GravityAnswer(NetworkGravityAnswer):
    """The direction of falling."""

    network: Annotated[
        NetworkGravityAnswer | None,
        Field(description="What the network by itself tells of it, if it does; not in streams."),
    ] = None
    given: Annotated[bool, Field(description="Whether the request gave it.")]


class FocalLengthAnswer(BaseModel):
    """The focal length that the path was found with."""

    focal_px: float
    given: Annotated[bool, Field(description="Whether the request gave it, or the field of view.")]


Quaternion = Annotated[list[float], Field(min_length=4, max_length=4)]


class WorldHeader(BaseModel):
    """What the frames of a motion in the world have in common."""

    axes: Annotated[str, Field(examples=list(WORLD_AXES.values()))]
    unit: Literal["m"]
    scale: Annotated[float, Field(description="Factor from the metres of the network to these.")]
    height_m: Annotated[float, Field(description="The stature that this means.")]
    gravity: GravityAnswer
    camera: FocalLengthAnswer


class WorldAnswer(WorldHeader):
    """The motion of one person in the world: upright, in metres, on the ground."""

    poses: Poses
    root: Annotated[list[Position], Field(description="The pelvis in each frame.")]
    contacts: Annotated[
        list[Annotated[list[float], Field(min_length=2, max_length=2)]],
        Field(description="The probability that the left and the right foot touch the ground, per frame."),
    ]
    rotations: Annotated[
        list[list[Quaternion]] | None,
        Field(description="w, x, y, z of each joint relative to the T-pose, in its parent's frame, if asked for."),
    ] = None
    angles: Annotated[
        dict[str, list[float]] | None, Field(description="Degrees in each frame, by name of the angle, if asked for.")
    ] = None


World = Annotated[WorldAnswer | None, Field(description="The motion in the world, if it was asked for.")]


class TrackAnswer(BaseModel):
    """One person's poses."""

    track_id: str
    poses: Poses
    imputed: Imputed
    expected_error_m: ExpectedError = None
    world: World = None


class LiftAnswer(BaseModel):
    """One 3D pose per input frame, or per target: `poses` and its companions for `keypoints`, `tracks` for
    `tracks`."""

    model: ModelReference
    skeleton: str
    joint_names: list[str]
    unit: Literal["m"]
    axes: Annotated[str, Field(examples=[AXES, AXES_AS_GIVEN])]
    poses: Poses | None = None
    imputed: Imputed | None = None
    expected_error_m: ExpectedError = None
    world: World = None
    tracks: list[TrackAnswer] | None = None
    warnings: Warnings
    timing_ms: TimingMs


class RefinedTrackAnswer(BaseModel):
    """One person's motion."""

    track_id: str
    world: WorldAnswer


class RefineTimingMs(BaseModel):
    """Where the time of a request went, in milliseconds."""

    total: float


class RefinedAnswer(BaseModel):
    """The motion in the world: `world` where the request has `keypoints`, `tracks` where it has `tracks`."""

    world: WorldAnswer | None = None
    tracks: list[RefinedTrackAnswer] | None = None
    timing_ms: RefineTimingMs


class SkeletonAnswer(BaseModel):
    """A skeleton of keypoints or of poses."""

    name: str
    joint_names: tuple[str, ...]
    parents: Annotated[tuple[int, ...], Field(description="Index of each joint's parent; -1 for joints without one.")]
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
            description="The network's input; keypoints of other skeletons are converted to it, poses must be in it."
        ),
    ]
    output_skeleton: str
    receptive_field: Annotated[int, Field(description="Frames in one window of the network.")]
    receptive_field_s: Annotated[float, Field(description="The time these frames span.")]
    score_threshold: Annotated[float, Field(description="A keypoint with a lower score counts as missing.")]
    expected_error: Annotated[bool, Field(description="Whether its answers have `expected_error_m`.")]
    attribution: str
    data: tuple[dict[str, str], ...]
    scores: tuple[dict[str, Any], ...]


class SessionAnswer(BaseModel):
    """The current state of a session."""

    session_id: str
    model: ModelReference
    skeleton: Annotated[str, Field(description="Skeleton of the poses.")]
    joint_names: tuple[str, ...]
    unit: Literal["m"]
    axes: Annotated[str, Field(examples=[AXES])]
    fps: Annotated[float | None, Field(description="Null where frames have times.")]
    lookahead: Annotated[
        int | None,
        Field(
            description="Later frames that a pose waits for; null for all in the window, where frames have times or "
            "poses come in blocks."
        ),
    ]
    full_lookahead: Annotated[
        int | None,
        Field(description="The largest lookahead: that of the network's window; null where frames have times."),
    ]
    full_lookahead_s: Annotated[float, Field(description="The time that the network's window reaches after a frame.")]
    next_frame_index: Annotated[int, Field(description="The frame that is expected next.")]
    expires_in_s: Annotated[float, Field(description="Time after which the session expires if it is not used.")]


class WorldFrame(BaseModel):
    """One frame in the world: what an answer of `POST /lift` has for each."""

    pose: Annotated[list[Position], Field(description="[x, y, z] in metres of each joint.")]
    root: Annotated[Position, Field(description="The pelvis.")]
    contacts: Annotated[
        list[float],
        Field(
            min_length=2, max_length=2, description="The probability that the left and the right foot touch the ground."
        ),
    ]
    rotations: Annotated[
        list[Quaternion] | None, Field(description="Of each joint, as in answers of `POST /lift`, if asked for.")
    ] = None
    angles: Annotated[dict[str, float] | None, Field(description="Degrees by name, if asked for.")] = None


class LiftedFrame(BaseModel):
    """The pose of one frame."""

    frame_index: int
    lookahead: Annotated[
        int, Field(description="How many later frames the network saw; fewer than the session's only at its end.")
    ]
    pose: Annotated[list[Position], Field(description="[x, y, z] in metres of each joint.")]
    imputed: Annotated[list[bool], Field(description="True for joints that were imputed.")]
    expected_error_m: Annotated[list[float] | None, Field(description=_EXPECTED_ERROR)] = None
    world: Annotated[WorldFrame | None, Field(description="The frame in the world, if it was asked for.")] = None


class FramesAnswer(BaseModel):
    """Poses that are ready, oldest first; none while frames wait for later ones."""

    frames: list[LiftedFrame]
    next_frame_index: int
    world: Annotated[
        WorldHeader | None,
        Field(description="What the world of these frames has in common, if it was asked for and there are frames."),
    ] = None
    warnings: Warnings
    timing_ms: TimingMs


def describe_model(model: Model, *, is_default: bool) -> ModelAnswer:
    """Describe a model for `GET /models`."""
    manifest = model.manifest
    return ModelAnswer(
        **_reference(manifest).model_dump(),
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


def describe_skeleton(skeleton: Skeleton) -> SkeletonAnswer:
    """Describe a skeleton for `GET /skeletons`."""
    return SkeletonAnswer(
        name=skeleton.name,
        joint_names=skeleton.joint_names,
        parents=skeleton.parents,
        left=skeleton.left,
        right=skeleton.right,
        root=skeleton.root,
    )


def describe_session(session: Session, *, expires_in_s: float) -> SessionAnswer:
    """Describe a session to its client."""
    manifest = session.manifest
    return SessionAnswer(
        session_id=session.session_id,
        model=_reference(manifest),
        skeleton=manifest.target.name,
        joint_names=manifest.target.joint_names,
        unit="m",
        axes=AXES,
        fps=session.opening.fps,
        lookahead=session.window.lookahead,
        full_lookahead=session.window.full_lookahead,
        full_lookahead_s=session.full_lookahead_s,
        next_frame_index=session.next_frame_index,
        expires_in_s=expires_in_s,
    )


def _reference(manifest: Manifest) -> ModelReference:
    return ModelReference(name=manifest.name, version=manifest.version, digest=manifest.digest)
