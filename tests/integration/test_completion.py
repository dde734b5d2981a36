"""Completing 3D poses over every transport, on a real server that also lifts."""

import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.cli.app import app
from poselift.completion import complete
from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from poselift.sequence import MAX_POSITION_M, PoseSequence, Sequence
from poselift.skeletons import skeleton
from tests.integration.conftest import (
    COMPLETION,
    MAX_FRAMES,
    MAX_TRACKS,
    MODEL,
    publish_completion_model,
    publish_random_models,
)
from tests.integration.server_process import ANSWER_S, ServerProcess
from tests.integration.transports import Refusal, Transport
from tests.integration.walking import at_rate, body, frames, keypoints

# JSON gives 10 micrometres of what was made up; another order of additions.
SAME_POSES_M = 5e-6 + 2e-5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model that completes, beside those that lift."""
    repository = tmp_path_factory.mktemp("models")
    publish_random_models(repository)
    publish_completion_model(repository)
    return repository


@pytest.fixture(scope="module")
def network(models: Path) -> Artifact:
    return load_artifact(models / COMPLETION / "1")


def person(count: int, seed: int = 0, missing: float = 0.2) -> NDArray[np.float64]:
    """Who walks in front of a camera, in numbers that the floats of protobuf can say; the pelvis is there."""
    random = np.random.default_rng(seed)
    joints = random.normal(0, 0.3, (1, 17, 3)) + random.normal(0, 0.02, (count, 17, 3)) + np.array([0.5, 0, 4])
    hidden = random.random((count, 17)) < missing
    hidden[:, 0] = False
    joints[hidden] = np.nan
    return joints.astype(np.float32).astype(np.float64)


def without_a_while(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Some frames are gone altogether, and in others the pelvis."""
    poses[10:14] = np.nan
    poses[20:24, 0] = np.nan
    return poses


def track(track_id: str, poses: NDArray[np.float64]) -> dict[str, Any]:
    return {"track_id": track_id, "poses": poses}


