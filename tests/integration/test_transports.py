"""One contract over every transport: JSON and protobuf over HTTP, and gRPC, on a real server."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.lifting import lift
from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from poselift.skeletons import skeleton
from tests.integration.conftest import MAX_FRAMES, MAX_TRACKS, MODEL
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, ServerProcess, running
from tests.integration.test_life import LONG_DEADLINE
from tests.integration.transports import Refusal, Transport, lift_request
from tests.integration.walking import IMAGE_SIZE, at_rate, keypoints, sequence

# JSON gives 10 micrometres, rounded from and to floats of a few metres.
ROUNDED_M = 5e-6 + 5e-7
# Fused blocks and another order of additions.
SAME_POSES_M = 2e-5


def clip(points: Any = None, **changes: Any) -> dict[str, Any]:
    """A good request, with fields replaced; `...` removes one."""
    points = keypoints(at_rate(50, 40)) if points is None else points
    fields = {"keypoints": single(points), "skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 50, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def single(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to numbers that both JSON and the floats of protobuf represent exactly."""
    return points.astype(np.float32).astype(np.float64)


def person(track_id: str, points: NDArray[np.float64]) -> dict[str, Any]:
    return {"track_id": track_id, "keypoints": single(points)}


def with_gaps() -> NDArray[np.float64]:
    points = keypoints(at_rate(50, 40))
    points[10:20, 9] = np.nan
    points[30:33] = np.nan
    points[35:, 15, 2] = 0
    return points


GOOD = {
    "one person": clip(),
    "one frame": clip(keypoints(at_rate(50, 1))),
    "as many frames as allowed": clip(keypoints(at_rate(50, MAX_FRAMES))),
    "missing joints and frames": clip(with_gaps()),
    "another frame rate": clip(keypoints(at_rate(29.97, 60)), fps=29.97),
    "timestamps": clip(fps=..., timestamps_s=(1.7e9 + at_rate(50, 40) ** 1.1).tolist()),
    "mirrored averaging": clip(mirrored_average=True),
    "some frames": clip(targets=[0, 3, 39]),
    "one frame of several people": clip(
        keypoints=..., targets=[4], tracks=[person("7", keypoints(at_rate(50, 30), 7)), person("8", with_gaps())]
    ),
    "a model by label": clip(model=f"{MODEL}@stable"),
    "several people": clip(
        keypoints=...,
        tracks=[person("7", keypoints(at_rate(50, 30), 7)), person("ä", keypoints(at_rate(50, 50), 8))],
    ),
}


# Person 8 is there from frame 10 on, and taller.
SEVERAL = clip(
    keypoints=...,
    tracks=[
        person("7", 0.5 * keypoints(at_rate(50, 30), 7)),
        person("8", np.concatenate([np.full((10, 17, 3), np.nan), keypoints(at_rate(50, 30), 8)])),
        person("9", 0.5 * keypoints(at_rate(50, 31), 9)),
    ],
)
GOOD |= {
    f"person_choice {choice}": SEVERAL | {"person_choice": choice}
    for choice in ("all", "largest", "longest", "first", "9")
} | {"the longest of one person": clip(person_choice="longest")}


@pytest.mark.parametrize("name", GOOD)
def test_every_transport_gives_the_same_answer(transports: dict[str, Transport], name: str):
    answers = {transport: client.lift(GOOD[name]) for transport, client in transports.items()}
    json = answers["json"]
    for transport in ("protobuf", "grpc"):
        given = answers[transport]
        assert (given.model, given.skeleton, given.joint_names) == (json.model, json.skeleton, json.joint_names)
        assert (given.unit, given.axes) == (json.unit, json.axes)
        for one, other in zip(given.people, json.people, strict=True):
            assert one.track_id == other.track_id
            np.testing.assert_allclose(one.joints, other.joints, atol=ROUNDED_M, rtol=0)
            np.testing.assert_array_equal(one.imputed, other.imputed)
    for one, other in zip(answers["protobuf"].people, answers["grpc"].people, strict=True):
        np.testing.assert_array_equal(one.joints, other.joints)


