"""What the service answers, as dataclasses; lists of numbers are as in JSON."""

from dataclasses import dataclass, field, fields
from typing import Any

from poselift.client.errors import ApiError


@dataclass(frozen=True, slots=True)
class ModelReference:
    """The network that gave an answer; `digest` is the start of the SHA-256 of its weights."""

    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class InputWarning:
    """What is likely not what was meant: a stable code, a sentence, and the field that it is about, if it is one."""

    code: str
    message: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class TimingMs:
    """Where the time of a request went: waiting for the network, in the network, altogether."""

    queue: float
    inference: float
    total: float


@dataclass(frozen=True, slots=True)
class World:
    """One person's motion in the world: upright, in metres, on the ground.

    Attributes:
        axes: what they mean, in words.
        poses: [frames][joints][3], metres.
        root: [frames][3], the pelvis.
        contacts: [frames][2], the probability that the left and the right foot touch the ground.
        scale: factor from the network's metres to these.
        height_m: the stature that this means.
        gravity: `direction` [3] in camera axes, `uncertainty_deg`, whether it was `given`, and with some models
            `network`, `direction` and `uncertainty_deg` that the network by itself tells.
        camera: `focal_px`, and whether it was `given`.
        rotations: [frames][joints][4], w, x, y, z, if they were asked for.
        angles: [frames] degrees by name, if they were asked for.
    """

    axes: str
    poses: list[list[list[float]]]
    root: list[list[float]]
    contacts: list[list[float]]
    scale: float
    height_m: float
    gravity: dict[str, Any]
    camera: dict[str, Any]
    rotations: list[list[list[float]]] | None = None
    angles: dict[str, list[float]] | None = None


