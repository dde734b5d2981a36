"""The sizes of a network are compared with its weights before anything of that size is allocated."""

import hashlib
import json
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.publish import publish
from poselift.artifacts.verify import read_manifest, verify
from poselift.artifacts.weights import check_header
from poselift.errors import InvalidArtifact

READERS = [load_artifact, verify, lambda folder: check_header(folder, read_manifest(folder))]


@pytest.fixture
def folder(tmp_path, draft, lifter) -> Path:
    return publish(tmp_path, draft, lifter)


def rewrite(folder: Path, *, weights: bytes | None = None, **fields: Any) -> None:
    """Replace fields of a manifest, and the weights with their digest."""
    manifest = {**json.loads((folder / "manifest.json").read_text()), **fields}
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
        manifest["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def with_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    rewrite(folder, weights=safetensors.torch.save(tensors))


HUGE = [
    ("pstmo", {"frames": 9, "layers": 20_000}, "layers must be"),
    ("pstmo", {"frames": 9, "channels": 1_000_000}, "channels must be"),
    ("pstmo", {"frames": 9, "hidden": 10**30}, "hidden must be"),
    ("pstmo", {"frames": 351, "channels": 65_536, "hidden": 65_536, "layers": 256, "mask_token": True}, "do not fit"),
    ("mixste", {"frames": 4096, "channels": 65_536, "hidden": 65_536, "layers": 256, "mask_token": True}, "do not fit"),
    ("mixste", {"frames": 10**9}, "frames must be"),
    ("mpm", {"frames": 9, "joints_in": 10**6}, "joints_in must be"),
    ("mpm-completion", {"frames": 9, "hidden": 65_536, "channels": 65_536, "heads": 65_536}, "do not fit"),
    ("pstmo", {"frames": 9, "channels": 1, "heads": 1}, "channels must be"),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("system", "network", "sentence"), HUGE)
def test_a_huge_network_is_refused_before_it_is_built(folder, system, network, sentence, read):
    rewrite(folder, system=system, network=network)
    started_s, before_kb = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidArtifact, match=sentence):
        read(folder)
    assert time.monotonic() - started_s < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("frames_head.norm.weight", torch.zeros(1)),
        ("surprise", torch.zeros(2)),
        ("embedding.mask_token", torch.zeros(2, dtype=torch.int32)),
        ("embedding.mask_token", torch.zeros(2, 1)),
    ],
)
def test_tensors_of_another_size_or_kind_are_refused_by_name(folder, name, numbers, read):
    with_tensors(folder, lambda tensors: tensors.update({name: numbers}))
    with pytest.raises(InvalidArtifact, match=f"do not fit the network of its manifest: {name}"):
        read(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("read", [load_artifact, verify])
def test_weights_that_are_not_finite_are_refused_by_name(folder, number, read):
    with_tensors(folder, lambda tensors: tensors["embedding.mask_token"].fill_(number))
    with pytest.raises(InvalidArtifact, match=r"not finite: embedding\.mask_token"):
        read(folder)


def test_weights_of_lower_precision_are_loaded(folder):
    with_tensors(
        folder,
        lambda tensors: tensors.update({name: t.half() for name, t in tensors.items() if t.is_floating_point()}),
    )
    assert load_artifact(folder).lifter.receptive_field == 9


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"input_skeleton": "coco17", "output_skeleton": "mpi17"}, None),
        ({"input_skeleton": "body25"}, "17 joints, and the skeleton body25"),
    ],
)
def test_the_joints_are_those_of_the_skeletons(folder, fields, sentence):
    rewrite(folder, **fields)
    if sentence is None:
        load_artifact(folder)
        return
    with pytest.raises(InvalidArtifact, match=sentence):
        load_artifact(folder)


HEADERS = {
    "empty": b"",
    "short": b"\x01",
    "a header of exabytes": struct.pack("<Q", 2**62),
    "no JSON": struct.pack("<Q", 3) + b"[[[",
    "a list": struct.pack("<Q", 2) + b"[]",
    "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "a tensor without a shape": struct.pack("<Q", 7) + b'{"a":1}',
    "a shape of texts": struct.pack("<Q", 53) + b'{"a":{"dtype":"F32","shape":["x"],"data_offsets":[]}}',
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("read", READERS)
def test_a_file_without_a_header_of_tensors_is_refused(folder, header, read):
    rewrite(folder, weights=HEADERS[header])
    with pytest.raises(InvalidArtifact, match="no safetensors file"):
        read(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ["frame_rate_hz", "unit_m"])
def test_numbers_of_a_manifest_are_finite(folder, field, number):
    text = (folder / "manifest.json").read_text()
    rewritten = {**json.loads(text), field: "HERE"}
    (folder / "manifest.json").write_text(json.dumps(rewritten).replace('"HERE"', number))
    with pytest.raises(InvalidArtifact, match="is not valid"):
        read_manifest(folder)
