"""`poselift data`."""

import json

import numpy as np

from tests.unit.cli.running import BVH, run


def test_bvh_recordings_are_converted_to_clips(tmp_path):
    said = run(
        "data", "bvh", BVH, "--out", tmp_path / "own.npz", "--unit-m", 0.0254 / 0.45, "--skip", 1, "--subject", "05"
    )
    assert "1 clips, 50 frames" in said.stdout
    (entry,) = json.loads((tmp_path / "index.json").read_text())["clips"]
    assert entry["key"] == "S05/cmu_05_15_cut"
    with np.load(tmp_path / "own.npz") as shard:
        assert shard[entry["key"]].shape == (50, 17, 3)
