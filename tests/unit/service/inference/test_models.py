"""Which model a reference means, while models are added and removed and labels move."""

from dataclasses import replace

import pytest
from poselift_service.errors import NotReady, UnknownModel, WrongTask
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.models import Model, ServedModels

from poselift.artifacts.manifest import Manifest
from poselift.lifters.lifter import Task
from tests.unit.service.inference.scripted_engine import ScriptedEngine


@pytest.fixture
def make(manifest: Manifest):
    def model(reference: str, *labels: str) -> Model:
        name, _, version = reference.partition("@")
        named = manifest.model_copy(update={"name": name, "version": int(version)})
        return Model(named, labels, Batcher(ScriptedEngine(), capacity_windows=1))

    return model


@pytest.fixture
def served(make) -> ServedModels:
    served = ServedModels()
    for model in (make("b@1"), make("a@10", "canary"), make("a@9", "stable", "old"), make("a@2")):
        served.add(model)
    served.set_default("a")
    return served


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("a", "a@9"),
        ("b", "b@1"),
        ("a@10", "a@10"),
        ("a@2", "a@2"),
        ("a@canary", "a@10"),
        ("a@old", "a@9"),
        (None, "a@9"),
    ],
)
def test_references(served: ServedModels, reference: str | None, meant: str):
    assert served.find(reference).reference == meant


@pytest.mark.parametrize("reference", ["", "c", "a@", "a@1", "a@09", "a@canary@10", "b@stable", "@", "@9"])
def test_an_unknown_reference_is_refused_with_the_served_models(served: ServedModels, reference: str):
    with pytest.raises(UnknownModel, match="there are: a@2, a@9, a@10, b@1") as refusal:
        served.find(reference)
    assert repr(reference) in refusal.value.message


def test_a_model_is_found_for_a_task(served: ServedModels, make):
    with pytest.raises(WrongTask, match=r"completes 3D poses, and the default does not. No model here does.$"):
        served.find_for(Task.COMPLETE, None)
    completing = [completes(make(reference)) for reference in ("c@1", "c@2")]
    for model in completing:
        served.add(model)
    assert served.find_for(Task.COMPLETE, None).reference == "c@2", "the only one needs no name"
    assert served.find_for(Task.LIFT, None).reference == "a@9"
    assert served.find_for(Task.COMPLETE, "c@1").reference == "c@1"
    for task, reference, said in (
        (Task.LIFT, "c", "c@2 completes 3D poses; one is needed that lifts keypoints"),
        (Task.COMPLETE, "a", "a@9 lifts keypoints; one is needed that completes 3D poses"),
    ):
        with pytest.raises(WrongTask, match=said) as refusal:
            served.find_for(task, reference)
        assert refusal.value.path == "model"
    with pytest.raises(UnknownModel):
        served.find_for(Task.COMPLETE, "d")
    served.set_default("c")
    assert served.find_for(Task.COMPLETE, None).reference == "c@2"
    served.set_default("a")
    served.add(completes(make("d@1")))
    with pytest.raises(WrongTask, match="must name one that does: c, d"):
        served.find_for(Task.COMPLETE, None)


def completes(model: Model) -> Model:
    return replace(model, manifest=model.manifest.model_copy(update={"system": "mpm-completion"}))


def test_a_bare_name_means_the_newest_version_if_none_is_stable(served: ServedModels, make):
    served.remove(served.find("a@9"))
    assert served.find("a").reference == "a@10"
    served.add(make("a@11"))
    assert served.find("a").reference == "a@11"


def test_a_label_moves_atomically(served: ServedModels):
    before = served.find("a@stable")
    served.move_label("stable", served.find("a@10"))
    assert [(model.reference, model.labels) for model in served] == [
        ("a@2", ()),
        ("a@9", ("old",)),
        ("a@10", ("canary", "stable")),
        ("b@1", ()),
    ]
    assert served.find(None).reference == "a@10"
    assert before.batcher is served.find("a@9").batcher
    served.move_label("stable", served.find("a@10"))
    assert served.find("a@10").labels == ("canary", "stable")


def test_a_label_belongs_to_a_name(served: ServedModels):
    served.move_label("stable", served.find("b"))
    assert (served.find("a@stable").reference, served.find("b@stable").reference) == ("a@9", "b@1")


def test_an_added_model_takes_its_labels_from_others(served: ServedModels, make):
    served.add(make("a@11", "stable"))
    assert [model.reference for model in served if "stable" in model.labels] == ["a@11"]
    assert served.find("a@9").labels == ("old",)


def test_the_default_may_be_any_reference_and_follows_its_label(served: ServedModels):
    assert served.set_default("a@canary").reference == "a@10"
    served.move_label("canary", served.find("a@2"))
    assert served.default is served.find(None) is served.find("a@2")
    with pytest.raises(UnknownModel):
        served.set_default("a@3")
    assert served.find(None).reference == "a@2"


def test_nothing_is_found_before_there_is_a_default(make):
    served = ServedModels()
    assert served.default is None
    served.add(make("a@1"))
    for reference in (None, "a", "c"):
        with pytest.raises(NotReady):
            served.find(reference)
    served.set_default("a@1")
    assert served.find("a").reference == "a@1"


def test_models_with_the_same_weights_have_their_own_identities(served: ServedModels):
    assert len({model.manifest.digest for model in served}) == 1
    for model in served:
        assert served.find_by_identity(model.manifest.identity) is model
    gone = served.find("a@2")
    served.remove(gone)
    assert served.find_by_identity(gone.manifest.identity) is None
