"""An operator loads, labels and unloads models while requests are served."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.lifters import systems
from poselift.lifting import lift
from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.conftest import MODEL, NETWORK
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, ServerProcess, eventually, running
from tests.integration.test_lift import SAME_POSES_M
from tests.integration.transports import from_message, lift_request
from tests.integration.walking import IMAGE_SIZE, at_rate, body, frames, keypoints, sequence

ADMIN_KEY = "the key of the operator"
CLIENTS = 8
SWAPS = 6
# A busy machine may take long for a batch; these tests do not depend on time.
LONG_DEADLINE = {"deadline_s": 120, "grace_s": 125}
DEFAULT = f"{MODEL}@stable"
VERSION = f"/admin/models/{MODEL}"
POINTS = [keypoints(at_rate(50, 4 + 3 * person), person) for person in range(CLIENTS)]


@pytest.fixture(scope="module")
def repository(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1, which is stable, version 2, and some broken ones."""
    repository = shutil.copytree(models, tmp_path_factory.mktemp("changing") / "models")
    home = repository / MODEL
    manifest = json.loads((home / "1" / "manifest.json").read_text())
    weights = (home / "1" / "model.safetensors").read_bytes()
    for version, changes, content in (
        (3, {}, weights[:1000]),
        (4, {"format_version": 9}, weights),
        (5, {"network": {**manifest["network"], "channels": 64}}, weights),
        (7, {"network": {**manifest["network"], "layers": 20_000}}, weights),
        (8, {"network": {**manifest["network"], "channels": 1_000_000}}, weights),
        (9, {"network": {**manifest["network"], "channels": 65_536, "hidden": 65_536, "layers": 256}}, weights),
    ):
        (home / str(version)).mkdir()
        (home / str(version) / "manifest.json").write_text(json.dumps({**manifest, "version": version, **changes}))
        (home / str(version) / "model.safetensors").write_bytes(content)
    broken: Any = systems.build("pstmo", NETWORK)
    for name, token in (("10", np.nan), ("11", 3e38)):  # which only missing joints reveal
        broken.embedding.mask_token.data.fill_(token)
        assert publish(repository, Manifest.model_validate({**manifest, "version": 0}), broken).name == name
    return repository


BROKEN = {
    "3": "are not those of its manifest",
    "4": "format_version",
    "5": "do not fit the network",
    "7": "layers must be",
    "8": "channels must be",
    "9": "do not fit the network",
    "10": "are not finite",
    "11": "cannot be run",
}


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {"grpc_port": free_port(), "metrics_port": free_port()}


