"""Loading an artifact."""

import json
import pickle

import pytest
import torch

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.publish import publish
from poselift.errors import InvalidArtifact


def test_a_published_artifact_is_loaded_unchanged(tmp_path, draft, lifter):
    folder = publish(tmp_path, draft, lifter)
    assert folder == tmp_path / "small" / "1"
    artifact = load_artifact(folder)
    windows = torch.randn(4, 9, 17, 2)
    with torch.inference_mode():
        torch.testing.assert_close(artifact.lifter(windows).centre, lifter(windows).centre, rtol=0, atol=0)
    assert artifact.manifest.recipe == {"seed": 1}
    assert artifact.manifest.network["channels"] == 16
    assert artifact.manifest.digest == artifact.manifest.weights_sha256[:16] != ""
    assert not list((tmp_path / "small").glob(".publishing-*"))


def test_weights_of_another_network_are_refused(tmp_path, draft, lifter):
    file = publish(tmp_path, draft, lifter) / "manifest.json"
    content = json.loads(file.read_text())
    content["network"]["channels"] = 32
    file.write_text(json.dumps(content))
    with pytest.raises(InvalidArtifact, match="do not fit the network"):
        load_artifact(file.parent)


def test_a_pickle_in_place_of_the_weights_runs_nothing(tmp_path, draft, lifter):
    folder = publish(tmp_path, draft, lifter)
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (ran.write_text, ("",))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InvalidArtifact):
        load_artifact(folder)
    assert not ran.exists()
