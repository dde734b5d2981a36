"""Clients that stream one person's frames, one class per transport and form, all with the same few methods."""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.server_process import ANSWER_S
from tests.integration.transports import Warned, said_of, warned, world_of
from tests.integration.walking import IMAGE_SIZE, frames

Times = NDArray[np.float64] | None


@dataclass(frozen=True)
class Replica:
    """Where a server is.

    Attributes:
        address: `http://127.0.0.1:<port>`.
    """

    address: str
    grpc_port: int

    @property
    def websocket_address(self) -> str:
        return self.address.replace("http", "ws", 1)


@dataclass(frozen=True)
class FrameWorld:
    """A frame in the world: pose [J, 3], pelvis [3], contacts [2], rotations [J, 4] and angles if there are any."""

    pose: NDArray[np.float64]
    root: NDArray[np.float64]
    contacts: NDArray[np.float64]
    rotations: NDArray[np.float64] | None
    angles: dict[str, float]


@dataclass(frozen=True)
class LiftedFrame:
    """The pose [J, 3] of a frame in metres, which joints [J] were made up, and the expected error [J] if it is told."""

    index: int
    lookahead: int
    pose: NDArray[np.float64]
    imputed: NDArray[np.bool_]
    expected_error_m: NDArray[np.float64] | None
    world: FrameWorld | None = None


@dataclass(frozen=True)
class Answer:
    """`world` is what the frames have in common."""

    frames: list[LiftedFrame]
    next_frame_index: int
    warnings: list[Warned]
    world: dict[str, Any] | None = None


@dataclass  # not frozen: an exception gets its traceback on its way
class Refusal(Exception):
    """An error that the server has told.

    Attributes:
        status: what the transport calls it: HTTP status, name of the gRPC status, code the WebSocket was closed with.
    """

    code: str
    status: int | str
    message: str
    path: str | None = None
    expected_frame_index: int | None = None
    retry_after_s: float | None = None


class Lost(Exception):
    """The connection broke before an answer came, and the server has not said why."""


