"""A model repository in S3: published to, looked at, and served from."""

import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import httpx
import pytest
from typer.testing import CliRunner

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.local_copy import cache_folder
from poselift.artifacts.object_store import ObjectStore
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts, set_label
from poselift.cli.app import app
from poselift.errors import UnreachableRepository
from poselift.lifting import lift
from tests.integration.conftest import MODEL
from tests.integration.s3_process import running_s3
from tests.integration.server_process import ANSWER_S, running
from tests.integration.test_lift import SAME_POSES_M
from tests.integration.walking import at_rate, body, keypoints, sequence

REPOSITORY = "s3://bucket/pose/models"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with running_s3() as environment:
        yield environment


@pytest.fixture
def repository(s3: dict[str, str], artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository in S3 with one version of one model."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "copies"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # it remembers where it found its server
    files = fsspec.filesystem("s3", use_listings_cache=False)
    if files.exists("bucket"):
        files.rm("bucket", recursive=True)
    files.mkdir("bucket")
    publish(REPOSITORY, artifact.manifest, artifact.lifter)
    return REPOSITORY


def test_a_version_is_claimed_by_one(repository: str):
    store = ObjectStore(repository)
    store.create("claimed", b"first")
    with pytest.raises(FileExistsError):
        store.create("claimed", b"second")
    assert store.read("claimed") == b"first"
    store.write("claimed", b"third")
    assert store.read("claimed") == b"third"
    assert f"{MODEL}/1/manifest.json" in store.names()


def test_what_others_publish_is_seen(repository: str):
    assert [published.version for published in list_artifacts(repository)] == [1]
    somebody_else = fsspec.filesystem("s3", skip_instance_cache=True)
    somebody_else.copy(f"{repository}/{MODEL}/1/manifest.json", f"{repository}/{MODEL}/2/manifest.json")
    assert [published.version for published in list_artifacts(repository)] == [1, 2]


def test_the_server_serves_it(repository: str, artifact: Artifact, models: Path, tmp_path: Path):
    set_label(repository, MODEL, "stable", 1)
    publish(repository, artifact.manifest, load_artifact(models / MODEL / "2").lifter)
    points = keypoints(at_rate(50, 20))
    with running(repository, tmp_path / "log") as server:
        answer = httpx.post(f"{server.address}/lift", json=body(points), timeout=ANSWER_S).json()
        assert answer["model"] == {"name": MODEL, "version": 1, "digest": artifact.manifest.digest}
        (described,) = httpx.get(f"{server.address}/models").json()
        assert described["labels"] == ["stable"]
    expected = lift(artifact, sequence(points)).joints
    assert abs(expected - answer["poses"]).max() < SAME_POSES_M
    assert len(list(cache_folder().iterdir())) == 1


def test_the_command_looks_at_it(repository: str):
    def said(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*arguments, "--models", repository])
        assert result.exit_code == code, result.output
        return result.output

    assert said("models", "list") == f"{MODEL}@1\n"
    assert f"{MODEL}@1 is intact" in said("models", "verify")
    assert MODEL in said("models", "show", MODEL)
    ObjectStore(repository).write(f"{MODEL}/1/model.safetensors", b"torn")
    assert f"{repository}/{MODEL}/1 are not those of its manifest" in said("models", "verify", code=2)


def test_a_place_that_is_not_there_is_told_in_a_sentence(repository: str):
    with pytest.raises(UnreachableRepository, match=r"s3://no-such-bucket/models cannot be reached: .*bucket"):
        list_artifacts("s3://no-such-bucket/models")


def test_a_store_that_does_not_answer_is_told_in_a_sentence(repository: str, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    result = CliRunner().invoke(app, ["models", "list", "--models", repository])
    assert result.exit_code == 2
    assert f"The model repository {repository} cannot be reached: " in result.stderr
