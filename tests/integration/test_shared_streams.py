"""Several people of one camera over one connection: each gets the poses of a stream of their own."""

import json
import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.conftest import MAX_TRACKS
from tests.integration.server_process import ANSWER_S, ServerProcess
from tests.integration.stream_clients import Replica, json_message, message, open_session
from tests.integration.walking import at_rate, body, keypoints, wandering

SAME_POSES_M = 1e-4  # guaranteed by the contract of sessions
FPS = 30
POINT = keypoints(at_rate(FPS, 1))


class Part(NamedTuple):
    """What one message says of one person; nothing but the end where there are no points."""

    session_id: str
    first: int
    points: NDArray[np.float64] | None
    times_s: NDArray[np.float64] | None = None


class Refused(Exception):
    """The server has ended the stream with an error."""

    def __init__(self, code: str, path: str | None, message: str) -> None:
        super().__init__(code, path, message)
        self.code = code
        self.path = path
        self.message = message


Exchange = Callable[[list[Part]], list[Any]]
"""Sends a message and gives the parts of its answer, as JSON has them."""


def over_websocket(replica: Replica, cleanup: ExitStack, *, packed: bool) -> Exchange:
    socket = cleanup.enter_context(connect(f"{replica.websocket_address}/stream", max_size=None))

    def exchange(parts: list[Part]) -> list[Any]:
        socket.send(packed_message(parts).SerializeToString() if packed else json.dumps(text_message(parts)))
        answer = socket.recv(ANSWER_S)
        if isinstance(answer, bytes):
            return unpacked(pb.LiftStreamsResponse.FromString(answer))
        document = json.loads(answer)
        if "error" in document:
            with pytest.raises(ConnectionClosed):
                socket.recv(ANSWER_S)
            error = document["error"]
            raise Refused(error["code"], error.get("path"), error["message"])
        parts_told: list[Any] = document["sessions"]
        return parts_told

    return exchange


def over_grpc(replica: Replica, cleanup: ExitStack) -> Exchange:
    channel = cleanup.enter_context(grpc.insecure_channel(f"127.0.0.1:{replica.grpc_port}"))
    messages: queue.SimpleQueue[pb.LiftStreamsRequest | None] = queue.SimpleQueue()
    stub: Any = LiftingServiceStub(channel)
    call = stub.LiftStreams(iter(messages.get, None), timeout=ANSWER_S)
    cleanup.callback(messages.put, None)

    def exchange(parts: list[Part]) -> list[Any]:
        messages.put(packed_message(parts))
        try:
            return unpacked(next(call))
        except grpc.RpcError as error:
            told: Any = error
            metadata = dict(told.trailing_metadata())
            raise Refused(metadata["poselift-code"], metadata.get("poselift-path"), told.details()) from None

    return exchange


def text_message(parts: list[Part]) -> dict[str, Any]:
    said: list[dict[str, Any]] = [
        {"end": True} if part.points is None else json_message(part.first, part.points, part.times_s) for part in parts
    ]
    return {"sessions": [{"session_id": part.session_id, **fields} for part, fields in zip(parts, said, strict=True)]}


def packed_message(parts: list[Part]) -> pb.LiftStreamsRequest:
    sent = pb.LiftStreamsRequest()
    for part in parts:
        if part.points is None:
            sent.sessions.add(session_id=part.session_id, end=True)
        else:
            request = message(part.first, part.points, part.times_s)
            request.session_id = part.session_id
            sent.sessions.append(request)
    return sent


def unpacked(answer: pb.LiftStreamsResponse) -> list[Any]:
    parts = []
    for part in answer.sessions:
        frames = [
            {"frame_index": frame.frame_index, "pose": np.reshape(frame.joints, (-1, 3))} for frame in part.frames
        ]
        told = MessageToDict(part, preserving_proto_field_name=True)
        parts.append({**told, "frames": frames, "next_frame_index": part.next_frame_index})
    return parts


@pytest.fixture(scope="module")
def replica(both: ServerProcess, grpc_port: int) -> Replica:
    return Replica(both.address, grpc_port)


@pytest.fixture(params=["websocket-json", "websocket-protobuf", "grpc"])
def connected(request: pytest.FixtureRequest, replica: Replica) -> Iterator[Callable[[], Exchange]]:
    """A function that opens a connection for several people."""
    with ExitStack() as cleanup:
        if request.param == "grpc":
            yield lambda: over_grpc(replica, cleanup)
        else:
            yield lambda: over_websocket(replica, cleanup, packed=request.param == "websocket-protobuf")


def whole(replica: Replica, points: NDArray[np.float64], times_s: NDArray[np.float64] | None) -> NDArray[np.float64]:
    clip = body(points, fps=FPS)
    if times_s is not None:
        del clip["fps"]
        clip["timestamps_s"] = times_s.tolist()
    answer = httpx.post(f"{replica.address}/lift", json=clip, timeout=ANSWER_S)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["poses"])


