import json
import pickle
import threading

import pytest
import torch

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts, look_up, set_label
from poselift.artifacts.verify import read_manifest, verify
from poselift.errors import InvalidArtifact
from poselift.lifters.pstmo.network import STMO, STMOConfig

CONFIG = STMOConfig(frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=True)


@pytest.fixture
def draft():
    return Manifest(
        name="small",
        system="pstmo",
        network={},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=3,
        missing_joints="token",
        recipe={"seed": 1},
    )


@pytest.fixture
def lifter():
    torch.manual_seed(0)
    return STMO(CONFIG).eval()


def test_what_is_published_is_what_is_loaded(tmp_path, draft, lifter):
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


def test_versions_grow_and_are_never_rewritten(tmp_path, draft, lifter):
    first = publish(tmp_path, draft, lifter)
    before = (first / "manifest.json").read_bytes()
    assert publish(tmp_path, draft, lifter).name == "2"
    assert (first / "manifest.json").read_bytes() == before


def test_a_taken_number_is_passed_over_whatever_lies_there(tmp_path, draft, lifter):
    left_over = tmp_path / "small" / "1"
    left_over.mkdir(parents=True)
    (left_over / "model.safetensors").touch()
    empty = tmp_path / "small" / "4"
    empty.mkdir()
    assert publish(tmp_path, draft, lifter).name == "5"
    assert not list(empty.iterdir())
    assert [published.version for published in list_artifacts(tmp_path)] == [5]


def test_a_version_is_on_disk_before_it_is_seen(tmp_path, draft, lifter, monkeypatch):
    seen = []

    def synced(folder):
        seen.append((folder.name, [published.version for published in list_artifacts(tmp_path)]))

    monkeypatch.setattr("poselift.artifacts.publish.sync_folder", synced)
    publish(tmp_path, draft, lifter)
    assert seen == [("1", []), ("small", [1])]


def test_jobs_that_publish_at_once_each_get_a_version(tmp_path, draft, lifter):
    jobs = [threading.Thread(target=publish, args=(tmp_path, draft, lifter)) for _ in range(8)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [published.version for published in list_artifacts(tmp_path)] == list(range(1, 9))
    for published in list_artifacts(tmp_path):
        assert verify(published.location).version == published.version


def test_references(tmp_path, draft, lifter):
    for _ in range(3):
        publish(tmp_path, draft, lifter)
    assert look_up(tmp_path, "small").version == 3
    set_label(tmp_path, "small", "stable", 2)
    assert look_up(tmp_path, "small").version == 2  # a bare name
    assert look_up(tmp_path, "small@3").version == 3
    assert look_up(tmp_path, "small@1").version == 1
    assert look_up(tmp_path, "small@stable").version == 2
    assert [published.labels for published in list_artifacts(tmp_path)] == [(), ("stable",), ()]
    with pytest.raises(InvalidArtifact, match="it has: 1, 2, 3, stable"):
        look_up(tmp_path, "small@canary")
    with pytest.raises(InvalidArtifact, match="there are: small"):
        look_up(tmp_path, "large")
    with pytest.raises(InvalidArtifact, match="no version 9"):
        set_label(tmp_path, "small", "stable", 9)


def test_altered_weights_are_refused(tmp_path, draft, lifter):
    folder = publish(tmp_path, draft, lifter)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(InvalidArtifact, match="SHA-256 differs"):
        load_artifact(folder)
    with pytest.raises(InvalidArtifact, match="SHA-256 differs"):
        verify(folder)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("format_version", 2, "format_version"),
        ("surprise", 1, "surprise"),
        ("frame_rate_hz", 0, "frame_rate_hz"),
        ("input_skeleton", "coco18", "Unknown skeleton 'coco18'"),
        ("output_skeleton", "coco17", "which has none"),
        ("screen", {"width_px": 10}, "both its width and its height"),
        ("name", "../up", "name"),
        ("name", "other", "must lie in other/1"),
        ("version", 7, "must lie in small/7"),
        ("system", "octopus", "'octopus' is not known"),
        ("network", {"frames": 9, "surprise": 1}, "no setting 'surprise'"),
        ("network", {"channels": 16}, "needs the setting 'frames'"),
        ("network", {"frames": [27]}, r"not \[27\]"),
        ("network", {"frames": 27.0}, "not 27.0"),
        ("network", {"frames": 9, "layers": True}, "layers must be a whole number"),
        ("network", {"frames": 9, "mask_token": "no"}, "mask_token must be true or false"),
    ],
)
@pytest.mark.parametrize("read", [load_artifact, verify, read_manifest])
def test_a_foreign_manifest_is_refused_by_name(tmp_path, draft, lifter, field, value, sentence, read):
    file = publish(tmp_path, draft, lifter) / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(InvalidArtifact, match=sentence):
        read(file.parent)


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


def test_a_missing_artifact_or_broken_labels_say_so(tmp_path, draft, lifter):
    with pytest.raises(InvalidArtifact, match="There is no artifact"):
        read_manifest(tmp_path / "none" / "1")
    publish(tmp_path, draft, lifter)
    (tmp_path / "small" / "labels.json").write_text('["stable"]')
    with pytest.raises(InvalidArtifact, match="labels"):
        list_artifacts(tmp_path)