@dataclass(frozen=True, slots=True)
class FrameWorld:
    """One frame of a stream in the world.

    Attributes:
        joints: [joints][3], metres.
        root: [3], the pelvis.
        contacts: [2], the probability that the left and the right foot touch the ground.
        rotations: [joints][4], w, x, y, z, if they were asked for.
        angles: degrees by name, if they were asked for.
    """

    joints: list[list[float]]
    root: list[float]
    contacts: list[float]
    rotations: list[list[float]] | None = None
    angles: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class StreamWorld:
    """What the frames of a stream in the world have in common; the attributes are those of `World`."""

    axes: str
    scale: float
    height_m: float
    gravity: dict[str, Any]
    camera: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """One person's poses.

    Attributes:
        track_id: the caller's name; None where the request had `keypoints` or `poses`.
        poses: [frames][joints][3], metres.
        imputed: [frames][joints], true for joints that were missing and were filled in.
        expected_error_m: [frames][joints]; None if the model does not estimate it.
        world: the motion in the world; None if it was not asked for.
    """

    track_id: str | None
    poses: list[list[list[float]]]
    imputed: list[list[bool]]
    expected_error_m: list[list[float]] | None = None
    world: World | None = None

    def stored(self) -> dict[str, Any]:
        """What putting it into the world again needs."""
        fields: dict[str, Any] = {
            "track_id": self.track_id,
            "poses": self.poses,
            "expected_error_m": self.expected_error_m,
        }
        if self.world is not None and "network" in self.world.gravity:
            fields["world"] = {"gravity": {"network": self.world.gravity["network"]}}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Answer:
    """The poses of a clip.

    Attributes:
        people: one entry per track, in the order of the request.
        document: the whole answer as it came, with fields that this version of the client does not know.
    """

    model: ModelReference
    skeleton: str
    joint_names: list[str]
    unit: str
    axes: str
    people: list[Person]
    warnings: list[InputWarning]
    timing_ms: TimingMs
    document: dict[str, Any] = field(repr=False)

    @property
    def person(self) -> Person:
        """The only person; raises ValueError if there are several."""
        (person,) = self.people
        return person

    @property
    def poses(self) -> list[list[list[float]]]:
        """[frames][joints][3] of the only person, metres."""
        return self.person.poses

    @property
    def imputed(self) -> list[list[bool]]:
        """[frames][joints] of the only person."""
        return self.person.imputed

    @property
    def expected_error_m(self) -> list[list[float]] | None:
        """[frames][joints] of the only person; None if the model does not estimate it."""
        return self.person.expected_error_m

    @property
    def world(self) -> World | None:
        """The motion of the only person in the world; None if it was not asked for."""
        return self.person.world


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session as it was opened.

    Attributes:
        lookahead: later frames that a pose waits for; None for all in the window, where frames have times or poses come
            in blocks.
        full_lookahead: the largest possible, what the network's window covers; None where frames have times.
    """

    session_id: str
    model: ModelReference
    skeleton: str
    joint_names: list[str]
    unit: str
    axes: str
    lookahead: int | None
    full_lookahead: int | None


@dataclass(frozen=True, slots=True)
class Pose:
    """The pose of one frame of a stream.

    Attributes:
        frame_index: which frame it is, counted from 0 over the whole stream.
        joints: [joints][3], metres.
        imputed: [joints].
        lookahead: how many later frames the network saw.
        expected_error_m: [joints]; None if the model does not estimate it.
        world: the frame in the world; None if it was not asked for.
    """

    frame_index: int
    joints: list[list[float]]
    imputed: list[bool]
    lookahead: int
    expected_error_m: list[float] | None = None
    world: FrameWorld | None = None


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """The answer to one message of a stream."""

    poses: list[Pose]
    warnings: list[InputWarning]
    world: StreamWorld | None = None


def read_answer(document: Any) -> Answer:
    """Read the body of an answer about a clip; raises ApiError if it is none."""
    try:
        return Answer(
            model=_model(document),
            skeleton=document["skeleton"],
            joint_names=document["joint_names"],
            unit=document["unit"],
            axes=document["axes"],
            people=[_person(track) for track in document.get("tracks", [document])],
            warnings=_warnings(document),
            timing_ms=TimingMs(**document["timing_ms"]),
            document=document,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unexpected(error) from error


def read_session(document: Any) -> SessionState:
    """Read the state of a session; raises ApiError if it is none."""
    try:
        return SessionState(
            session_id=document["session_id"],
            model=_model(document),
            skeleton=document["skeleton"],
            joint_names=document["joint_names"],
            unit=document["unit"],
            axes=document["axes"],
            lookahead=document["lookahead"],
            full_lookahead=document["full_lookahead"],
        )
    except (KeyError, TypeError) as error:
        raise _unexpected(error) from error


def read_stream_answer(document: Any) -> StreamAnswer:
    """Read the answer to a message of a stream; raises ApiError if it is none."""
    try:
        world = document.get("world")
        common = None if world is None else StreamWorld(**_known(StreamWorld, world))
        return StreamAnswer([_pose(frame) for frame in document["frames"]], _warnings(document), common)
    except (KeyError, TypeError) as error:
        raise _unexpected(error) from error


def read_worlds(document: Any) -> dict[str | None, World]:
    """Read the body of an answer of POST /refine, by track; raises ApiError if it is none."""
    try:
        return {track.get("track_id"): _world(track["world"]) for track in document.get("tracks", [document])}
    except (KeyError, TypeError, AttributeError) as error:
        raise _unexpected(error) from error


def _person(track: dict[str, Any]) -> Person:
    world = _world(track["world"]) if "world" in track else None
    return Person(track.get("track_id"), track["poses"], track["imputed"], track.get("expected_error_m"), world)


def _world(world: dict[str, Any]) -> World:
    return World(**_known(World, world))


def _known(kind: type[Any], document: dict[str, Any]) -> dict[str, Any]:
    """The fields of a document that a dataclass has."""
    return {each.name: document[each.name] for each in fields(kind) if each.name in document}


def _pose(frame: dict[str, Any]) -> Pose:
    world = frame.get("world")
    return Pose(
        frame["frame_index"],
        frame["pose"],
        frame["imputed"],
        frame["lookahead"],
        frame.get("expected_error_m"),
        None if world is None else FrameWorld(joints=world["pose"], **_known(FrameWorld, world)),
    )


def _model(document: dict[str, Any]) -> ModelReference:
    model = document["model"]
    return ModelReference(model["name"], model["version"], model["digest"])


def _warnings(document: dict[str, Any]) -> list[InputWarning]:
    told = document.get("warnings", [])
    return [InputWarning(warning["code"], warning["message"], warning.get("path")) for warning in told]


def _unexpected(error: Exception) -> ApiError:
    return ApiError("unexpected_answer", f"The server's answer has another form than this client reads: {error!r}.")