@pytest.mark.parametrize("timed", [False, True])
def test_each_person_gets_the_poses_of_their_own_frames(
    replica: Replica, connected: Callable[[], Exchange], timed: bool
):
    """They come and go: the second one later, the third one for a while only."""
    times_s = wandering(60) if timed else at_rate(FPS, 60)
    present = [range(60), range(20, 60), range(10, 45)]
    people = [keypoints(times_s[list(there)], number) for number, there in enumerate(present)]
    people = [points.astype(np.float32).astype(np.float64) for points in people]
    ids = [open_session(replica, fps=None if timed else FPS) for _ in people]
    exchange = connected()
    lifted: dict[str, list[Any]] = {session_id: [] for session_id in ids}
    for moment in range(61):
        parts = []
        for session_id, there, points in zip(ids, present, people, strict=True):
            index = moment - there.start
            if moment in there:
                time_s = times_s[moment : moment + 1] if timed else None
                parts.append(Part(session_id, index, points[index : index + 1], time_s))
            elif moment == there.stop:
                parts.append(Part(session_id, 0, None))
        answer = exchange(parts)
        assert [part["session_id"] for part in answer] == [part.session_id for part in parts]
        for part in answer:
            lifted[part["session_id"]] += part["frames"]
    for session_id, there, points in zip(ids, present, people, strict=True):
        assert [frame["frame_index"] for frame in lifted[session_id]] == list(range(len(there)))
        poses = np.array([frame["pose"] for frame in lifted[session_id]])
        expected = whole(replica, points, times_s[list(there)] if timed else None)
        np.testing.assert_allclose(poses, expected, atol=SAME_POSES_M)
        assert httpx.get(f"{replica.address}/sessions/{session_id}").status_code == 404, "it has ended"


def test_an_error_names_the_part_at_fault_and_the_others_go_on(replica: Replica, connected: Callable[[], Exchange]):
    points = keypoints(at_rate(FPS, 3))
    one, other = (open_session(replica, fps=FPS, lookahead=0) for _ in range(2))
    exchange = connected()
    first = exchange([Part(one, 0, points[:1]), Part(other, 0, points[:1])])
    sent = [Part(one, 1, points[1:2]), Part(other, 2, points[2:3])]
    with pytest.raises(Refused) as refused:
        exchange(sent)
    assert (refused.value.code, refused.value.path) == ("session_conflict", "sessions[1].frame_index")
    again = connected()([Part(one, 1, points[1:2]), Part(other, 1, points[1:3])])
    assert [part["next_frame_index"] for part in first + again] == [1, 1, 2, 3]
    np.testing.assert_allclose(again[0]["frames"][0]["pose"], again[1]["frames"][0]["pose"], atol=SAME_POSES_M)


@pytest.mark.parametrize(
    ("parts", "code", "path"),
    [
        (lambda session: [], "invalid_request", "sessions"),
        (lambda session: [Part("", 0, POINT)], "invalid_request", "sessions[0].session_id"),
        (lambda session: [Part(session, 0, POINT)] * 2, "invalid_request", "sessions[1].session_id"),
        (lambda session: [Part("a", 0, POINT)], "unknown_session", "sessions[0]"),
        (lambda session: [Part(session, 0, POINT * 1e9)], "invalid_request", "sessions[0].keypoints[0][0][0]"),
        (lambda session: [Part(session, 0, POINT)] * (MAX_TRACKS + 1), "invalid_request", "sessions"),
    ],
    ids=["nobody", "without a name", "twice", "unknown", "invalid", "too many"],
)
def test_a_message_that_cannot_be_used_ends_the_stream(
    replica: Replica, connected: Callable[[], Exchange], parts: Callable[[str], list[Part]], code: str, path: str
):
    exchange, session_id = connected(), open_session(replica, fps=FPS)
    with pytest.raises(Refused) as refused:
        exchange(parts(session_id))
    assert refused.value.code == code
    assert (refused.value.path or "").replace("frames[0].keypoints", "keypoints[0]") == path
    assert httpx.get(f"{replica.address}/sessions/{session_id}").json()["next_frame_index"] == 0


@pytest.mark.parametrize("coordinate", [1.0, np.nan])
def test_the_frames_of_all_parts_are_counted_together(
    replica: Replica, connected: Callable[[], Exchange], coordinate: float
):
    person = np.full((130, 17, 3), coordinate)
    with pytest.raises(Refused) as refused:
        connected()([Part("a", 0, person), Part("b", 0, person)])
    # Protobuf counts on the way, and knows the part.
    assert (refused.value.path or "") in {"sessions", "sessions[1].frames"}
    assert "(setting max_live_frames)" in refused.value.message


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "[]",
        "{}",
        '{"sessions": 3}',
        '{"sessions": []}',
        '{"sessions": [3]}',
        '{"sessions": [{"session_id": 5}]}',
        "[" * 9000,
        '{"sessions": [{"keypoints": ' + "[" * 300 + "]" * 300 + "}]}",
    ],
)
def test_what_is_no_message_gets_a_sentence(replica: Replica, sent: str):
    with connect(f"{replica.websocket_address}/stream") as socket:
        socket.send(sent)
        error = json.loads(socket.recv(ANSWER_S))["error"]
    assert error["code"] == "invalid_request"
    assert error["path"].startswith("sessions")


@pytest.mark.parametrize(
    "fields",
    [
        '"frame_index": 0, "keypoints": [NaN], "x": "\\ud800"',
        '"frame_index": 1' + "0" * 30 + ', "keypoints": [null], "x": NaN',
        '"frame_index": 0, "keypoints": [[[Infinity, 1, 1]' + ", null" * 16 + "]]",
        '"frame_index": 0, "keypoints": [null], "time_s": NaN',
    ],
)
def test_numbers_that_are_not_of_json_are_refused_by_their_part(replica: Replica, fields: str):
    session_id = open_session(replica, fps=FPS)
    with connect(f"{replica.websocket_address}/stream") as socket:
        socket.send(f'{{"sessions": [{{"session_id": "{session_id}", {fields}}}]}}')
        error = json.loads(socket.recv(ANSWER_S))["error"]
    assert error["code"] == "invalid_request"
    assert error["path"].startswith("sessions[0]")