class Client(Protocol):
    """One stream of a session. Messages may be sent ahead of the answers, which come in the same order.

    It is created with a replica, the session, and the time that it waits for an answer.
    """

    def send(self, first: int, points: NDArray[np.float64], times_s: Times = None) -> None:
        """Send frames [F, J, 3] from an index on, with their times if they have any; NaN where a joint is missing."""

    def end(self, frames: int | None = None) -> None:
        """Say that no more frames will follow, and how many there were."""

    def receive(self) -> Answer:
        """The next answer; raises Refusal or Lost."""

    def close(self) -> None:
        """Leave without a word about the session."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_session(
    replica: Replica, *, fps: float | None, lookahead: float | None = None, model: str | None = None, **more: Any
) -> str:
    """Open a session over HTTP, with full lookahead unless another is given; returns its name.

    Args:
        fps: None for frames with times.
    """
    opening = {
        "skeleton": "coco17",
        "image_size": IMAGE_SIZE,
        "fps": fps,
        "lookahead": "full" if lookahead is None else lookahead,
        "model": model,
        **more,
    }
    answer = httpx.post(f"{replica.address}/sessions", json=opening, timeout=ANSWER_S)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


class Post(_Closing):
    """A request per message; it is made when the answer is asked for."""

    def __init__(self, replica: Replica, session_id: str, patience_s: float = ANSWER_S) -> None:
        self._client = httpx.Client(timeout=patience_s)
        self._path = f"{replica.address}/sessions/{session_id}"
        self._waiting: queue.SimpleQueue[httpx.Request] = queue.SimpleQueue()

    def send(self, first: int, points: NDArray[np.float64], times_s: Times = None) -> None:
        message = json_message(first, points, times_s)
        self._waiting.put(self._client.build_request("POST", f"{self._path}/frames", json=message))

    def end(self, frames: int | None = None) -> None:
        said = {} if frames is None else {"next_frame_index": frames}
        self._waiting.put(self._client.build_request("DELETE", self._path, params=said))

    def receive(self) -> Answer:
        try:
            response = self._client.send(self._waiting.get())
        except httpx.TransportError as error:
            raise Lost from error
        if response.status_code != 200:
            hint = response.headers.get("retry-after")
            raise _refusal(response.json(), response.status_code, None if hint is None else float(hint))
        return _from_json(response.json())

    def close(self) -> None:
        self._client.close()


class WebSocketJson(_Closing):
    def __init__(self, replica: Replica, session_id: str, patience_s: float = ANSWER_S) -> None:
        self._patience_s = patience_s
        address = f"{replica.websocket_address}/sessions/{session_id}/stream"
        self._leaving = contextlib.ExitStack()
        try:
            self.socket: ClientConnection = self._leaving.enter_context(
                connect(
                    address, open_timeout=patience_s, close_timeout=min(patience_s, 10), compression=None, max_size=None
                )
            )
        except (OSError, EOFError, WebSocketException) as error:
            raise Lost from error

    def send(self, first: int, points: NDArray[np.float64], times_s: Times = None) -> None:
        self._send(json.dumps(json_message(first, points, times_s)))

    def end(self, frames: int | None = None) -> None:
        self._send(json.dumps({"end": True} if frames is None else {"end": True, "next_frame_index": frames}))

    def receive(self) -> Answer:
        answer = self._receive()
        assert isinstance(answer, str)
        return _from_json(json.loads(answer))

    def close(self) -> None:
        self._leaving.close()

    def _send(self, message: str | bytes) -> None:
        # Why it is closed is told by what can still be received.
        with contextlib.suppress(ConnectionClosed):
            self.socket.send(message)

    def _receive(self) -> str | bytes:
        try:
            answer = self.socket.recv(self._patience_s)
        except (ConnectionClosed, TimeoutError) as error:
            raise Lost from error
        if isinstance(answer, str) and "error" in (told := json.loads(answer)):
            raise _refusal(told, self.closed_with(), told["error"].get("retry_after_s"))
        return answer

    def closed_with(self) -> int:
        """The code that the server closes with, after everything that was sent before."""
        try:
            answer = self.socket.recv(ANSWER_S)
        except ConnectionClosed as closed:
            return 1006 if closed.rcvd is None else closed.rcvd.code
        raise AssertionError(f"it is not closed, but said {answer!r}")


class WebSocketProtobuf(WebSocketJson):
    def send(self, first: int, points: NDArray[np.float64], times_s: Times = None) -> None:
        self._send(message(first, points, times_s).SerializeToString())

    def end(self, frames: int | None = None) -> None:
        self._send(pb.LiftStreamRequest(end=True, next_frame_index=frames).SerializeToString())

    def receive(self) -> Answer:
        answer = self._receive()
        assert isinstance(answer, bytes)
        return _from_protobuf(pb.LiftStreamResponse.FromString(answer))


class Grpc(_Closing):
    def __init__(self, replica: Replica, session_id: str, patience_s: float = 10 * ANSWER_S) -> None:
        self._patience_s = patience_s
        # Otherwise a second channel to the same server would share the connection of the first.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{replica.grpc_port}", options)
        self._session_id = session_id
        self._messages: queue.SimpleQueue[pb.LiftStreamRequest | None] = queue.SimpleQueue()
        stub: Any = LiftingServiceStub(self._channel)
        self.call = stub.LiftStream(self._outgoing(), timeout=10 * ANSWER_S)

    def send(self, first: int, points: NDArray[np.float64], times_s: Times = None) -> None:
        self._send(message(first, points, times_s))

    def end(self, frames: int | None = None) -> None:
        self._send(pb.LiftStreamRequest(end=True, next_frame_index=frames))

    def receive(self) -> Answer:
        giving_up = threading.Timer(self._patience_s, self.call.cancel)
        giving_up.start()
        try:
            return _from_protobuf(next(self.call))
        except StopIteration:
            raise Lost from None
        except grpc.RpcError as error:
            failed: Any = error
            told = dict(failed.trailing_metadata() or ())
            if "poselift-code" not in told:
                raise Lost from error
            expected, hint = told.get("poselift-expected-frame-index"), told.get("grpc-retry-pushback-ms")
            raise Refusal(
                told["poselift-code"],
                failed.code().name,
                failed.details(),
                told.get("poselift-path"),
                None if expected is None else int(expected),
                None if hint is None else int(hint) / 1000,
            ) from error
        finally:
            giving_up.cancel()

    def close(self) -> None:
        self.call.cancel()
        self._messages.put(None)
        self._channel.close()

    def half_close(self) -> None:
        """Say that no more messages will come over this call."""
        self._messages.put(None)

    def _send(self, request: pb.LiftStreamRequest) -> None:
        # Only the first message needs it.
        request.session_id, self._session_id = self._session_id, ""
        self._messages.put(request)

    def _outgoing(self) -> Iterator[pb.LiftStreamRequest]:
        while (sent := self._messages.get()) is not None:
            yield sent


CLIENTS: dict[str, Callable[..., Client]] = {
    "post": Post,
    "grpc": Grpc,
    "websocket-json": WebSocketJson,
    "websocket-protobuf": WebSocketProtobuf,
}


def message(first: int, points: NDArray[np.float64], times_s: Times = None) -> pb.LiftStreamRequest:
    """Frames in protobuf; one without any joint is left empty."""
    return pb.LiftStreamRequest(
        frames=[
            pb.Frame(
                frame_index=first + number,
                keypoints=[] if np.isnan(frame).all() else frame.ravel().tolist(),
                time_s=None if times_s is None else times_s[number],
            )
            for number, frame in enumerate(points)
        ]
    )


def json_message(first: int, points: NDArray[np.float64], times_s: Times = None) -> dict[str, Any]:
    """Frames in JSON; a single one with its time alone."""
    timed = {} if times_s is None else {"time_s": times_s.tolist() if len(times_s) > 1 else float(times_s[0])}
    return {"frame_index": first, "keypoints": frames(points), **timed}


def _refusal(told: Any, status: int, retry_after_s: float | None) -> Refusal:
    error = told["error"]
    assert error["message"].endswith("."), error
    expected = error.get("expected_frame_index")
    return Refusal(error["code"], status, error["message"], error.get("path"), expected, retry_after_s)


def _from_json(answer: Any) -> Answer:
    assert set(answer["timing_ms"]) == {"queue", "inference", "total"}
    lifted = [
        LiftedFrame(
            frame["frame_index"],
            frame["lookahead"],
            np.array(frame["pose"]),
            np.array(frame["imputed"]),
            np.array(frame["expected_error_m"]) if "expected_error_m" in frame else None,
            _world_of_json(frame["world"]) if "world" in frame else None,
        )
        for frame in answer["frames"]
    ]
    warnings = [Warned(**warning) for warning in answer["warnings"]]
    return Answer(lifted, answer["next_frame_index"], warnings, answer.get("world"))


def _world_of_json(world: Any) -> FrameWorld:
    rotations = np.array(world["rotations"]) if "rotations" in world else None
    pose, root, contacts = (np.array(world[name]) for name in ("pose", "root", "contacts"))
    return FrameWorld(pose, root, contacts, rotations, world.get("angles", {}))


def _from_protobuf(answer: pb.LiftStreamResponse) -> Answer:
    assert answer.timing_ms.total >= answer.timing_ms.inference >= 0
    lifted = [
        LiftedFrame(
            frame.frame_index,
            frame.lookahead,
            np.reshape(np.array(frame.joints, np.float64), (-1, 3)),
            np.unpackbits(np.frombuffer(frame.imputed, np.uint8), count=17, bitorder="little").astype(np.bool_),
            np.array(frame.expected_error_m, np.float64) if frame.expected_error_m else None,
            _world_of_protobuf(frame.world) if frame.HasField("world") else None,
        )
        for frame in answer.frames
    ]
    assert not answer.world.joints
    world = said_of(answer.world) if answer.HasField("world") else None
    return Answer(lifted, answer.next_frame_index, warned(answer.warnings), world)


def _world_of_protobuf(message: pb.World) -> FrameWorld:
    assert not message.HasField("gravity"), "it is told once"
    world = world_of(message)
    rotations = None if world.rotations is None else world.rotations[0]
    angles = {name: float(degrees[0]) for name, degrees in world.angles.items()}
    return FrameWorld(world.poses[0], world.root[0], world.contacts[0], rotations, angles)
