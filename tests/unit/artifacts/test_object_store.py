"""Model repositories in an object store, here one in the memory of this process."""

import json
import threading

import fsspec
import pytest
import torch
from typer.testing import CliRunner

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.local_copy import local_folder
from poselift.artifacts.object_store import ObjectStore
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts, look_up, set_label
from poselift.artifacts.verify import read_manifest, verify
from poselift.cli.app import app
from poselift.errors import InvalidArtifact, UnreachableRepository


def test_a_published_artifact_is_loaded_unchanged(repository, draft, lifter):
    place = publish(repository, draft, lifter, extra_files={"refine.safetensors": b"more"})
    assert place == f"{repository}/small/1"
    artifact = load_artifact(place)
    windows = torch.randn(4, 9, 17, 2)
    with torch.inference_mode():
        torch.testing.assert_close(artifact.lifter(windows).centre, lifter(windows).centre, rtol=0, atol=0)
    assert artifact.manifest == read_manifest(place) == verify(place)
    assert (local_folder(place) / "refine.safetensors").read_bytes() == b"more"


def test_references(repository, draft, lifter):
    for _ in range(3):
        publish(repository, draft, lifter)
    publish(repository, draft.model_copy(update={"name": "other"}), lifter)
    assert look_up(repository, "small").reference == "small@3"
    set_label(repository, "small", "stable", 2)
    set_label(repository, "small", "canary", 3)
    assert look_up(repository, "small").reference == "small@2"
    assert look_up(repository, "small@canary").location == f"{repository}/small/3"
    assert read_manifest(local_folder(look_up(repository, "small@1").location)).version == 1
    assert [(published.reference, published.labels) for published in list_artifacts(repository)] == [
        ("other@1", ()),
        ("small@1", ()),
        ("small@2", ("stable",)),
        ("small@3", ("canary",)),
    ]
    with pytest.raises(InvalidArtifact, match="it has: 1, 2, 3, stable, canary"):
        look_up(repository, "small@beta")
    with pytest.raises(InvalidArtifact, match="there are: other, small"):
        look_up(repository, "large")
    with pytest.raises(InvalidArtifact, match="no version 9"):
        set_label(repository, "small", "stable", 9)


@pytest.mark.parametrize("fails_at", ["model.safetensors", "refine.safetensors", "manifest.json"])
def test_an_interrupted_upload_is_never_visible(repository, objects, draft, lifter, monkeypatch, fails_at):
    publish(repository, draft, lifter)
    with monkeypatch.context() as patch:
        for way in ("write", "create"):
            whole = getattr(ObjectStore, way)

            def torn(store, name, content, whole=whole):
                if name.endswith(fails_at):
                    raise UnreachableRepository("The cable was pulled.")
                whole(store, name, content)

            patch.setattr(ObjectStore, way, torn)
        with pytest.raises(UnreachableRepository):
            publish(repository, draft, lifter, extra_files={"refine.safetensors": b"more"})
    assert [published.version for published in list_artifacts(repository)] == [1]
    assert look_up(repository, "small").version == 1
    left_over = {name: objects.read(name) for name in objects.names()}
    # The next upload gets a number of its own and changes nothing that exists.
    assert verify(publish(repository, draft, lifter)).version == (2 if fails_at == "model.safetensors" else 3)
    assert {name: objects.read(name) for name in left_over} == left_over


def test_concurrent_jobs_each_get_a_version(repository, draft, lifter, monkeypatch):
    # All jobs have listed the store before the first one writes.
    everybody_looked = threading.Barrier(4, timeout=60)
    look = ObjectStore.names

    def look_together(store: ObjectStore) -> list[str]:
        names = look(store)
        everybody_looked.wait()
        return names

    monkeypatch.setattr(ObjectStore, "names", look_together)
    jobs = [
        threading.Thread(target=publish, args=(repository, draft.model_copy(update={"unit_m": 1 + number}), lifter))
        for number in range(4)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    monkeypatch.undo()
    manifests = [verify(published.location) for published in list_artifacts(repository)]
    assert [manifest.version for manifest in manifests] == [1, 2, 3, 4]
    assert {manifest.unit_m for manifest in manifests} == {1, 2, 3, 4}


def test_missing_artifacts_are_reported(repository, objects, draft, lifter):
    assert list_artifacts(repository) == []
    with pytest.raises(InvalidArtifact, match=f"no artifact in {repository}/none/1"):
        load_artifact(f"{repository}/none/1")
    publish(repository, draft, lifter)
    objects.write("small/labels.json", b'["stable"]')
    with pytest.raises(InvalidArtifact, match=f"labels in {repository}/small"):
        list_artifacts(repository)


def test_a_manifest_in_another_models_folder_is_refused(repository, objects, draft, lifter):
    publish(repository, draft, lifter)
    manifest = json.loads(objects.read("small/1/manifest.json"))
    objects.write("small/1/manifest.json", json.dumps({**manifest, "name": "../up"}).encode())
    with pytest.raises(InvalidArtifact, match="name"):
        load_artifact(f"{repository}/small/1")
    objects.write("small/1/manifest.json", json.dumps({**manifest, "version": 7}).encode())
    with pytest.raises(InvalidArtifact, match="must lie in small/7"):
        load_artifact(f"{repository}/small/1")


def test_an_unusable_address_ends_in_a_sentence(monkeypatch):
    with pytest.raises(InvalidArtifact, match=r"gopher://there cannot be used: .*gopher"):
        list_artifacts("gopher://there")

    def without_the_package(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", without_the_package)
    with pytest.raises(InvalidArtifact, match=r"install poselift\[s3\]"):
        list_artifacts("s3://bucket/models")


def test_a_file_url_is_a_folder(tmp_path, draft, lifter):
    assert publish(f"file://{tmp_path}", draft, lifter) == str(tmp_path / "small" / "1")
    assert local_folder(f"file://{tmp_path}/small/1") == tmp_path / "small" / "1"
    assert look_up(f"file://{tmp_path}", "small").location == tmp_path / "small" / "1"


def test_the_command_takes_addresses(repository, draft, lifter):
    publish(repository, draft, lifter)
    set_label(repository, "small", "stable", 1)
    for arguments, said in (
        (["models", "list", "--models", repository], "small@1\tstable\n"),
        (["models", "verify", "--models", repository], "small@1 is intact\n"),
        (["models", "verify", f"{repository}/small/1"], "small@1 is intact\n"),
        (["models", "show", "--models", repository], "small@1 (pstmo)"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, said in result.stdout) == (0, True), result.output
