"""Live sessions in JSON: bodies to requests, results to answers, and both as OpenAPI describes them."""

from typing import Annotated, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from poselift.formats.writers.json import DECIMALS
from poselift.formats.writers.track import AXES
from poselift.skeletons import SKELETONS, skeleton
from poselift_service.codecs.json.joints import KEYPOINTS, Arrays, take_out
from poselift_service.codecs.json.lift import (
    EXPECTED_ERROR_TEXT,
    KEYPOINTS_TEXT,
    Frames,
    ModelReference,
    Pixels,
    Position,
    TimingMs,
    joints_of,
    validated,
)
from poselift_service.pipeline.live import LivePoses
from poselift_service.pipeline.request import MAX_NAME_CHARACTERS
from poselift_service.sessions.session import MAX_SESSION_FPS, MIN_SESSION_FPS, Opening, Session

# What is longer is not parsed only to see whether it says that the stream ends.
_LONGEST_END_BYTES = 64


class OpeningForm(BaseModel):
    """What stays the same for all frames of a session."""

    model_config = ConfigDict(strict=True, extra="forbid")

    skeleton: Annotated[
        str, Field(description="Which joints there are, in which order.", json_schema_extra={"enum": list(SKELETONS)})
    ]
    image_size: Annotated[
        tuple[Pixels, Pixels],
        Field(description="Width and height in pixels of the picture the keypoints are detected in."),
    ]
    fps: Annotated[float, Field(ge=MIN_SESSION_FPS, le=MAX_SESSION_FPS, description="Frames per second.")]
    lookahead: Annotated[
        Annotated[int, Field(ge=0, le=1_000_000)] | Literal["full"],
        Field(
            description="Later frames that a pose waits for: 0 answers at once, more is more exact. `full` waits for "
            "all that the network's window reaches; then the poses are those of `POST /lift`, or close to them where "
            "the network answers with all frames of a window."
        ),
    ]
    model: Annotated[
        str | None,
        Field(
            max_length=MAX_NAME_CHARACTERS,
            description="name, name@version or name@label; the server's default when left out.",
        ),
    ] = None


class FramesForm(BaseModel):
    """The next frames of a session, one or several."""

    model_config = ConfigDict(strict=True, extra="forbid")

    frame_index: Annotated[
        int,
        Field(ge=0, le=2**53 - 1, description="Index of the first of these frames, counted from 0 without gaps."),
    ]
    keypoints: Annotated[Frames, Field(description=KEYPOINTS_TEXT)]


class SessionAnswer(BaseModel):
    """A session as it is now."""

    session_id: str
    model: ModelReference
    skeleton: Annotated[str, Field(description="Skeleton of the poses.")]
    joint_names: tuple[str, ...]
    unit: Literal["m"]
    axes: Annotated[str, Field(examples=[AXES])]
    fps: float
    lookahead: Annotated[int, Field(description="Later frames that a pose waits for.")]
    full_lookahead: Annotated[int, Field(description="As many as the network's window reaches.")]
    next_frame_index: Annotated[int, Field(description="The frame that is expected next.")]
    expires_in_s: Annotated[float, Field(description="Time after which the session is forgotten if it is not used.")]


class LiftedFrame(BaseModel):
    """The pose of one frame."""

    frame_index: int
    lookahead: Annotated[
        int, Field(description="How many later frames the network saw; fewer than the session's only at its end.")
    ]
    pose: Annotated[list[Position], Field(description="[x, y, z] in metres of each joint.")]
    imputed: Annotated[list[bool], Field(description="True for joints that were made up.")]
    expected_error_m: Annotated[list[float] | None, Field(description=EXPECTED_ERROR_TEXT)] = None


class FramesAnswer(BaseModel):
    """Poses that have become ready, oldest first; none while frames wait for later ones."""

    frames: list[LiftedFrame]
    next_frame_index: int
    timing_ms: TimingMs


def read_opening(body: bytes) -> tuple[Opening, str | None]:
    """Parse and validate the body that opens a session.

    Returns:
        How it is opened, and the model asked for.
    Raises:
        InvalidRequest: it is not what the contract says; the path names the first field at fault.
        UnknownSkeleton: there is no such skeleton.
    """
    form = validated(OpeningForm, body)
    lookahead = None if form.lookahead == "full" else form.lookahead
    return Opening(skeleton(form.skeleton), *form.image_size, form.fps, lookahead), form.model


def read_frames(body: bytes, session: Session) -> tuple[int, NDArray[np.float32]]:
    """Parse and validate frames of a session.

    Returns:
        Index of the first one, and keypoints [F, J, 3].
    Raises:
        InvalidRequest: they are not what the contract says; the path names the first field at fault.
    """
    rest, arrays = take_out(body, KEYPOINTS, session.opening.source)
    return frames_of(validated(FramesForm, rest), arrays, session)


def frames_of(form: FramesForm, arrays: Arrays, session: Session) -> tuple[int, NDArray[np.float32]]:
    """The frames that a form and the keypoints taken out of it, by path, are; raises as `read_frames` does."""
    source = session.opening.source
    keypoints = joints_of(arrays.get("keypoints"), form.keypoints, KEYPOINTS, source, "keypoints")
    return form.frame_index, keypoints.astype(np.float32)


def says_end(body: bytes) -> bool:
    """Whether a message of a stream says that no frames will follow; any other is like a body with frames."""
    if len(body) > _LONGEST_END_BYTES:
        return False
    try:
        return bool(orjson.loads(body) == {"end": True})
    except orjson.JSONDecodeError:
        return False


def describe_session(session: Session, *, expires_in_s: float) -> SessionAnswer:
    """What is told of a session."""
    manifest = session.manifest
    return SessionAnswer(
        session_id=session.session_id,
        model=ModelReference(name=manifest.name, version=manifest.version, digest=manifest.digest),
        skeleton=manifest.target.name,
        joint_names=manifest.target.joint_names,
        unit="m",
        axes=AXES,
        fps=session.opening.fps,
        lookahead=session.window.lookahead,
        full_lookahead=session.window.full_lookahead,
        next_frame_index=session.next_frame_index,
        expires_in_s=expires_in_s,
    )


def write_poses(poses: LivePoses, *, total_s: float) -> bytes:
    """The body that answers frames."""
    lifted = poses.lifted
    # Adding zero turns -0.0 into 0.0.
    rounded = np.round(lifted.joints, DECIMALS) + 0.0
    frames = [
        {"frame_index": target, "lookahead": seen, "pose": pose, "imputed": imputed}
        for target, seen, pose, imputed in zip(poses.targets, poses.future_frames, rounded, lifted.imputed, strict=True)
    ]
    if lifted.expected_error_m is not None:
        for frame, expected_error_m in zip(frames, np.round(lifted.expected_error_m, DECIMALS), strict=True):
            frame["expected_error_m"] = expected_error_m
    times_s = {"queue": poses.queue_s, "inference": poses.inference_s, "total": total_s}
    answer = {
        "frames": frames,
        "next_frame_index": poses.session.next_frame_index,
        "timing_ms": {stage: round(1000 * seconds, 3) for stage, seconds in times_s.items()},
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
