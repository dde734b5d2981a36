"""Models that are loaded, unloaded and labelled while others are served."""

import asyncio
import logging
from pathlib import Path

import pytest
from poselift_service.errors import CannotStart, ModelConflict, RepositoryDown, UnknownModel
from poselift_service.inference import loader as module

from poselift.artifacts.repository import list_artifacts, set_label
from poselift.errors import InvalidArtifact, UnreachableRepository
from tests.unit.service.inference.driven_loader import DrivenLoader, publish_untrained


@pytest.mark.parametrize(
    ("default", "references", "served", "answering"),
    [
        (None, (), ["a@1"], "a@1"),
        ("a@2", (), ["a@2"], "a@2"),
        ("a@canary", (), ["a@3"], "a@3"),
        (None, ("a@canary",), ["a@1", "a@3"], "a@1"),
        ("a@3", ("a@2", "a@canary"), ["a@2", "a@3"], "a@3"),
    ],
)
async def test_what_a_server_starts_with(loading, default, references, served, answering):
    await loading.loader.start(default=default, references=references)
    assert loading.references == served
    assert loading.served.find(None).reference == answering
    assert len(loading.engines) == len(served)


async def test_every_name_is_served_in_one_version(loading: DrivenLoader, repository: Path):
    publish_untrained(repository, "b", "b")
    await loading.loader.start(default="a@2", references=())
    assert loading.references == ["a@2", "b@2"]


@pytest.mark.parametrize(
    ("default", "references", "error", "sentence"),
    [
        (None, (), CannotStart, r"several models in .* \(a, b\); POSELIFT_DEFAULT_MODEL"),
        (None, ("b", "a@2"), CannotStart, r"\(a, b\)"),
        ("c", (), InvalidArtifact, "no model 'c' in .*: a, b"),
        ("a@4", (), InvalidArtifact, "no version or label '4'"),
        ("a", ("b@stable",), InvalidArtifact, "no version or label 'stable'"),
    ],
)
async def test_what_a_server_cannot_start_with(loading, repository, default, references, error, sentence):
    publish_untrained(repository, "b")
    with pytest.raises(error, match=sentence):
        await loading.loader.start(default=default, references=references)
    assert loading.served.default is None


async def test_the_error_for_an_empty_repository_names_its_path(tmp_path: Path):
    with pytest.raises(CannotStart, match=f"no model in {tmp_path}/none"):
        await DrivenLoader(tmp_path / "none").loader.start(default=None, references=())


async def test_a_version_is_loaded_once(started: DrivenLoader):
    models = await asyncio.gather(*(started.loader.load("a", "2") for _ in range(3)))
    assert models[0] is models[1] is models[2]
    assert len(started.engines) == 2


async def test_the_log_names_a_version_before_and_after_it_is_loaded(
    started: DrivenLoader, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, logger="poselift_service"):
        await started.loader.load("a", "2")
    first, *_, last = caplog.messages
    assert (first, last) == ("loading and warming up a@2", "a@2 is loaded")


async def test_a_version_is_loaded_with_its_labels_in_the_repository(started: DrivenLoader, repository: Path):
    set_label(repository, "a", "stable", 2)
    await started.loader.load("a", "2")
    assert [(model.reference, model.labels) for model in started.served] == [("a@1", ()), ("a@2", ("stable",))]
    assert started.served.find(None).reference == "a@2"


@pytest.mark.parametrize("version", ["4", "01", "stable", "../1"])
async def test_a_missing_version_is_unknown(started: DrivenLoader, version: str):
    with pytest.raises(UnknownModel, match="there are: a@1, a@2, a@3"):
        await started.loader.load("a", version)
    with pytest.raises(UnknownModel, match="there are: a@1"):
        await started.loader.unload("a", version)
    with pytest.raises(UnknownModel, match="there are: a@1"):
        await started.loader.move_label("a", "stable", version)


async def test_broken_weights_change_nothing(started: DrivenLoader, repository: Path):
    weights = repository / "a" / "2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InvalidArtifact, match="SHA-256 differs"):
        await started.loader.load("a", "2")
    assert started.references == ["a@1"]
    assert (await started.loader.load("a", "3")).reference == "a@3"
    assert started.registry.get_sample_value("poselift_model_load_failures_total") == 1


async def test_the_default_is_not_unloaded_whichever_reference_names_it(started: DrivenLoader):
    await started.loader.load("a", "2")
    for reference, version in (("a", "1"), ("a@2", "2"), ("a@stable", "1")):
        await started.loader.set_default(reference)
        with pytest.raises(ModelConflict, match=f"a@{version} answers requests that name no model"):
            await started.loader.unload("a", version)
    await started.loader.set_default("a@2")
    await started.loader.unload("a", "1")
    assert started.references == ["a@2"]


async def test_a_label_moves_in_this_process_and_in_the_repository(started: DrivenLoader, repository: Path):
    await started.loader.load("a", "2")
    assert await started.loader.move_label("a", "stable", "2")
    assert started.served.find(None).reference == "a@2"
    assert {artifact.reference: artifact.labels for artifact in list_artifacts(repository)} == {
        "a@1": (),
        "a@2": ("stable",),
        "a@3": ("canary",),
    }


async def test_a_label_of_a_read_only_repository_moves_in_this_process(
    started: DrivenLoader, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise PermissionError("read-only file system")

    await started.loader.load("a", "2")
    monkeypatch.setattr(module, "set_label", refuse)
    assert not await started.loader.move_label("a", "stable", "2")
    assert started.served.find("a@stable").reference == "a@2"


async def test_an_unreachable_repository_changes_nothing(started: DrivenLoader, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise UnreachableRepository("The cable was pulled.")

    await started.loader.load("a", "2")
    monkeypatch.setattr(module, "set_label", fail)
    monkeypatch.setattr(module, "list_artifacts", fail)
    with pytest.raises(RepositoryDown, match="cable"):
        await started.loader.move_label("a", "stable", "2")
    with pytest.raises(RepositoryDown, match="cable"):
        await started.loader.load("a", "3")
    assert started.served.find("a@stable").reference == "a@1"
    assert started.references == ["a@1", "a@2"]


@pytest.mark.parametrize("label", ["2", "Stable", "", "a/b", "a" * 64])
async def test_an_invalid_label_is_refused(started: DrivenLoader, label: str):
    with pytest.raises(InvalidArtifact, match="A label starts with a letter"):
        await started.loader.move_label("a", label, "1")
    assert started.served.find("a").labels == ("stable",)
