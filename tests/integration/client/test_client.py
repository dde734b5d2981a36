"""The client library against the real server."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import trustme
from numpy.typing import NDArray
from poselift_service.transport.keys import new_key

from poselift.client import ApiError, AsyncClient, Client, Pose
from tests.integration.conftest import MODEL, publish_completion_model
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, REPOSITORY, ServerProcess, running
from tests.integration.walking import IMAGE_SIZE, at_rate, keypoints, wandering

FPS, FRAMES = 50, 60
CLIP: dict[str, Any] = {"skeleton": "coco17", "image_size": IMAGE_SIZE}
SAME_POSES_M = 1e-4  # guaranteed by the contract of sessions
TRANSPORTS = ("websocket", "grpc")
POINTS = keypoints(at_rate(FPS, FRAMES))
TIMES_S = 1.764e9 + wandering(FRAMES)  # as the time of day


@pytest.fixture(params=TRANSPORTS)
def connected(both: ServerProcess, grpc_port: int, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client whose streams use one of the transports."""
    grpc = f"127.0.0.1:{grpc_port}" if request.param == "grpc" else None
    with Client(both.address, grpc=grpc, timeout_s=ANSWER_S) as client:
        yield client


@pytest.fixture
def client(both: ServerProcess) -> Iterator[Client]:
    with Client(both.address, timeout_s=ANSWER_S) as client:
        yield client


def joints(poses: list[Pose]) -> NDArray[np.float64]:
    assert [pose.frame_index for pose in poses] == list(range(len(poses)))
    return np.array([pose.joints for pose in poses])


def test_a_clip_is_lifted_from_arrays_and_from_lists(client: Client):
    answer = client.lift(POINTS, **CLIP, fps=FPS)
    assert np.shape(answer.poses) == (FRAMES, 17, 3)
    assert np.shape(answer.imputed) == (FRAMES, 17)
    assert (answer.model.name, answer.skeleton, answer.unit) == (MODEL, "h36m17", "m")
    assert answer.joint_names[0] == "pelvis"
    assert answer.timing_ms.total > answer.timing_ms.inference > 0
    assert client.lift(POINTS.tolist(), **CLIP, timestamps_s=np.arange(FRAMES) / FPS).poses == answer.poses


def test_missing_joints_and_frames_are_sent_as_such(client: Client):
    points = POINTS[:5].copy()
    points[2] = np.nan
    points[3, 10] = np.nan
    imputed = np.array(client.lift(points, **CLIP, fps=FPS).imputed)
    assert imputed[2].all()
    assert imputed[3].any()
    assert not imputed[3].all()


def test_several_people_are_named(client: Client):
    answer = client.lift({"7": POINTS, "8": POINTS[::-1]}, **CLIP, fps=FPS, targets=[0, 3])
    assert [person.track_id for person in answer.people] == ["7", "8"]
    assert all(np.shape(person.poses) == (2, 17, 3) for person in answer.people)
    with pytest.raises(ValueError, match="too many values"):
        _ = answer.person


def test_a_refusal_names_the_field(client: Client):
    with pytest.raises(ApiError) as refused:
        client.lift(POINTS, skeleton="coco17", image_size=(0, 800), fps=FPS)
    assert (refused.value.code, refused.value.path) == ("invalid_request", "image_size[0]")
    with pytest.raises(ApiError, match="unknown_field"):
        client.lift(POINTS, **CLIP, fps=FPS, unknown_field=1)


def test_poses_with_gaps_are_completed(models: Path, tmp_path: Path):
    publish_completion_model(tmp_path / "models")
    poses = np.random.default_rng(1).normal(0, 0.3, (30, 17, 3))
    poses[:, 13] = np.nan
    with running(tmp_path / "models", tmp_path / "log") as server, Client(server.address) as client:
        answer = client.complete(poses, skeleton="h36m17", fps=FPS)
    assert np.array(answer.imputed)[:, 13].all()
    assert not np.isnan(np.array(answer.poses)).any()


@pytest.mark.parametrize("ahead", [1, 8, 32])
def test_a_stream_gives_the_poses_of_the_clip(connected: Client, ahead: int):
    with connected.stream(**CLIP, fps=FPS, lookahead="full") as stream:
        poses = list(stream.poses(POINTS, ahead=ahead))
        assert stream.session.lookahead == stream.session.full_lookahead
    assert np.abs(joints(poses) - connected.lift(POINTS, **CLIP, fps=FPS).poses).max() < SAME_POSES_M


