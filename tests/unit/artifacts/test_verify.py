"""What is refused: altered weights, and manifests that are wrong or missing."""

import json

import pytest

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts
from poselift.artifacts.verify import read_manifest, verify
from poselift.errors import InvalidArtifact


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
        ("input_skeleton", "coco19", "Unknown skeleton 'coco19'"),
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
def test_an_invalid_manifest_is_refused_by_field(tmp_path, draft, lifter, field, value, sentence, read):
    file = publish(tmp_path, draft, lifter) / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(InvalidArtifact, match=sentence):
        read(file.parent)


def test_a_missing_artifact_is_reported(tmp_path):
    with pytest.raises(InvalidArtifact, match="There is no artifact"):
        read_manifest(tmp_path / "none" / "1")


LABELS = [
    '["stable"]',
    '{"stable": 1e309}',
    '{"stable": "1"}',
    '{"stable": null}',
    "{",
    "[" * 100_000,
    '{"a":' * 100_000,
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: labels[:20])
def test_broken_labels_are_reported(tmp_path, draft, lifter, labels):
    publish(tmp_path, draft, lifter)
    (tmp_path / "small" / "labels.json").write_text(labels)
    with pytest.raises(InvalidArtifact, match="The labels in"):
        list_artifacts(tmp_path)
