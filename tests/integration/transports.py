"""Clients for whole clips, one class per transport and format, all with the same methods and results."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.server_process import ANSWER_S
from tests.integration.walking import frames

PROTOBUF = "application/x-protobuf"
STATUS = {"invalid_request": "INVALID_ARGUMENT", "unknown_model": "NOT_FOUND", "wrong_task": "INVALID_ARGUMENT"}
HTTP_STATUS = {"invalid_request": 422, "unknown_model": 404, "wrong_task": 422}


@dataclass(frozen=True)
class World:
    """The motion of one person in the world, with arrays [F, ...] and what is said once as a dictionary."""

    poses: NDArray[np.float64]
    root: NDArray[np.float64]
    contacts: NDArray[np.float64]
    rotations: NDArray[np.float64] | None
    angles: dict[str, NDArray[np.float64]]
    said: dict[str, Any]


@dataclass(frozen=True)
class Person:
    """One track of an answer: joints [F, J, 3] in metres, imputed [F, J], expected_error_m [F, J] if it is there."""

    track_id: str | None
    joints: NDArray[np.float64]
    imputed: NDArray[np.bool_]
    expected_error_m: NDArray[np.float64] | None = None
    world: World | None = None


@dataclass(frozen=True)
class Warned:
    """One of the warnings of an answer."""

    code: str
    message: str
    path: str | None


@dataclass(frozen=True)
class Answer:
    """The response of any transport."""

    model: tuple[str, int, str]
    skeleton: str
    joint_names: list[str]
    unit: str
    axes: str
    people: list[Person]
    warnings: list[Warned]


@dataclass(frozen=True)
class Refusal(Exception):
    """An error; the transport's own status has been checked against the code."""

    code: str
    message: str
    path: str | None


class Transport(Protocol):
    """A client of one transport. A clip has the fields of JSON, with arrays [F, J, 3] for keypoints or poses."""

    def lift(self, clip: dict[str, Any]) -> Answer: ...

    def complete(self, clip: dict[str, Any]) -> Answer: ...

    def refine(self, clip: dict[str, Any], answer: Answer) -> dict[str | None, World]:
        """The motion of each track by its name."""