def test_the_answer_is_that_of_the_core(transports: dict[str, Transport], artifact: Artifact):
    points = single(with_gaps())
    expected = lift(artifact, sequence(points))
    (given,) = transports["grpc"].lift(clip(points)).people
    np.testing.assert_allclose(given.joints, expected.joints, atol=SAME_POSES_M)
    np.testing.assert_array_equal(given.imputed, expected.imputed)
    assert given.imputed.any()


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [("all", ["7", "8", "9"]), ("largest", ["8"]), ("longest", ["9"]), ("first", ["7"]), ("8", ["8"])],
)
def test_only_the_person_who_is_chosen_is_answered(transport: Transport, choice: str, chosen: list[str]):
    everybody = {person.track_id: person for person in transport.lift(SEVERAL).people}
    people = transport.lift(SEVERAL | {"person_choice": choice}).people
    assert [person.track_id for person in people] == chosen
    for person in people:
        np.testing.assert_allclose(person.joints, everybody[person.track_id].joints, atol=SAME_POSES_M)


@pytest.mark.parametrize("joint", [(0, 0, 0.37), (0, 0, 1), (-1, -1, 0.9), (200, 150, -0.02), (200, np.nan, 0.9)])
def test_a_joint_that_was_not_detected_is_missing(transports: dict[str, Transport], joint: tuple[float, ...]):
    arm_and_ankle, in_h36m = [7, 9, 15], [12, 13, 6]
    points, missing = keypoints(at_rate(50, 20)), keypoints(at_rate(50, 20))
    points[:, arm_and_ankle] = joint
    missing[:, arm_and_ankle] = np.nan
    for client in transports.values():
        (given,), (expected,) = client.lift(clip(points)).people, client.lift(clip(missing)).people
        np.testing.assert_array_equal(given.joints, expected.joints)
        assert given.imputed[:, in_h36m].all()
        assert given.imputed.sum() == 3 * 20


@pytest.mark.parametrize("name", ["wholebody133", "body25b"])
def test_what_a_larger_skeleton_has_beside_the_body_is_left_aside(transport: Transport, name: str):
    body = keypoints(at_rate(50, 20))
    whole = np.full((20, skeleton(name).n_joints, 3), (300, 200, 0.9))
    whole[:, :17] = body  # in COCO's order
    (given,) = transport.lift(clip(whole, skeleton=name)).people
    (expected,) = transport.lift(clip(body)).people
    assert not given.imputed.any()
    np.testing.assert_allclose(given.joints, expected.joints, atol=SAME_POSES_M)


def replaced(value: float, frame: int, joint: int, column: int) -> NDArray[np.float64]:
    points = keypoints(at_rate(50, 6))
    points[frame, joint, column] = value
    return points


