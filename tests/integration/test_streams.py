"""One person's stream over every transport: the poses of the whole sequence, and the same errors, on real servers."""

import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.conftest import MAX_FRAMES, MODEL
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, REPOSITORY, STOP_S, ServerProcess, running
from tests.integration.stream_clients import (
    CLIENTS,
    Client,
    LiftedFrame,
    Refusal,
    Replica,
    WebSocketJson,
    open_session,
)
from tests.integration.walking import IMAGE_SIZE, at_rate, body, keypoints

FPS = 30
LEFT_ELBOW = 12  # in the order of h36m17
WINDOW = 49  # frames that the network's window spans at this rate
# What the contract of sessions promises; part of it is what JSON rounds.
SAME_POSES_M = 1e-4
# The same frames in other batches.
SAME_FRAMES_M = 1e-6
ROUNDED_M = 5e-6 + SAME_FRAMES_M
LENGTHS = (1, 2, 3, 24, WINDOW - 1, WINDOW, WINDOW + 1, 400)
MOST_AHEAD = 5


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[ServerProcess]:
    """A server that keeps its sessions in memory."""
    log = tmp_path_factory.mktemp("streams") / "log"
    with running(
        models, log, default_model=f"{MODEL}@stable", engine="torch", grpc_port=grpc_port, max_live_frames=MAX_FRAMES
    ) as server:
        yield server


@pytest.fixture(scope="module")
def replica(server: ServerProcess, grpc_port: int) -> Replica:
    return Replica(server.address, grpc_port)


@pytest.fixture(scope="module")
def stub(replica: Replica) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{replica.grpc_port}") as channel:
        yield LiftingServiceStub(channel)


@pytest.fixture(params=["memory", "redis"])
def servers(request: pytest.FixtureRequest) -> list[Replica]:
    """Those that a stream may be continued at."""
    if request.param == "redis":
        found: list[Replica] = request.getfixturevalue("replicas")
        return found
    return [request.getfixturevalue("replica")]