@contextmanager
def transports_to(address: str, grpc_port: int) -> Iterator[dict[str, Transport]]:
    """Connect one client of each kind to the same server."""
    with (
        httpx.Client(base_url=address, timeout=ANSWER_S) as client,
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        yield {"json": JsonClient(client), "protobuf": ProtobufClient(client), "grpc": GrpcClient(channel)}


class JsonClient:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def lift(self, clip: dict[str, Any]) -> Answer:
        return self._post("/lift", clip)

    def complete(self, clip: dict[str, Any]) -> Answer:
        return self._post("/complete", clip)

    def refine(self, clip: dict[str, Any], answer: Answer) -> dict[str | None, World]:
        answered = [
            {"track_id": person.track_id, "poses": person.joints.tolist()}
            | ({} if person.expected_error_m is None else {"expected_error_m": person.expected_error_m.tolist()})
            | ({} if network_gravity(person) is None else {"world": {"gravity": {"network": network_gravity(person)}}})
            for person in answer.people
        ]
        stored = answered[0] if answer.people[0].track_id is None else {"tracks": answered}
        body = {"request": serialized(clip, frames), "answer": stored}
        response = self._client.post("/refine", json=body)
        if response.status_code != 200:
            raise http_refusal(response)
        content = response.json()
        return {track.get("track_id"): json_world(track["world"]) for track in content.get("tracks", [content])}

    def _post(self, path: str, clip: dict[str, Any]) -> Answer:
        response = self._client.post(path, json=serialized(clip, frames))
        if response.status_code != 200:
            raise http_refusal(response)
        content = response.json()
        people = [
            Person(
                track.get("track_id"),
                np.array(track["poses"]),
                np.array(track["imputed"]),
                np.array(track["expected_error_m"]) if "expected_error_m" in track else None,
                json_world(track["world"]) if "world" in track else None,
            )
            for track in content.get("tracks", [content])
        ]
        assert set(content["timing_ms"]) == {"queue", "inference", "total"}
        model = content["model"]["name"], content["model"]["version"], content["model"]["digest"]
        warnings = [Warned(**warning) for warning in content["warnings"]]
        return Answer(
            model, content["skeleton"], content["joint_names"], content["unit"], content["axes"], people, warnings
        )


class ProtobufClient:
    """Protobuf over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def lift(self, clip: dict[str, Any]) -> Answer:
        return from_message(pb.LiftResponse.FromString(self._post("/lift", lift_request(clip))))

    def complete(self, clip: dict[str, Any]) -> Answer:
        return from_message(pb.CompleteResponse.FromString(self._post("/complete", complete_request(clip))))

    def refine(self, clip: dict[str, Any], answer: Answer) -> dict[str | None, World]:
        return worlds_of(pb.RefineResponse.FromString(self._post("/refine", refine_request(clip, answer))))

    def _post(self, path: str, request: pb.LiftRequest | pb.CompleteRequest | pb.RefineRequest) -> bytes:
        headers = {"content-type": PROTOBUF, "accept": PROTOBUF}
        response = self._client.post(path, content=request.SerializeToString(), headers=headers)
        if response.status_code != 200:
            raise http_refusal(response)
        assert response.headers["content-type"] == PROTOBUF
        return response.content


class GrpcClient:
    def __init__(self, channel: grpc.Channel) -> None:
        self._stub: Any = LiftingServiceStub(channel)

    def lift(self, clip: dict[str, Any]) -> Answer:
        return from_message(self._call(self._stub.Lift, lift_request(clip)))

    def complete(self, clip: dict[str, Any]) -> Answer:
        return from_message(self._call(self._stub.Complete, complete_request(clip)))

    def refine(self, clip: dict[str, Any], answer: Answer) -> dict[str | None, World]:
        return worlds_of(self._call(self._stub.Refine, refine_request(clip, answer)))

    def _call(self, call: Any, request: Any) -> Any:
        try:
            return call(request, timeout=ANSWER_S)
        except grpc.RpcError as error:
            failed: Any = error
        metadata = dict(failed.trailing_metadata())
        assert failed.code().name == STATUS[metadata["poselift-code"]]
        raise Refusal(metadata["poselift-code"], failed.details(), metadata.get("poselift-path"))


def http_refusal(response: httpx.Response) -> Refusal:
    error = response.json()["error"]
    assert response.status_code == HTTP_STATUS[error["code"]]
    return Refusal(error["code"], error["message"], error.get("path"))


def serialized(clip: dict[str, Any], write: Callable[[NDArray[np.float64]], list[Any]]) -> dict[str, Any]:
    """Replace the arrays of a clip, or of one of its tracks, by what `write` makes of them."""
    fields = {name: write(value) if isinstance(value, np.ndarray) else value for name, value in clip.items()}
    if "tracks" in clip:
        fields["tracks"] = [serialized(track, write) for track in clip["tracks"]]
    return fields


def lift_request(clip: dict[str, Any]) -> pb.LiftRequest:
    fields = serialized(clip, flat)
    for track in fields.get("tracks", ()):
        if "person" in track:
            track["person"] = pb.Person(**track["person"])
    if "world" in clip:
        fields["world"] = pb.WorldOptions(**({} if clip["world"] is True else clip["world"]))
    if "camera" in clip:
        fields["camera"] = pb.Camera(**clip["camera"])
    if "person" in clip:
        fields["person"] = pb.Person(**clip["person"])
    if "image_size" in clip:
        fields["image_size"] = pb.ImageSize(width_px=clip["image_size"][0], height_px=clip["image_size"][1])
    return pb.LiftRequest(**fields)


def refine_request(clip: dict[str, Any], answer: Answer) -> pb.RefineRequest:
    stored = pb.LiftResponse()
    for person in answer.people:
        message = stored if person.track_id is None else stored.tracks.add(track_id=person.track_id)
        message.joints.extend(flat(person.joints))
        if person.expected_error_m is not None:
            message.expected_error_m.extend(flat(person.expected_error_m))
        if (told := network_gravity(person)) is not None:
            message.world.gravity.network.CopyFrom(pb.NetworkGravity(**told))
    return pb.RefineRequest(request=lift_request(clip), answer=stored)


def network_gravity(person: Person) -> dict[str, Any] | None:
    """What the network told of it."""
    return None if person.world is None else person.world.said["gravity"].get("network")


def json_world(world: dict[str, Any]) -> World:
    angles = {name: np.array(degrees) for name, degrees in world.pop("angles", {}).items()}
    poses, root, contacts = (np.array(world.pop(name)) for name in ("poses", "root", "contacts"))
    rotations = np.array(world.pop("rotations")) if "rotations" in world else None
    return World(poses, root, contacts, rotations, angles, world)


def worlds_of(message: pb.RefineResponse) -> dict[str | None, World]:
    assert message.timing_ms.total > 0
    if message.HasField("world"):
        return {None: world_of(message.world)}
    return {track.track_id: world_of(track.world) for track in message.tracks}


def world_of(message: pb.World) -> World:
    root = np.array(message.root).reshape(-1, 3)
    frames = len(root)
    return World(
        np.array(message.joints).reshape(frames, -1, 3),
        root,
        np.array(message.contacts).reshape(frames, 2),
        np.array(message.rotations).reshape(frames, -1, 4) if message.rotations else None,
        {angle.name: np.array(angle.degrees) for angle in message.angles},
        said_of(message),
    )


def said_of(message: pb.World) -> dict[str, Any]:
    """What the frames of a motion have in common."""
    gravity, camera = message.gravity, message.camera
    return {
        "axes": message.axes,
        "unit": message.unit,
        "scale": message.scale,
        "height_m": message.height_m,
        "gravity": {
            "direction": list(gravity.direction),
            "uncertainty_deg": gravity.uncertainty_deg,
            "given": gravity.given,
            **({"network": network_of(gravity)} if gravity.HasField("network") else {}),
        },
        "camera": {"focal_px": camera.focal_px, "given": camera.given},
    }


def network_of(gravity: pb.Gravity) -> dict[str, Any]:
    told = gravity.network
    return {"direction": list(told.direction), "uncertainty_deg": told.uncertainty_deg}


def complete_request(clip: dict[str, Any]) -> pb.CompleteRequest:
    return pb.CompleteRequest(**serialized(clip, flat))


def flat(points: NDArray[np.float64]) -> list[float]:
    numbers: list[float] = points.ravel().tolist()
    return numbers


def from_message(message: pb.LiftResponse | pb.CompleteResponse) -> Answer:
    people = (
        [person_of(None, message)] if message.joints else [person_of(track.track_id, track) for track in message.tracks]
    )
    model = message.model.name, message.model.version, message.model.digest
    assert message.timing_ms.total >= message.timing_ms.inference > 0
    return Answer(
        model,
        message.skeleton,
        list(message.joint_names),
        message.unit,
        message.axes,
        people,
        warned(message.warnings),
    )


def warned(warnings: Iterable[pb.InputWarning]) -> list[Warned]:
    return [Warned(warning.code, warning.message, warning.path or None) for warning in warnings]


def person_of(track_id: str | None, message: pb.LiftResponse | pb.CompleteResponse | pb.LiftedTrack) -> Person:
    joints = np.reshape(np.array(message.joints, dtype=np.float64), (-1, 17, 3))
    flags = np.unpackbits(np.frombuffer(message.imputed, np.uint8), count=17 * len(joints), bitorder="little")
    errors = () if isinstance(message, pb.CompleteResponse) else message.expected_error_m
    expected_error_m = np.array(errors, dtype=np.float64).reshape(-1, 17) if errors else None
    world = None
    if not isinstance(message, pb.CompleteResponse) and message.HasField("world"):
        world = world_of(message.world)
    return Person(track_id, joints, flags.astype(bool).reshape(-1, 17), expected_error_m, world)