@pytest.fixture(scope="module")
def changing(
    repository: Path, ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    settings = {"default_model": DEFAULT, "admin": True, "admin_key": ADMIN_KEY, **ports, **LONG_DEADLINE}
    with running(repository, tmp_path_factory.mktemp("changing") / "log", **settings) as server:
        yield server


@pytest.fixture
def client(changing: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=changing.address, timeout=LONG_DEADLINE["deadline_s"]) as client:
        yield client


@pytest.fixture
def admin(changing: ServerProcess) -> Iterator[httpx.Client]:
    """A client with the admin key; afterwards only version 1 is served again, stable and the default."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=changing.address, timeout=LONG_DEADLINE["deadline_s"], headers=headers) as admin:
        yield admin
        done(admin.put(f"{VERSION}/1"))
        done(admin.put(f"{VERSION}/labels/stable", json={"version": 1}))
        done(admin.put("/admin/default", json={"model": DEFAULT}))
        for model in admin.get("/models").json():
            if model["version"] != 1:
                done(admin.delete(f"{VERSION}/{model['version']}"))


def done(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, answer.text
    return answer


def served(client: httpx.Client) -> list[tuple[int, list[str], bool]]:
    return [(model["version"], model["labels"], model["is_default"]) for model in client.get("/models").json()]


@pytest.fixture(scope="module")
def expected(repository: Path) -> dict[int, list[NDArray[np.float32]]]:
    """The poses of each version for the keypoints of each client."""
    artifacts = {version: load_artifact(repository / MODEL / str(version)) for version in (1, 2)}
    return {
        version: [lift(artifact, sequence(points)).joints for points in POINTS]
        for version, artifact in artifacts.items()
    }


@contextmanager
def lifting(
    server: ServerProcess, grpc_port: int, expected: dict[int, list[NDArray[np.float32]]]
) -> Iterator[Callable[[], Counter[int]]]:
    """Lift continuously over HTTP and gRPC, and check that every answer has the poses of the version it names.

    Yields a function that returns the number of answers by version.
    """
    stopping = threading.Event()
    versions: Counter[int] = Counter()
    failures: list[str] = []

    def over_http(number: int, model: str | None) -> None:
        sent = body(POINTS[number], model=model)
        with httpx.Client(base_url=server.address, timeout=LONG_DEADLINE["deadline_s"]) as client:
            while not stopping.is_set():
                given = done(client.post("/lift", json=sent)).json()
                check(number, given["model"]["version"], given["poses"])

    def over_grpc(number: int, model: str | None) -> None:
        clip = {"keypoints": POINTS[number], "skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 50}
        sent = lift_request(clip if model is None else {**clip, "model": model})
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            stub: Any = LiftingServiceStub(channel)
            while not stopping.is_set():
                given = from_message(stub.Lift(sent, timeout=LONG_DEADLINE["deadline_s"]))
                check(number, given.model[1], given.people[0].joints)

    def check(number: int, version: int, poses: Any) -> None:
        np.testing.assert_allclose(poses, expected[version][number], atol=SAME_POSES_M)
        versions[version] += 1

    def run(number: int) -> None:
        try:
            (over_grpc if number % 4 == 3 else over_http)(number, (DEFAULT, MODEL, None)[number % 3])
        except Exception as error:
            failures.append(repr(error))

    clients = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield versions.copy
    finally:
        stopping.set()
        for client in clients:
            client.join()
    assert not failures


def test_models_are_swapped_without_a_failed_request(
    changing: ServerProcess, admin: httpx.Client, ports: dict[str, int], expected: dict[int, list[NDArray[np.float32]]]
):
    assert np.abs(expected[1][0] - expected[2][0]).max() > 10 * SAME_POSES_M
    with lifting(changing, ports["grpc_port"], expected) as answered:
        for swap in range(SWAPS):
            old, new = (1, 2) if swap % 2 == 0 else (2, 1)
            loaded = done(admin.put(f"{VERSION}/{new}")).json()
            assert (loaded["version"], loaded["is_default"]) == (new, False)
            labelled = done(admin.put(f"{VERSION}/labels/stable", json={"version": new})).json()
            assert labelled == {"name": MODEL, "label": "stable", "version": new, "written": True}
            assert done(admin.delete(f"{VERSION}/{old}")).status_code == 204
            assert served(admin) == [(new, ["stable"], True)]
            # At most one request per client had found its model before the swap.
            before = answered()
            eventually(partial(more_than, before[new] + CLIENTS, new, answered))
    assert answered()[1] > CLIENTS
    assert answered()[2] > CLIENTS


def more_than(answers: int, version: int, answered: Callable[[], Counter[int]]) -> Counter[int] | None:
    return seen if (seen := answered())[version] > answers else None


@pytest.mark.parametrize("version", BROKEN)
def test_a_broken_artifact_never_replaces_a_working_one(
    admin: httpx.Client, version: str, expected: dict[int, list[NDArray[np.float32]]]
):
    answer = admin.put(f"{VERSION}/{version}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_request")
    assert BROKEN[version] in error["message"]
    assert served(admin) == [(1, ["stable"], True)]
    given = done(admin.post("/lift", json=body(POINTS[0]))).json()
    np.testing.assert_allclose(given["poses"], expected[1][0], atol=SAME_POSES_M)
    answer = admin.put(f"{VERSION}/labels/stable", json={"version": int(version)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")


@pytest.mark.parametrize("labels", ['{"stable": 1e309}', "[" * 100_000])
def test_broken_labels_are_the_fault_of_the_repository(admin: httpx.Client, repository: Path, labels: str):
    file = repository / MODEL / "labels.json"
    before = file.read_text() if file.exists() else None
    try:
        file.write_text(labels)
        answer = admin.put(f"{VERSION}/2")
    finally:
        file.unlink() if before is None else file.write_text(before)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert "labels" in answer.json()["error"]["message"]
    assert served(admin) == [(1, ["stable"], True)]


def test_a_broken_artifact_is_refused_under_load(
    changing: ServerProcess, admin: httpx.Client, ports: dict[str, int], expected: dict[int, list[NDArray[np.float32]]]
):
    with lifting(changing, ports["grpc_port"], expected) as answered:
        for version in BROKEN:
            assert admin.put(f"{VERSION}/{version}").status_code == 422
        before = answered()
        eventually(partial(more_than, before[1] + CLIENTS, 1, answered))


def test_sessions_stay_with_their_version_and_end_with_it(admin: httpx.Client):
    opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 30, "lookahead": 0}
    opened = done(admin.post("/sessions", json=opening)).json()
    assert opened["model"]["version"] == 1
    address = f"/sessions/{opened['session_id']}"

    def send(index: int) -> httpx.Response:
        sent = {"frame_index": index, "keypoints": frames(POINTS[7][index : index + 1])}
        return admin.post(f"{address}/frames", json=sent)

    done(send(0))
    done(admin.put(f"{VERSION}/2"))
    done(admin.put(f"{VERSION}/labels/stable", json={"version": 2}))
    assert done(admin.post("/sessions", json=opening)).json()["model"]["version"] == 2
    done(send(1))
    assert done(admin.get(address)).json()["model"]["version"] == 1
    done(admin.delete(f"{VERSION}/1"))
    for answer in (send(2), admin.get(address), admin.delete(address)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_session")


def test_every_interface_lists_every_version(admin: httpx.Client, ports: dict[str, int]):
    done(admin.put(f"{VERSION}/2"))
    done(admin.put(f"{VERSION}/labels/canary", json={"version": 2}))
    assert served(admin) == [(1, ["stable"], True), (2, ["canary"], False)]
    for reference, version in ((MODEL, 1), (f"{MODEL}@2", 2), (f"{MODEL}@canary", 2), (DEFAULT, 1)):
        assert done(admin.get(f"/models/{reference}")).json()["version"] == version
    with grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}") as channel:
        stub: Any = LiftingServiceStub(channel)
        listed = stub.ListModels(pb.ListModelsRequest(), timeout=ANSWER_S).models
    assert [(model.reference.version, list(model.labels), model.is_default) for model in listed] == served(admin)
    assert versions_exposed(ports["metrics_port"]) == {"1", "2"}
    done(admin.delete(f"{VERSION}/2"))
    assert versions_exposed(ports["metrics_port"]) == {"1"}


def versions_exposed(metrics_port: int) -> set[str]:
    exposed = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
    lines = [line for line in exposed.splitlines() if line.startswith("poselift_model_info{")]
    return {line.partition('version="')[2].partition('"')[0] for line in lines}


def test_the_default_can_be_chosen_and_is_not_unloaded(admin: httpx.Client):
    done(admin.put(f"{VERSION}/2"))
    answer = admin.delete(f"{VERSION}/1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_conflict")
    chosen = done(admin.put("/admin/default", json={"model": f"{MODEL}@2"})).json()
    assert (chosen["version"], chosen["is_default"]) == (2, True)
    assert done(admin.post("/lift", json=body(POINTS[0]))).json()["model"]["version"] == 2
    done(admin.delete(f"{VERSION}/1"))
    assert admin.post("/lift", json=body(POINTS[0], model=f"{MODEL}@1")).status_code == 404


CALLS: list[tuple[str, str, Any]] = [
    ("PUT", f"{VERSION}/2", None),
    ("DELETE", f"{VERSION}/1", None),
    ("PUT", f"{VERSION}/labels/canary", {"version": 1}),
    ("PUT", "/admin/default", {"model": MODEL}),
]


@pytest.mark.parametrize(("method", "path", "sent"), CALLS)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Basic {ADMIN_KEY}", ADMIN_KEY])
def test_without_the_key_nothing_changes(
    client: httpx.Client, method: str, path: str, sent: Any, authorization: str | None
):
    headers = {} if authorization is None else {"authorization": authorization}
    answer = client.request(method, path, json=sent, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert served(client) == [(1, ["stable"], True)]


@pytest.mark.parametrize(("method", "path", "sent"), CALLS)
def test_administration_is_off_by_default(server: ServerProcess, method: str, path: str, sent: Any):
    answer = httpx.request(method, f"{server.address}{path}", json=sent, timeout=ANSWER_S)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert not [path for path in httpx.get(f"{server.address}/openapi.json").json()["paths"] if "admin" in path]


@pytest.mark.parametrize(
    ("path", "sent", "status", "code", "field"),
    [
        ("/admin/default", {}, 422, "invalid_request", "model"),
        ("/admin/default", {"model": "other"}, 404, "unknown_model", "model"),
        ("/admin/default", {"model": MODEL, "version": 1}, 422, "invalid_request", "version"),
        (f"{VERSION}/labels/canary", {"version": "1"}, 422, "invalid_request", "version"),
        (f"{VERSION}/labels/canary", {"version": 0}, 422, "invalid_request", "version"),
        (f"{VERSION}/labels/canary", {"version": 2}, 404, "unknown_model", "model"),
        (f"{VERSION}/labels/Canary", {"version": 1}, 422, "invalid_request", None),
        (f"{VERSION}/labels/7", {"version": 1}, 422, "invalid_request", None),
        (f"{VERSION}/stable", None, 404, "unknown_model", "model"),
        (f"{VERSION}/{'9' * 5000}", None, 404, "unknown_model", "model"),
        ("/admin/models/%2e%2e/1", None, 404, "unknown_model", "model"),
    ],
)
def test_impossible_changes_are_refused_with_a_reason(
    admin: httpx.Client, path: str, sent: Any, status: int, code: str, field: Any
):
    answer = admin.put(path, json=sent)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("path")) == (status, code, field), error
    assert error["message"].endswith(".")


def test_changes_are_logged_without_the_key(changing: ServerProcess, admin: httpx.Client):
    done(admin.put(f"{VERSION}/2"))
    eventually(lambda: next((line for line in changing.log_lines() if line["message"] == f"{MODEL}@2 is loaded"), None))
    admin.put(f"{VERSION}/7", headers={"x-request-id": "unknown-version"})
    assert changing.request_line("unknown-version")["key"] == "admin"
    assert ADMIN_KEY not in changing.log.read_text()