@pytest.mark.parametrize("ahead", [1, 32])
def test_a_stream_of_frames_with_times_gives_the_poses_of_the_clip(connected: Client, ahead: int):
    with connected.stream(**CLIP, lookahead="full") as stream:
        poses = list(stream.poses(zip(POINTS, TIMES_S, strict=True), ahead=ahead))
        assert stream.session.full_lookahead is None, "how many frames that is depends on their times"
    whole = connected.lift(POINTS, **CLIP, timestamps_s=TIMES_S).poses
    assert np.abs(joints(poses) - whole).max() < SAME_POSES_M


def test_a_frame_without_the_time_that_it_needs_is_refused(connected: Client):
    with connected.stream(**CLIP, lookahead=0) as stream:
        assert len(stream.send(POINTS[0], time_s=TIMES_S[0])) == 1
        with pytest.raises(ApiError) as refused:
            stream.send(POINTS[1])
        assert (refused.value.code, refused.value.path) == ("invalid_request", "time_s")
    with connected.stream(**CLIP, lookahead=0) as stream, pytest.raises(ValueError, match="pair"):
        list(stream.poses(POINTS))


def test_a_stream_without_a_lookahead_has_that_of_the_server(client: Client, models: Path, tmp_path: Path):
    with client.stream(**CLIP, fps=FPS) as stream:
        assert stream.session.lookahead == stream.session.full_lookahead
    settings = {"default_model": f"{MODEL}@stable", "default_lookahead": 3}
    with (
        running(models, tmp_path / "log", **settings) as server,
        Client(server.address) as other,
        other.stream(**CLIP) as stream,
    ):
        assert stream.session.lookahead == 3
        poses = [stream.send(frame, time_s=time_s) for frame, time_s in zip(POINTS[:5], TIMES_S, strict=False)]
    assert [len(some) for some in poses] == [0, 0, 0, 1, 1]


def test_a_camera_has_each_pose_at_once(connected: Client):
    with connected.stream(**CLIP, fps=FPS, lookahead=0) as stream:
        for number, frame in enumerate([POINTS[0], None, POINTS[2]]):
            (pose,) = stream.send(frame)
            assert (pose.frame_index, pose.lookahead) == (number, 0)
            assert len(pose.imputed) == 17
        assert all(pose.imputed) is False
        assert stream.end() == []
        with pytest.raises(ValueError, match="has ended"):
            stream.send(None)


def test_a_refused_frame_ends_the_stream_and_says_why(connected: Client):
    with connected.stream(**CLIP, fps=FPS, lookahead=0) as stream:
        stream.send(POINTS[0])
        with pytest.raises(ApiError) as refused:
            stream.send(POINTS[1][:5])
    assert refused.value.code == "invalid_request"
    assert "keypoints" in str(refused.value.path)


def test_a_stream_that_is_left_ends_its_session(client: Client, both: ServerProcess):
    with client.stream(**CLIP, fps=FPS, lookahead=0) as stream:
        stream.send(POINTS[0])
        state = f"{both.address}/sessions/{stream.session.session_id}"
        assert httpx.get(state, timeout=ANSWER_S).status_code == 200
    assert httpx.get(state, timeout=ANSWER_S).status_code == 404


@pytest.mark.parametrize("timed", [False, True], ids=["at a rate", "with times"])
@pytest.mark.parametrize("over", TRANSPORTS)
def test_an_expired_session_is_replaced_without_a_trace(models: Path, tmp_path: Path, over: str, timed: bool):
    fps = None if timed else FPS
    frames: list[Any] = list(zip(POINTS, TIMES_S, strict=True)) if timed else list(POINTS)
    port = free_port()
    with running(models, tmp_path / "log", default_model=f"{MODEL}@stable", grpc_port=port, session_ttl_s=1) as server:
        grpc = f"127.0.0.1:{port}" if over == "grpc" else None
        with Client(server.address, grpc=grpc) as client, client.stream(**CLIP, fps=fps, lookahead=5) as stream:
            poses = [
                pose for at in range(40) for pose in stream.send(POINTS[at], time_s=TIMES_S[at] if timed else None)
            ]
            opened = stream.session.session_id
            # Longer than a stream may be idle, and the session after that.
            time.sleep(2.5)
            poses += stream.poses(frames[40:])
            assert stream.session.session_id != opened
            with client.stream(**CLIP, fps=fps, lookahead=5) as undisturbed:
                expected = joints(list(undisturbed.poses(frames)))
    assert np.abs(joints(poses) - expected).max() < SAME_POSES_M