BAD = {
    "an unknown skeleton": (clip(skeleton="coco19"), "invalid_request", "skeleton"),
    "no frames": (clip(np.empty((0, 17, 3))), "invalid_request", "keypoints"),
    "a position of two million": (clip(replaced(2e6, 3, 5, 0)), "invalid_request", "keypoints[3][5][0]"),
    "a score in percent": (clip(replaced(87, 5, 16, 2)), "invalid_request", "keypoints[5][16][2]"),
    "a wrong value in a track": (
        clip(keypoints=..., tracks=[person("1", replaced(0, 0, 0, 0)), person("2", replaced(-2, 2, 1, 2))]),
        "invalid_request",
        "tracks[1].keypoints[2][1][2]",
    ),
    "one frame too many": (clip(keypoints(at_rate(50, MAX_FRAMES + 1))), "invalid_request", "keypoints"),
    "too many tracks": (
        clip(keypoints=..., tracks=[person(str(n), replaced(0, 0, 0, 0)) for n in range(MAX_TRACKS + 1)]),
        "invalid_request",
        "tracks",
    ),
    "a name twice": (
        clip(keypoints=..., tracks=[person("1", replaced(0, 0, 0, 0))] * 2),
        "invalid_request",
        "tracks[1].track_id",
    ),
    "both keypoints and tracks": (
        clip(tracks=[person("1", replaced(0, 0, 0, 0))]),
        "invalid_request",
        "keypoints",
    ),
    "no frame rate": (clip(fps=...), "invalid_request", "fps"),
    "a frame rate of 0": (clip(fps=0), "invalid_request", "fps"),
    "a frame rate and timestamps": (clip(timestamps_s=at_rate(50, 40).tolist()), "invalid_request", "fps"),
    "too few timestamps": (clip(fps=..., timestamps_s=[0, 1]), "invalid_request", "timestamps_s"),
    "falling timestamps": (
        clip(replaced(0, 0, 0, 0), fps=..., timestamps_s=[0, 1, 0.5, 3, 4, 5]),
        "invalid_request",
        "timestamps_s[2]",
    ),
    "an unknown model": (clip(model="resnet"), "unknown_model", "model"),
    "another version": (clip(model=f"{MODEL}@2"), "unknown_model", "model"),
    "a person who is not there": (SEVERAL | {"person_choice": "10"}, "invalid_request", "person_choice"),
    "a name for the only person": (clip(person_choice="7"), "invalid_request", "person_choice"),
    "an empty choice of a person": (SEVERAL | {"person_choice": ""}, "invalid_request", "person_choice"),
    "an empty model": (clip(model=""), "unknown_model", "model"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_transport_refuses_with_the_same_code_and_path(transport: Transport, name: str):
    sent, code, path = BAD[name]
    with pytest.raises(Refusal) as refusal:
        transport.lift(sent)
    assert (refusal.value.code, refusal.value.path) == (code, path), refusal.value
    assert refusal.value.message.endswith(".")


def test_both_list_the_same_models(both: ServerProcess, grpc_port: int):
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub: Any = LiftingServiceStub(channel)
        (given,) = stub.ListModels(pb.ListModelsRequest()).models
    (expected,) = httpx.get(f"{both.address}/models").json()
    assert (given.reference.name, given.reference.version) == (expected["name"], expected["version"])
    assert (given.reference.digest, list(given.labels)) == (expected["digest"], expected["labels"])
    for field in (
        "is_default",
        "system",
        "task",
        "input_skeleton",
        "output_skeleton",
        "receptive_field",
        "expected_error",
        "attribution",
    ):
        assert getattr(given, field) == expected[field]
    assert (given.receptive_field_s, given.score_threshold) == (
        expected["receptive_field_s"],
        expected["score_threshold"],
    )
    assert (len(given.data), len(given.scores)) == (len(expected["data"]), len(expected["scores"]))


def test_sigterm_lets_accepted_calls_finish(models: Path, tmp_path: Path):
    port = free_port()
    clip_of_seconds = lift_request(clip(keypoints(at_rate(50, 3000))))

    async def lift_while_stopping(server: ServerProcess) -> list[int]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
            stub: Any = LiftingServiceStub(channel)
            calls = [asyncio.ensure_future(stub.Lift(clip_of_seconds)) for _ in range(4)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert not all(call.done() for call in calls), "the requests were too short for this test"
            server.terminate()
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            return [len(answer.joints) for answer in await asyncio.gather(*calls)]

    with running(models, tmp_path / "log", grpc_port=port, **LONG_DEADLINE) as server:
        assert asyncio.run(lift_while_stopping(server)) == [3000 * 51] * 4
        assert server.process.wait(ANSWER_S) == 0
    assert [line["message"] for line in server.log_lines()][-1] == "stopped"
    answered = [line for line in server.log_lines() if line.get("transport") == "grpc" and line["frames"]]
    assert [line["code"] for line in answered] == ["ok"] * 4