def person(length: int) -> NDArray[np.float64]:
    """With gaps, and in the nearest numbers that both JSON and the floats of protobuf can say."""
    points = keypoints(at_rate(FPS, length))
    points[: length // 6, 7] = (0, 0, 0.45)  # where detectors put what they do not find
    points[length // 3 : length // 2, 9] = np.nan
    points[length // 2 : length // 2 + length // 20] = np.nan
    return points.astype(np.float32).astype(np.float64)


def pieces(length: int, seed: object) -> list[tuple[int, int]]:
    """A sequence cut into messages: index of the first frame, and how many, mostly one."""
    chance = random.Random(repr(seed))
    cut, first = [], 0
    while first < length:
        count = min(chance.choice((1, 1, 1, 1, 2, 3, 7, 30)), length - first)
        cut.append((first, count))
        first += count
    return cut


def stream(client: Client, points: NDArray[np.float64], messages: list[tuple[int, int]]) -> list[LiftedFrame]:
    """Send frames, some of them ahead of the answers, and collect these."""
    lifted: list[LiftedFrame] = []
    for number, (first, count) in enumerate(messages):
        client.send(first, points[first : first + count])
        if number >= MOST_AHEAD:
            lifted += client.receive().frames
    for _ in messages[-MOST_AHEAD:]:
        lifted += client.receive().frames
    return lifted


def finish(client: Client) -> list[LiftedFrame]:
    client.end()
    return client.receive().frames


def poses(lifted: list[LiftedFrame]) -> NDArray[np.float64]:
    """All poses, which must have come once each and in order."""
    assert [frame.index for frame in lifted] == list(range(len(lifted)))
    return np.array([frame.pose for frame in lifted])


@pytest.fixture(scope="module")
def whole(replica: Replica, stub: Any) -> Any:
    """What both transports answer for a whole sequence: poses [F, 17, 3], imputed [F, 17]; they must agree."""
    known: dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}

    def lift(length: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        if length not in known:
            points = person(length)
            answer = httpx.post(f"{replica.address}/lift", json=body(points, fps=FPS), timeout=ANSWER_S).json()
            request = pb.LiftRequest(
                keypoints=points.ravel().tolist(), skeleton="coco17", image_size=image_size(), fps=FPS
            )
            joints = np.reshape(np.array(stub.Lift(request).joints), (-1, 17, 3))
            np.testing.assert_allclose(joints, answer["poses"], atol=ROUNDED_M, rtol=0)
            known[length] = joints, np.array(answer["imputed"])
            assert known[length][1][: length // 6, LEFT_ELBOW].all()
        return known[length]

    return lift


def image_size() -> pb.ImageSize:
    return pb.ImageSize(width_px=IMAGE_SIZE[0], height_px=IMAGE_SIZE[1])


@pytest.mark.parametrize("kind", CLIENTS)
def test_streamed_with_full_lookahead_the_poses_are_those_of_the_whole(servers: list[Replica], kind: str, whole: Any):
    chance = random.Random(kind)
    for length in (*LENGTHS, *chance.sample(range(4, 400), 2)):
        points, messages = person(length), pieces(length, (kind, length))
        session_id = open_session(servers[0], fps=FPS)
        # The connection is left at some message, and another one goes on, at the other replica if there is one.
        left_at = chance.randrange(len(messages) + 1)
        with CLIENTS[kind](servers[0], session_id) as client:
            lifted = stream(client, points, messages[:left_at])
        with CLIENTS[kind](servers[-1], session_id) as client:
            lifted += stream(client, points, messages[left_at:])
            lifted += finish(client)
        expected, imputed = whole(length)
        np.testing.assert_allclose(poses(lifted), expected, atol=SAME_POSES_M, rtol=0, err_msg=f"{length} frames")
        np.testing.assert_array_equal([frame.imputed for frame in lifted], imputed)


@pytest.mark.parametrize("lookahead", [0, 5])
def test_every_transport_gives_the_same_poses(replica: Replica, lookahead: int):
    points, messages = person(90), pieces(90, lookahead)
    given = {}
    for kind, client_of in CLIENTS.items():
        with client_of(replica, open_session(replica, fps=FPS, lookahead=lookahead)) as client:
            lifted = stream(client, points, messages)
            given[kind] = lifted + finish(client)
    for kind, lifted in given.items():
        exact = given["grpc"] if kind == "websocket-protobuf" else given["post"] if kind == "websocket-json" else None
        for other, tolerance_m in ((given["grpc"], ROUNDED_M), (exact, SAME_FRAMES_M)):
            if other is not None:
                np.testing.assert_allclose(poses(lifted), poses(other), atol=tolerance_m, rtol=0, err_msg=kind)
                assert [frame.lookahead for frame in lifted] == [frame.lookahead for frame in other]
                np.testing.assert_array_equal([frame.imputed for frame in lifted], [frame.imputed for frame in other])
    assert [frame.lookahead for frame in given["post"]] == [min(lookahead, 89 - index) for index in range(90)]


def sent(first: int, points: NDArray[np.float64]) -> Any:
    return lambda client: client.send(first, points)


def replaced(value: float) -> NDArray[np.float64]:
    points = person(2)
    points[1, 4, 2] = value
    return points


ERRORS = {
    "a gap": (sent(3, person(1)), "session_conflict", 409, "ABORTED"),
    "no frames": (sent(0, np.empty((0, 17, 3))), "invalid_request", 422, "INVALID_ARGUMENT"),
    "too many frames": (sent(0, person(MAX_FRAMES + 1)), "invalid_request", 422, "INVALID_ARGUMENT"),
    "a score in percent": (sent(0, replaced(87)), "invalid_request", 422, "INVALID_ARGUMENT"),
    "another skeleton": (sent(0, person(2)[:, :16]), "invalid_request", 422, "INVALID_ARGUMENT"),
    "an index without end": (sent(2**53, person(1)), "invalid_request", 422, "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_every_transport_refuses_with_the_same_code_and_the_session_goes_on(replica: Replica, kind: str):
    session_id = open_session(replica, fps=FPS, lookahead=0)
    for name, (send, code, http, rpc) in ERRORS.items():
        with CLIENTS[kind](replica, session_id) as client:
            send(client)
            with pytest.raises(Refusal) as refusal:
                client.receive()
        assert (refusal.value.code, refusal.value.status) == (code, status(kind, http, rpc)), name
        assert refusal.value.path is not None
        assert refusal.value.expected_frame_index == (0 if code == "session_conflict" else None)
    with CLIENTS[kind](replica, session_id) as client:
        assert len(stream(client, person(3), [(0, 1), (1, 2)])) == 3
        assert finish(client) == []
        unknown(client, kind)


def unknown(client: Client, kind: str) -> None:
    """A session that has ended takes no more frames; whoever streamed it has been hung up on."""
    if kind == "post":
        client.send(3, person(1))
        with pytest.raises(Refusal) as refusal:
            client.receive()
        assert (refusal.value.code, refusal.value.status) == ("unknown_session", 404)


def status(kind: str, http: int, rpc: str) -> int | str:
    return http if kind == "post" else rpc if kind == "grpc" else 4000 + http


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("session_id", ["x", "0123456789abcdef-0123456789abcdef0123456789abcdef"])
def test_an_unknown_session(servers: list[Replica], kind: str, session_id: str):
    for say in (sent(0, person(1)), lambda client: client.end()):
        with CLIENTS[kind](servers[0], session_id) as client:
            say(client)
            with pytest.raises(Refusal) as refusal:
                client.receive()
        assert (refusal.value.code, refusal.value.status) == ("unknown_session", status(kind, 404, "NOT_FOUND"))


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_session_with_fewer_frames_than_were_sent_does_not_end(replica: Replica, kind: str):
    """A store that fails over may have lost the newest ones, which can still be sent again."""
    points, session_id = person(5), open_session(replica, fps=FPS)
    with CLIENTS[kind](replica, session_id) as client:
        client.send(0, points[:3])
        client.receive()
        client.end(5)
        with pytest.raises(Refusal) as refusal:
            client.receive()
    assert (refusal.value.code, refusal.value.expected_frame_index) == ("session_conflict", 3)
    with CLIENTS[kind](replica, session_id) as client:
        client.send(3, points[3:])
        client.receive()
        client.end(5)
        assert [frame.index for frame in client.receive().frames] == list(range(5))


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_last_frames_can_be_sent_again_with_the_end(servers: list[Replica], kind: str):
    """All of them were handled, and no answer has arrived. New frames are refused."""
    points, session_id = person(7), open_session(servers[0], fps=FPS)
    answered: list[list[int]] = []
    for replica in (servers[0], servers[-1]):
        with CLIENTS[kind](replica, session_id) as client:
            client.send(0, points[:3])
            client.send(3, points[3:5])
            client.end(5)
            answered.append([frame.index for _ in range(3) for frame in client.receive().frames])
    assert answered == [list(range(5))] * 2
    with CLIENTS[kind](servers[-1], session_id) as client:
        client.send(3, points[3:])
        with pytest.raises(Refusal) as refusal:
            client.receive()
    assert refusal.value.code == "unknown_session"


@pytest.mark.parametrize("said", ["-1", "1.5", '"x"', "[]", "9" * 17, str(2**53)])
def test_how_many_frames_were_sent_is_a_number(replica: Replica, said: str):
    session_id = open_session(replica, fps=FPS)
    with WebSocketJson(replica, session_id) as client:
        client.socket.send(f'{{"end": true, "next_frame_index": {said}}}')
        with pytest.raises(Refusal) as refusal:
            client.receive()
    assert (refusal.value.code, refusal.value.path) == ("invalid_request", "next_frame_index")
    refused = httpx.delete(f"{replica.address}/sessions/{session_id}", params={"next_frame_index": said})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["path"]) == (422, "invalid_request", "next_frame_index")


@pytest.mark.parametrize("kind", CLIENTS)
def test_whatever_has_no_answer_is_answered_at_another_replica(replicas: list[Replica], kind: str):
    """Frames under way when a connection is lost are sent again, whether or not they arrived, and so is the end."""
    points = person(80)
    session_id = open_session(replicas[0], fps=FPS)
    with CLIENTS[kind](replicas[0], session_id) as client:
        lifted = stream(client, points, [(first, 1) for first in range(60)])
        for first in range(60, 70):
            client.send(first, points[first : first + 1])
        client.receive()
    for replica in (replicas[1], replicas[0]):
        with CLIENTS[kind](replica, session_id) as client:
            again = stream(client, points, [(first, 1) for first in range(60, 75)])
        with CLIENTS[kind](replica, session_id) as client:
            at_once = stream(client, points, [(60, 20)])
        assert [frame.index for frame in at_once] == list(range(36, 56))
        assert [frame.index for frame in again] == list(range(36, 51))
    lifted += at_once
    for replica in replicas:
        with CLIENTS[kind](replica, session_id) as client:
            rest = finish(client)
    assert len(poses(lifted + rest)) == 80


def test_the_calls_about_sessions_say_the_same_over_both(replica: Replica, stub: Any):
    opening = pb.CreateSessionRequest(skeleton="coco17", image_size=image_size(), fps=FPS, lookahead=3)
    opened = stub.CreateSession(opening).session
    stream_of = pb.LiftStreamRequest(session_id=opened.session_id, frames=[pb.Frame(frame_index=0)])
    (answer,) = stub.LiftStream(iter([stream_of]))
    assert (list(answer.frames), answer.next_frame_index) == ([], 1)
    told = stub.GetSession(pb.GetSessionRequest(session_id=opened.session_id)).session
    path = f"{replica.address}/sessions/{opened.session_id}"
    expected = httpx.get(path).json()
    assert (told.model.name, told.model.version, told.model.digest) == tuple(expected["model"].values())
    for field in ("session_id", "lookahead", "full_lookahead", "next_frame_index", "fps", "unit", "axes"):
        assert getattr(told, field) == expected[field]
    assert (list(told.joint_names), told.output_skeleton) == (expected["joint_names"], expected["skeleton"])
    assert (told.skeleton, told.image_size, told.expires_in_s) == ("coco17", image_size(), expected["expires_in_s"])
    with pytest.raises(grpc.RpcError, match="from 0 to 2\\^53 - 1"):
        stub.DeleteSession(pb.DeleteSessionRequest(session_id=opened.session_id, next_frame_index=2**53))
    with pytest.raises(grpc.RpcError) as conflict:
        stub.DeleteSession(pb.DeleteSessionRequest(session_id=opened.session_id, next_frame_index=2))
    assert dict(cast(Any, conflict.value).trailing_metadata())["poselift-expected-frame-index"] == "1"
    last = stub.DeleteSession(pb.DeleteSessionRequest(session_id=opened.session_id))
    again = httpx.delete(path).json()
    assert [(frame.frame_index, frame.lookahead) for frame in last.frames] == [(0, 0)]
    assert [(frame["frame_index"], frame["lookahead"]) for frame in again["frames"]] == [(0, 0)]
    assert last.next_frame_index == again["next_frame_index"] == 1
    assert (list(last.warnings), again["warnings"]) == ([], [])
    with pytest.raises(grpc.RpcError) as refusal:
        stub.GetSession(pb.GetSessionRequest(session_id=opened.session_id))
    failed: Any = refusal.value
    assert dict(failed.trailing_metadata())["poselift-code"] == "unknown_session"


def test_a_stream_of_a_long_message_leaves_others_their_turn(replica: Replica):
    """Several hundred frames at once, in both forms; they are read in pieces."""
    points = person(MAX_FRAMES)
    for kind in ("grpc", "websocket-json"):
        with CLIENTS[kind](replica, open_session(replica, fps=FPS, lookahead=0)) as client:
            assert len(stream(client, points, [(0, MAX_FRAMES)])) == MAX_FRAMES
            assert finish(client) == []


def test_one_line_and_one_count_per_stream(server: ServerProcess, replica: Replica):
    session_id = open_session(replica, fps=FPS, lookahead=0)
    with CLIENTS["websocket-json"](replica, session_id) as client:
        stream(client, person(4), [(0, 1), (1, 3)])
        finish(client)
        request_id = client.socket.response.headers["x-request-id"]  # type: ignore[attr-defined]
    line = server.request_line(request_id)
    assert (line["transport"], line["code"], line["status"]) == ("websocket", "ok", 1000)
    assert (line["frames"], line["messages"], line["model"]) == (4, 3, MODEL)


def test_sigterm_tells_streams_to_go_elsewhere_and_does_not_wait_for_them(models: Path, tmp_path: Path):
    port = free_port()
    with running(models, tmp_path / "log", engine="torch", default_model=MODEL, grpc_port=port, grace_s=3600) as server:
        replica = Replica(server.address, port)
        with ExitStack() as clients:
            talking = [
                clients.enter_context(CLIENTS[kind](replica, open_session(replica, fps=FPS, lookahead=0)))
                for kind in ("grpc", "websocket-json", "websocket-protobuf", "grpc")
            ]
            for client in talking[:3]:  # the last one has not said anything yet
                assert len(stream(client, person(3), [(0, 1), (1, 2)])) == 3
            server.terminate()
            for client, told in zip(talking, ("UNAVAILABLE", 1012, 1012, "UNAVAILABLE"), strict=True):
                with pytest.raises(Refusal) as refusal:
                    client.receive()
                assert (refusal.value.code, refusal.value.status) == ("not_ready", told)
            assert server.process.wait(STOP_S) == 0
    codes = [line["code"] for line in server.log_lines() if "messages" in line]
    assert codes == ["not_ready"] * 4


@pytest.mark.parametrize("kind", ["websockets", "grpc"])
def test_the_clients_of_the_documentation_receive_every_pose(
    replica: Replica, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    document = (REPOSITORY / "docs" / "streaming.md").read_text()
    client = next(block for block in re.findall(r"```python\n(.*?)```", document, re.DOTALL) if kind in block)
    for written, meant in (
        ("127.0.0.1:8000", replica.address.removeprefix("http://")),
        ("127.0.0.1:8001", f"127.0.0.1:{replica.grpc_port}"),
    ):
        client = client.replace(written, meant)
    monkeypatch.chdir(REPOSITORY)
    names: dict[str, Any] = {}
    exec(client, names)
    lifted = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()]
    lifted += [frame["frame_index"] for frame in names.get("waiting", ())]
    assert lifted == list(range(100))