async def test_many_streams_and_clips_run_at_the_same_time(both: ServerProcess, grpc_port: int):
    async with AsyncClient(both.address, grpc=f"127.0.0.1:{grpc_port}", timeout_s=ANSWER_S) as client:

        async def one(person: int) -> list[Pose]:
            frames = keypoints(at_rate(FPS, 20), person)
            async with client.stream(**CLIP, fps=FPS, lookahead=2) as stream:
                return [pose async for pose in stream.poses(frames, ahead=4)]

        streams = await asyncio.gather(*(one(person) for person in range(10)))
        clips = await asyncio.gather(*(client.lift(POINTS, **CLIP, fps=FPS) for _ in range(3)))
    assert all(len(joints(poses)) == 20 for poses in streams)
    assert all(clip.poses == clips[0].poses for clip in clips)


async def test_a_cancelled_call_loses_nothing(both: ServerProcess):
    async with AsyncClient(both.address) as client, client.stream(**CLIP, fps=FPS, lookahead=0) as stream:
        poses: list[Pose] = []
        for number, frame in enumerate(POINTS):
            try:
                async with asyncio.timeout(0.0001 if number % 7 == 3 else None):
                    poses += await stream.send(frame)
            except TimeoutError:
                continue
        poses += await stream.end()
    assert len(joints(poses)) == FRAMES


@pytest.mark.parametrize("over", TRANSPORTS)
def test_keys_certificates_and_authorities_are_used(models: Path, tmp_path: Path, over: str):
    authority, port = trustme.CA(), free_port()
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        for chain in issued.cert_chain_pems:
            chain.write_to_path(tmp_path / f"{name}.pem", append=True)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    key, stored = new_key("camera")
    (tmp_path / "keys").write_text(f"{stored.line}\n")
    settings = {
        "tls_certificate": tmp_path / "server.pem",
        "tls_key": tmp_path / "server.key",
        "tls_client_ca": tmp_path / "ca.pem",
        "api_keys_file": tmp_path / "keys",
    }
    with running(models, tmp_path / "log", default_model=f"{MODEL}@stable", grpc_port=port, **settings) as server:
        grpc = f"127.0.0.1:{port}" if over == "grpc" else None
        certificate = (tmp_path / "client.pem", tmp_path / "client.key")
        ca = tmp_path / "ca.pem"
        with (
            Client(server.address, grpc=grpc, key=key, ca_file=ca, certificate=certificate) as client,
            client.stream(**CLIP, fps=FPS, lookahead=0) as stream,
        ):
            assert len(list(stream.poses(POINTS[:3]))) == 3
        with (
            Client(server.address, grpc=grpc, ca_file=ca, certificate=certificate) as client,
            pytest.raises(ApiError, match="unauthenticated"),
        ):
            client.lift(POINTS, **CLIP, fps=FPS)
        with (
            Client(server.address, grpc=grpc, key=key, certificate=certificate, timeout_s=1) as client,
            pytest.raises(ApiError, match="unreachable"),
        ):
            client.lift(POINTS, **CLIP, fps=FPS)


def test_the_client_imports_no_torch_no_numpy_and_no_server():
    code = (
        "import sys, poselift.client; from poselift.client import grpc_connection, http_calls, websocket_connection; "
        "print(*sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in printed.stdout.split()}
    assert loaded >= {"poselift", "grpc", "httpx", "websockets"}
    assert not loaded & {"torch", "numpy", "pydantic", "fastapi", "poselift_service"}


def test_clips_are_put_into_the_world_and_refined(client: Client):
    known: dict[str, Any] = {"camera": {"fov_deg": 65, "pitch_deg": 10}, "person": {"height_m": 1.8}}
    plain = client.lift(POINTS, **CLIP, fps=FPS)
    assert plain.world is None
    answer = client.lift(POINTS, **CLIP, fps=FPS, **known, world={"rotations": False, "up_axis": "z"})
    assert answer.world is not None
    assert answer.world.height_m == pytest.approx(1.8, abs=1e-4)
    assert np.shape(answer.world.poses) == (FRAMES, 17, 3)
    assert np.shape(answer.world.contacts) == (FRAMES, 2)
    assert answer.world.gravity["given"]
    refined = client.refine(plain, POINTS, **CLIP, fps=FPS, **known, world={"up_axis": "z"})
    assert refined.world is not None
    assert np.abs(np.array(refined.world.poses) - answer.world.poses).max() < 1e-3
    assert refined.poses == plain.poses
    several = client.lift({"7": POINTS, "8": POINTS[::-1]}, **CLIP, fps=FPS)
    anew = client.refine(several, {"7": POINTS, "8": POINTS[::-1]}, **CLIP, fps=FPS, person={"height_m": 1.5})
    assert [person.world is not None and round(person.world.height_m, 3) for person in anew.people] == [1.5, 1.5]
