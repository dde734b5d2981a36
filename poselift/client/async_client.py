"""The client, as coroutines."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from poselift.client.answers import Answer, SessionState, read_answer, read_worlds
from poselift.client.arrays import ArrayLike, frames_of, items_of
from poselift.client.async_stream import AsyncStream
from poselift.client.connection import Connection
from poselift.client.endpoint import Endpoint

if TYPE_CHECKING:
    from poselift.client.http_calls import HttpCalls

Coordinates = Literal["pixels", "normalised"]
Known: TypeAlias = Mapping[str, Any]
"""Fields of an object in a request, as docs/api.md lists them."""
DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 60.0


class AsyncClient:
    """A client of one server, or of the replicas behind one address. Calls may run at the same time."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        grpc: str | None = None,
        ca_file: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Prepare connections; none is made before the first call.

        Args:
            url: address of the HTTP port, with a path before it where a proxy demands one.
            key: API key.
            grpc: `host:port` of the gRPC port. Streams then use gRPC, otherwise WebSockets.
            ca_file: authorities that the server's certificate may be signed by, in PEM; those of this machine if None.
            certificate: files with the client's certificate and its key, in PEM.
            timeout_s: time for a call with all its attempts, and longest time that a stream waits for any answer.
        Raises:
            ValueError: an address is not of that form.
        """
        self._endpoint = Endpoint(url, grpc, key, ca_file, certificate)
        self._timeout_s = timeout_s
        self._connected: HttpCalls | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections but those of streams."""
        if self._connected is not None:
            await self._connected.close()

    async def lift(
        self,
        /,
        keypoints: ArrayLike | Mapping[str, ArrayLike],
        *,
        skeleton: str,
        image_size: tuple[int, int],
        fps: float | None = None,
        timestamps_s: ArrayLike | None = None,
        model: str | None = None,
        targets: ArrayLike | None = None,
        person_choice: str | None = None,
        mirrored_average: bool = False,
        coordinates: Coordinates = "pixels",
        strict: bool = False,
        camera: Known | None = None,
        person: Known | None = None,
        world: bool | Known = False,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Answer:
        """Lift the keypoints of a clip.

        Args:
            keypoints: [F, J, 3] or [F, J, 2]: x, y and score of each joint, NaN or None where it is missing; or of
                several people, by the `track_id` of each.
            skeleton: name of the skeleton of the keypoints, such as `coco17`.
            image_size: width and height of the image in pixels.
            fps, timestamps_s: the frame rate, or one time per frame.
            camera, person: what is known of them, such as `{"fov_deg": 70, "pitch_deg": 10}` and `{"height_m": 1.8}`.
            world: also answer the motion in the world; True, or how, such as `{"foot_lock": "off"}`.
            fields: further fields of `POST /lift`, as docs/api.md lists them; the others are explained there, too.
            timeout_s: instead of that of the client.
        Raises:
            ApiError: the server refuses the request, or cannot be reached in time.
            ValueError: the keypoints have another form.
        """
        body = {
            "skeleton": skeleton,
            "image_size": list(image_size),
            "person_choice": person_choice,
            "coordinates": coordinates,
            "strict": strict,
            **_world(camera, person, world),
            **_clip("keypoints", keypoints, fps, timestamps_s, model, targets, mirrored_average),
            **fields,
        }
        return read_answer(await self._post("/lift", body, timeout_s))

    async def refine(
        self,
        /,
        answer: Answer,
        keypoints: ArrayLike | Mapping[str, ArrayLike],
        *,
        skeleton: str,
        image_size: tuple[int, int],
        fps: float | None = None,
        timestamps_s: ArrayLike | None = None,
        camera: Known | None = None,
        person: Known | None = None,
        world: bool | Known = True,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Answer:
        """Put the poses of an answer into the world again, without a network.

        Args:
            answer: of `lift`.
            keypoints: what it was lifted from; the arguments after it are those of `lift`.
            camera, person, world: as for `lift`; they need not be those of the answer.
        Returns:
            The answer with another `world` of each person.
        Raises:
            ApiError, ValueError: as for `lift`.
        """
        request = {
            "skeleton": skeleton,
            "image_size": list(image_size),
            **_world(camera, person, world),
            **_clip("keypoints", keypoints, fps, timestamps_s, None, None, False),
            **fields,
        }
        people = [one.stored() for one in answer.people]
        stored = people[0] if answer.people[0].track_id is None else {"tracks": people}
        worlds = read_worlds(await self._post("/refine", {"request": _given(request), "answer": stored}, timeout_s))
        kept = [replace(one, world=worlds[one.track_id]) for one in answer.people if one.track_id in worlds]
        return replace(answer, people=kept)

    async def complete(
        self,
        /,
        poses: ArrayLike | Mapping[str, ArrayLike],
        *,
        skeleton: str,
        fps: float | None = None,
        timestamps_s: ArrayLike | None = None,
        model: str | None = None,
        targets: ArrayLike | None = None,
        mirrored_average: bool = False,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Answer:
        """Fill in the missing joints of 3D poses.

        Args:
            poses: [F, J, 3], metres, NaN or None where a joint is missing; or of several people, as for `lift`.
            fields: further fields of `POST /complete`; the others are explained in docs/api.md, too.
        Raises:
            ApiError: the server refuses the request, or cannot be reached in time.
            ValueError: the poses have another form.
        """
        body = {
            "skeleton": skeleton,
            **_clip("poses", poses, fps, timestamps_s, model, targets, mirrored_average),
            **fields,
        }
        return read_answer(await self._post("/complete", body, timeout_s))

    def stream(
        self,
        /,
        *,
        skeleton: str,
        image_size: tuple[int, int],
        fps: float | None = None,
        lookahead: int | Literal["full"] | None = None,
        model: str | None = None,
        coordinates: Coordinates = "pixels",
        strict: bool = False,
        camera: Known | None = None,
        person: Known | None = None,
        world: bool | Known = False,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> AsyncStream:
        """Prepare one person's live stream; `async with` opens its session.

        Args:
            fps: frames per second; None where each frame says its time.
            lookahead: later frames that a pose waits for, 0 for none, `full` for as many as help; None for what the
                server's operator has chosen, which `AsyncStream.session` says.
            camera, person, world: as for `lift`.
            timeout_s: longest time without any answer, instead of that of the client.
            fields: further fields of `POST /sessions`; the others are explained in docs/api.md.
        """
        opening = {
            "skeleton": skeleton,
            "image_size": list(image_size),
            "fps": fps,
            "lookahead": lookahead,
            "model": model,
            "coordinates": coordinates,
            "strict": strict,
            **_world(camera, person, world),
            **fields,
        }
        return AsyncStream(self._http, self._connect, _given(opening), timeout_s or self._timeout_s)

    async def _connect(self, session: SessionState) -> Connection:
        # Libraries are imported where they are used: httpx brings those of its command, gRPC is large.
        if self._endpoint.grpc is not None:
            from poselift.client.grpc_connection import GrpcConnection

            return await GrpcConnection.open(self._endpoint, session.session_id, len(session.joint_names))
        from poselift.client.websocket_connection import WebSocketConnection

        return await WebSocketConnection.open(self._endpoint, session.session_id)

    async def _post(self, path: str, body: dict[str, Any], timeout_s: float | None) -> Any:
        return await self._http.call("POST", path, _given(body), timeout_s=timeout_s or self._timeout_s)

    @property
    def _http(self) -> "HttpCalls":
        if self._connected is None:
            from poselift.client.http_calls import HttpCalls

            self._connected = HttpCalls(self._endpoint)
        return self._connected


def _clip(
    field: str,
    arrays: ArrayLike | Mapping[str, ArrayLike],
    fps: float | None,
    timestamps_s: ArrayLike | None,
    model: str | None,
    targets: ArrayLike | None,
    mirrored_average: bool,
) -> dict[str, Any]:
    """The fields that requests about clips share."""
    if isinstance(arrays, Mapping):
        people: dict[str, Any] = {
            "tracks": [{"track_id": name, field: frames_of(array)} for name, array in arrays.items()]
        }
    else:
        people = {field: frames_of(arrays)}
    return {
        **people,
        "fps": fps,
        "timestamps_s": None if timestamps_s is None else [float(time_s) for time_s in items_of(timestamps_s)],
        "model": model,
        "targets": None if targets is None else [int(target) for target in items_of(targets)],
        "mirrored_average": mirrored_average,
    }


def _world(camera: Known | None, person: Known | None, world: bool | Known) -> dict[str, Any]:
    """The fields about the world, None where they say nothing."""
    return {"camera": camera, "person": person, "world": world or None}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