def clip(poses: Any = None, **changes: Any) -> dict[str, Any]:
    """A good request, with fields replaced; `...` takes one away."""
    fields = {"poses": person(40) if poses is None else poses, "skeleton": "h36m17", "fps": 50, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


GOOD = {
    "one person": clip(),
    "nothing missing": clip(person(30, missing=0)),
    "missing frames": clip(without_a_while(person(60))),
    "one frame": clip(person(1)),
    "as many frames as allowed": clip(person(MAX_FRAMES)),
    "timestamps": clip(fps=..., timestamps_s=(100 + at_rate(30, 40) ** 1.1).tolist()),
    "a named model and the mirror": clip(model=f"{COMPLETION}@1", mirrored_average=True),
    "several people": clip(poses=..., tracks=[track("7", person(30, 7)), track("ä", without_a_while(person(50, 8)))]),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_transport_gives_the_answer_of_the_core(transports: dict[str, Transport], network: Artifact, name: str):
    sent = GOOD[name]
    answers = {transport: client.complete(sent) for transport, client in transports.items()}
    for number, asked in enumerate(sent.get("tracks", [sent])):
        poses = asked["poses"]
        times_s = np.array(sent["timestamps_s"]) if "timestamps_s" in sent else Sequence.times_at(50, len(poses))
        expected = complete(
            network,
            PoseSequence(poses, skeleton("h36m17"), times_s),
            mirrored_average=sent.get("mirrored_average", False),
        )
        given = ~np.isnan(poses)
        for answer in answers.values():
            assert answer.model[0] == COMPLETION
            assert answer.axes.endswith("from the origin of the poses that came")
            made = answer.people[number]
            assert made.track_id == asked.get("track_id")
            assert (made.joints[given] == poses[given]).all(), "what was given comes back as it was"
            np.testing.assert_allclose(made.joints, expected.joints, atol=SAME_POSES_M)
            np.testing.assert_array_equal(made.imputed, ~given.all(axis=-1))


@pytest.mark.parametrize("mirrored_average", [False, True])
def test_the_command_gives_the_answer_of_the_server(
    both: ServerProcess, models: Path, tmp_path: Path, mirrored_average: bool
):
    sent = {"poses": frames(without_a_while(person(60))), "skeleton": "h36m17", "fps": 30, "model": COMPLETION}
    body = {**sent, "mirrored_average": mirrored_average}
    answer = httpx.post(f"{both.address}/complete", json=body, timeout=ANSWER_S).json()
    (tmp_path / "poses.json").write_text(json.dumps(sent))
    options = ["--mirrored-average"] if mirrored_average else []
    said = CliRunner().invoke(app, ["complete", str(tmp_path / "poses.json"), "--models", str(models), *options])
    assert said.exit_code == 0, said.output
    printed = json.loads(said.stdout)
    np.testing.assert_allclose(printed.pop("poses"), answer.pop("poses"), atol=SAME_POSES_M)
    del answer["timing_ms"]
    assert printed.pop("fps") == 30
    assert printed["warnings"] == []
    assert printed == answer


def test_numbers_in_json_keep_all_their_digits(transports: dict[str, Transport]):
    poses = person(5) + 0.123456789012345
    (made,) = transports["json"].complete(clip(poses)).people
    given = ~np.isnan(poses)
    assert (made.joints[given] == poses[given]).all()


def test_single_frames_may_be_asked_for(transport: Transport):
    (whole,) = transport.complete(clip()).people
    (some,) = transport.complete(clip(targets=[0, 7, 39])).people
    np.testing.assert_allclose(some.joints, whole.joints[[0, 7, 39]], atol=SAME_POSES_M)
    np.testing.assert_array_equal(some.imputed, whole.imputed[[0, 7, 39]])


def replaced(value: float, frame: int, joint: int, axis: int) -> NDArray[np.float64]:
    poses = person(6, missing=0)
    poses[frame, joint, axis] = value
    return poses


def rootless(count: int) -> NDArray[np.float64]:
    poses = person(count)
    poses[:, 0] = np.nan
    return poses


BAD = {
    "an unknown skeleton": (clip(skeleton="h36m18"), "invalid_request", "skeleton"),
    "a skeleton without a pelvis": (clip(skeleton="coco17"), "invalid_request", "skeleton"),
    "another skeleton": (clip(skeleton="mpi17"), "invalid_request", "skeleton"),
    "no frames": (clip(np.empty((0, 17, 3))), "invalid_request", "poses"),
    "a position beyond the mountains": (
        clip(replaced(2 * MAX_POSITION_M, 3, 5, 2)),
        "invalid_request",
        "poses[3][5][2]",
    ),
    "a wrong value in a track": (
        clip(poses=..., tracks=[track("1", person(3)), track("2", replaced(-2 * MAX_POSITION_M, 2, 1, 0))]),
        "invalid_request",
        "tracks[1].poses[2][1][0]",
    ),
    "no pelvis in any frame": (clip(rootless(10)), "invalid_request", "poses"),
    "no pelvis in a track": (
        clip(poses=..., tracks=[track("1", person(3)), track("2", rootless(3))]),
        "invalid_request",
        "tracks[1].poses",
    ),
    "nothing at all": (clip(np.full((3, 17, 3), np.nan)), "invalid_request", "poses"),
    "one frame too many": (clip(person(MAX_FRAMES + 1)), "invalid_request", "poses"),
    "too many tracks": (
        clip(poses=..., tracks=[track(str(n), person(1)) for n in range(MAX_TRACKS + 1)]),
        "invalid_request",
        "tracks",
    ),
    "a name twice": (clip(poses=..., tracks=[track("1", person(1))] * 2), "invalid_request", "tracks[1].track_id"),
    "both poses and tracks": (clip(tracks=[track("1", person(1))]), "invalid_request", "poses"),
    "no frame rate": (clip(fps=...), "invalid_request", "fps"),
    "falling timestamps": (clip(person(3), fps=..., timestamps_s=[0, 1, 0.5]), "invalid_request", "timestamps_s[2]"),
    "a frame that is not there": (clip(targets=[1, 40]), "invalid_request", "targets[1]"),
    "an unknown model": (clip(model="resnet"), "unknown_model", "model"),
    "a model that lifts": (clip(model=MODEL), "wrong_task", "model"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_transport_refuses_with_the_same_code_and_path(transport: Transport, name: str):
    sent, code, path = BAD[name]
    with pytest.raises(Refusal) as refusal:
        transport.complete(sent)
    assert (refusal.value.code, refusal.value.path) == (code, path), refusal.value
    assert refusal.value.message.endswith(".")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"poses": [[[0, 0, 0]] * 16]}, "poses[0]"),
        ({"poses": [[[0, 0, 0]] * 16 + [[0, 0]]]}, "poses[0][16]"),
        ({"poses": [[[0, 0, "0"]] * 17]}, "poses[0][0][2]"),
        ({"poses": []}, "poses"),
        ({"image_size": [10, 10]}, "image_size"),
        ({"keypoints": [[[0, 0, 1]] * 17]}, "keypoints"),
    ],
)
def test_what_only_json_can_get_wrong(both: ServerProcess, changes: dict[str, Any], path: str):
    sent = {"poses": [[[0, 0, 0]] * 17], "skeleton": "h36m17", "fps": 50, **changes}
    response = httpx.post(f"{both.address}/complete", json=sent, timeout=ANSWER_S)
    assert response.status_code == 422
    assert response.json()["error"]["path"] == path


