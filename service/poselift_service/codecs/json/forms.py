"""Request bodies in JSON: the schemas that validate them and that OpenAPI shows."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from poselift.camera_fields import PersonFields
from poselift.motion.world import FootLock, WorldOptions
from poselift_service.codecs.json.fields import (
    ABOUT_KEYPOINTS,
    ABOUT_POSES,
    CoordinatesName,
    Fps,
    Frames,
    ImageSize,
    KnownCamera,
    KnownPerson,
    Lookahead,
    ModelName,
    Number,
    PersonChoice,
    PoseFrames,
    SkeletonName,
    Strict,
    Targets,
    Time,
    Timestamps,
    TrackId,
    Whole,
)
from poselift_service.pipeline.checks import MAX_INTEGER
from poselift_service.sessions.session import MAX_SESSION_FPS, MIN_SESSION_FPS


def _world(value: Any) -> Any:
    """`true` as an object that leaves everything open, and `false` as nothing."""
    return ({} if value else None) if isinstance(value, bool) else value


def _exactly_one(*names: str) -> dict[str, Any]:
    """JSON schema of fields of which exactly one must be given, and the others left out or null."""
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


class WorldForm(BaseModel):
    """How motion in the world is answered."""

    model_config = ConfigDict(strict=True, extra="forbid")

    up_axis: Annotated[Literal["y", "z"], Field(description="The axis that points up.")] = "y"
    foot_lock: Annotated[
        FootLock,
        Field(
            description="What is done to feet on the ground: `auto` holds them still while they touch it, `always` "
            "takes the lower one to touch it in every frame, `grounding` only keeps the lower one on it, `off` leaves "
            "them as they are."
        ),
    ] = "auto"
    rotations: Annotated[bool, Field(description="Also answer the rotations of joints.")] = False
    angles: Annotated[bool, Field(description="Also answer the angles of joints as clinicians name them.")] = False


World = Annotated[
    WorldForm | None,
    BeforeValidator(_world, json_schema_input_type=bool | WorldForm | None),
    Field(description="Also answer the motion in the world: `true`, or how; not together with `targets`."),
]


def world_options(form: WorldForm | None) -> WorldOptions | None:
    """What a body asks for; None if it does not ask for motion in the world."""
    return None if form is None else WorldOptions(**form.model_dump())


class TrackForm(BaseModel):
    """One of several people."""

    model_config = ConfigDict(strict=True, extra="forbid")

    track_id: TrackId
    keypoints: Annotated[Frames, Field(description=ABOUT_KEYPOINTS)]
    person: KnownPerson = None


class LiftForm(BaseModel):
    """2D keypoints of one person (`keypoints`) or of several (`tracks`), as a detector found them in a video."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"allOf": [_exactly_one("keypoints", "tracks"), _exactly_one("fps", "timestamps_s")]},
    )

    keypoints: Annotated[Frames | None, Field(description=ABOUT_KEYPOINTS)] = None
    tracks: Annotated[
        list[TrackForm] | None,
        Field(min_length=1, fail_fast=True, description="Several people, each with keypoints of their own."),
    ] = None
    skeleton: SkeletonName
    image_size: ImageSize
    fps: Fps = None
    timestamps_s: Timestamps = None
    model: ModelName = None
    targets: Targets = ()
    mirrored_average: Annotated[
        bool, Field(description="Also lift the mirrored person and average both: slightly more exact, twice the work.")
    ] = False
    person_choice: PersonChoice = None
    coordinates: CoordinatesName = "pixels"
    strict: Strict = False
    camera: KnownCamera = None
    person: Annotated[
        PersonFields | None,
        Field(description="What is known of the person; of every track that says nothing itself."),
    ] = None
    world: World = None


_ERRORS = "Its `expected_error_m`, if it has it."
ExpectedErrors = Annotated[
    list[list[Annotated[Number, Field(ge=0)]] | None] | None, Field(min_length=1, fail_fast=True, description=_ERRORS)
]
Imputed = Annotated[
    list[list[bool] | None] | None,
    Field(min_length=1, fail_fast=True, description="Its `imputed`, for a file; else none are."),
]


class NetworkGravityForm(BaseModel):
    """What the network told of gravity."""

    model_config = ConfigDict(strict=True)

    direction: Annotated[list[Number], Field(min_length=3, max_length=3)]
    uncertainty_deg: Annotated[Number, Field(ge=0, le=180)]


class AnsweredGravityForm(BaseModel):
    """The gravity of an answer in the world; other fields are ignored."""

    model_config = ConfigDict(strict=True)

    network: NetworkGravityForm | None = None


class AnsweredWorldForm(BaseModel):
    """What is read of an answer's `world`: its `gravity`."""

    model_config = ConfigDict(strict=True)

    gravity: AnsweredGravityForm | None = None

    @property
    def network_gravity(self) -> NetworkGravityForm | None:
        """What the network told of gravity."""
        return None if self.gravity is None else self.gravity.network


