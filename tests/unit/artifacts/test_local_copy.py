"""Local copies of artifacts in an object store, here one in the memory of this process."""

from typing import Any

import pytest
from typer.testing import CliRunner

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.local_copy import cache_folder, local_folder
from poselift.artifacts.object_store import ObjectStore
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts, set_label
from poselift.artifacts.verify import read_manifest, verify
from poselift.cli.app import app
from poselift.errors import InvalidArtifact


def test_a_copy_is_made_once_and_again_after_damage(repository, objects, draft, lifter, monkeypatch):
    place = publish(repository, draft, lifter)
    read: list[str] = []
    whole = ObjectStore.read

    def noted(store: ObjectStore, name: str, *part: Any) -> bytes:
        read.append(name)
        return whole(store, name, *part)

    monkeypatch.setattr(ObjectStore, "read", noted)
    folder = local_folder(place)
    assert "model.safetensors" in read
    assert folder.is_relative_to(cache_folder())
    read.clear()
    load_artifact(place)
    assert read == ["manifest.json"]
    (folder / "model.safetensors").write_bytes(b"torn")
    load_artifact(place)
    assert "model.safetensors" in read
    assert [path.name for path in cache_folder().iterdir()] == [folder.parents[1].name]


def test_the_same_weights_in_two_repositories_are_not_mixed_up(repository, draft, lifter):
    places = [
        publish(f"{repository}/{number}", draft.model_copy(update={"unit_m": unit_m}), lifter)
        for number, unit_m in enumerate((1.0, 0.001))
    ]
    assert [load_artifact(place).manifest.unit_m for place in places] == [1.0, 0.001]


def test_altered_weights_are_refused_and_leave_no_copy(repository, objects, draft, lifter):
    place = publish(repository, draft, lifter)
    weights = bytearray(objects.read("small/1/model.safetensors"))
    weights[-1] ^= 1
    objects.write("small/1/model.safetensors", bytes(weights))
    for look in (load_artifact, verify, local_folder):
        with pytest.raises(InvalidArtifact, match=f"weights in {place} are not those"):
            look(place)
    assert not list(cache_folder().iterdir())


def test_verify_reads_the_store_and_not_the_copy(repository, objects, draft, lifter):
    place = publish(repository, draft, lifter)
    load_artifact(place)
    objects.write("small/1/model.safetensors", b"torn")
    with pytest.raises(InvalidArtifact, match="SHA-256 differs"):
        verify(place)


def test_a_copy_that_cannot_be_written_ends_in_a_sentence(repository, draft, lifter, tmp_path, monkeypatch):
    place = publish(repository, draft, lifter)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InvalidArtifact, match="XDG_CACHE_HOME names another"):
        load_artifact(place)


def test_versions_are_copied_with_numbers_and_labels(repository, objects, draft, lifter, tmp_path):
    for _ in range(3):
        publish(repository, draft, lifter)
    set_label(repository, "small", "stable", 2)

    def copy(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["models", "copy", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.stdout

    copies, again = tmp_path / "copied", tmp_path / "again"
    assert copy("small@stable", "small@3", "--models", repository, "--out", copies) == (
        f"{copies}/small/2\n{copies}/small/3\n"
    )
    assert [(found.version, found.labels) for found in list_artifacts(copies)] == [(2, ("stable",)), (3, ())]
    assert verify(copies / "small" / "3") == read_manifest(f"{repository}/small/3")
    (copies / "small" / "3" / "model.safetensors").write_bytes(b"torn")
    objects.write("small/2/model.safetensors", b"not looked at, for its copy is intact")
    copy("small@2", "small@3", "--models", repository, "--out", copies)
    copy("--models", copies, "--out", again)
    assert list_artifacts(again) == [
        found._replace(location=again / "small" / str(found.version)) for found in list_artifacts(copies)
    ]
    assert not list(again.rglob(".*"))