def test_a_model_that_completes_does_not_lift(both: ServerProcess, grpc_port: int):
    sent = body(keypoints(at_rate(50, 5)), model=COMPLETION)
    opening = {"skeleton": "coco17", "image_size": [10, 10], "fps": 30, "lookahead": 0, "model": COMPLETION}
    for path, form in (("/lift", sent), ("/sessions", opening)):
        response = httpx.post(f"{both.address}{path}", json=form, timeout=ANSWER_S)
        assert response.status_code == 422
        error = response.json()["error"]
        assert (error["code"], error["path"]) == ("wrong_task", "model")
        assert error["message"] == f"The model {COMPLETION}@1 completes 3D poses; one is needed that lifts keypoints."
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub: Any = LiftingServiceStub(channel)
        request = pb.LiftRequest(
            keypoints=[1.0] * 51,
            skeleton="coco17",
            image_size=pb.ImageSize(width_px=9, height_px=9),
            fps=30,
            model=COMPLETION,
        )
        with pytest.raises(grpc.RpcError) as refused:
            stub.Lift(request, timeout=ANSWER_S)
        call: Any = refused.value
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert dict(call.trailing_metadata())["poselift-code"] == "wrong_task"
        assert {model.task for model in stub.ListModels(pb.ListModelsRequest()).models} == {"lift", "complete"}


def test_models_tell_what_they_do(both: ServerProcess):
    told = {model["name"]: model["task"] for model in httpx.get(f"{both.address}/models").json()}
    assert told == {MODEL: "lift", COMPLETION: "complete"}


def test_a_long_document_is_read_in_pieces_and_refused_alike(both: ServerProcess):
    poses = frames(person(400))
    sent = {"poses": poses, "skeleton": "h36m17", "fps": 50, "model": COMPLETION}
    answer = httpx.post(f"{both.address}/complete", json=sent, timeout=ANSWER_S)
    assert answer.status_code == 200
    assert len(answer.request.content) > 200_000
    assert len(answer.json()["poses"]) == 400
    poses[333][0] = [0, 0, "0"]
    refused = httpx.post(f"{both.address}/complete", json=sent, timeout=ANSWER_S)
    assert (refused.status_code, refused.json()["error"]["path"]) == (422, "poses[333][0][2]")