AnsweredWorld = Annotated[
    AnsweredWorldForm | None, Field(description="Of its `world`, the `gravity`, if the model tells it.")
]


class AnsweredTrackForm(BaseModel):
    """One of several people in an answer; other fields are ignored."""

    model_config = ConfigDict(strict=True)

    track_id: TrackId
    poses: Annotated[PoseFrames, Field(description="Its `poses`.")]
    imputed: Imputed = None
    expected_error_m: ExpectedErrors = None
    world: AnsweredWorld = None


class AnswerForm(BaseModel):
    """An answer of `POST /lift`, and of `world` with `gravity` alone; other fields are ignored."""

    model_config = ConfigDict(strict=True)

    poses: Annotated[PoseFrames | None, Field(description="Its `poses`.")] = None
    imputed: Imputed = None
    expected_error_m: ExpectedErrors = None
    world: AnsweredWorld = None
    tracks: Annotated[list[AnsweredTrackForm] | None, Field(min_length=1, fail_fast=True)] = None


class RefineForm(BaseModel):
    """Keypoints with the poses that they were answered with, and how to put these into the world now."""

    model_config = ConfigDict(strict=True, extra="forbid")

    request: Annotated[
        LiftForm,
        Field(description="The body of `POST /lift`, with `camera`, `person` and `world` as they shall be now."),
    ]
    answer: AnswerForm


class PoseTrackForm(BaseModel):
    """One of several people."""

    model_config = ConfigDict(strict=True, extra="forbid")

    track_id: TrackId
    poses: Annotated[PoseFrames, Field(description=ABOUT_POSES)]


class CompleteForm(BaseModel):
    """3D poses of one person (`poses`) or of several (`tracks`), of which joints or whole frames are missing."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"allOf": [_exactly_one("poses", "tracks"), _exactly_one("fps", "timestamps_s")]},
    )

    poses: Annotated[PoseFrames | None, Field(description=ABOUT_POSES)] = None
    tracks: Annotated[
        list[PoseTrackForm] | None,
        Field(min_length=1, fail_fast=True, description="Several people, each with poses of their own."),
    ] = None
    skeleton: Annotated[SkeletonName, Field(description="Names the joints; it must be the model's own skeleton.")]
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


class OpeningForm(BaseModel):
    """What is constant for all frames of a session."""

    model_config = ConfigDict(strict=True, extra="forbid")

    skeleton: SkeletonName
    image_size: ImageSize
    fps: Annotated[
        float | None,
        Field(
            ge=MIN_SESSION_FPS,
            le=MAX_SESSION_FPS,
            description="Frames per second, when it is constant. When left out, every frame has its time_s.",
        ),
    ] = None
    lookahead: Annotated[
        Lookahead | None,
        Field(
            description="Later frames that a pose waits for: 0 minimises latency, more is more exact. `full` waits for "
            "all frames in the network's window; the poses then equal those of `POST /lift`, or are close to them "
            "where the network answers for all frames of a window. When left out, and unless the server's operator has "
            "chosen another: 0.3 s of frames (9 where frames have times) where the network answers for all frames of a "
            "window, else `full`."
        ),
    ] = None
    model: ModelName = None
    coordinates: CoordinatesName = "pixels"
    strict: Strict = False
    camera: KnownCamera = None
    person: KnownPerson = None
    world: Annotated[
        WorldForm | None,
        BeforeValidator(_world, json_schema_input_type=bool | WorldForm | None),
        Field(description="Also answer the motion in the world: `true`, or how."),
    ] = None


class EndForm(BaseModel):
    """The message that ends a stream."""

    model_config = ConfigDict(extra="forbid")

    end: bool
    next_frame_index: Annotated[int | None, Field(strict=True)] = None


def _listed(value: Any) -> Any:
    """The time of a single frame as a list, so that a wrong one is named without the alternatives."""
    return [value] if isinstance(value, int | float) else value


class FramesForm(BaseModel):
    """The next frames of a session, one or several."""

    model_config = ConfigDict(strict=True, extra="forbid")
    tracks: ClassVar[None] = None  # a session has a single person

    frame_index: Annotated[
        Whole,
        Field(ge=0, le=MAX_INTEGER, description="Index of the first of these frames, counted from 0 without gaps."),
    ]
    keypoints: Annotated[Frames, Field(description=ABOUT_KEYPOINTS)]
    time_s: Annotated[
        Annotated[list[Time], Field(min_length=1, fail_fast=True)] | None,
        BeforeValidator(_listed, json_schema_input_type=Time | Annotated[list[Time], Field(min_length=1)] | None),
        Field(
            description="Where the session has no fps: when the frame was taken, in seconds from any origin; an array "
            "with one time per frame where there are several. Times increase, by at most 10 s from frame to frame."
        ),
    ] = None
