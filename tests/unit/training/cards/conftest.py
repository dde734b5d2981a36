"""A model with a card, measured on a real recording."""

from pathlib import Path

import numpy as np
import pytest
import torch
from poselift_training.cards.markdown import Card
from poselift_training.data.clips import Clip, write_clips
from poselift_training.evaluation.calibration import Decile
from poselift_training.evaluation.conditions import Series
from poselift_training.evaluation.report import Report, Run, Scores

from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import set_label
from poselift.lifters.pstmo.network import STMO, STMOConfig
from tests.unit.training.cards.command_line import SAMPLE, run

RECORDED = Path(__file__).parents[3] / "data" / "cmu_05_15_cut.npz"


@pytest.fixture(scope="session")
def mocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a real recording, twice, in both of the splits that a card needs."""
    root = tmp_path_factory.mktemp("somewhere") / "recorded"
    root.mkdir()
    with np.load(RECORDED) as arrays:
        world = arrays["pos17"]
    clips = [
        Clip(f"{split}-{source}", "05", world, split=split, source=source, licence="none", action="dance")
        for split in ("train", "test")
        for source in ("one", "two")
    ]
    write_clips(root / "clips.npz", clips)
    return root


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("models")
    for name in ("untrained", "other"):
        draft = Manifest.model_validate(
            {
                "name": name,
                "system": "pstmo",
                "network": {},
                "input_skeleton": "h36m17",
                "output_skeleton": "h36m17",
                "frame_rate_hz": 50,
                "temporal_stride": 3,
                "missing_joints": "token",
                "recipe": {"steps": 7, "data": {"stride": 3}, "runs": "runs"},
                "data": [{"source": "nowhere", "licence": "none"}],
            }
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = STMOConfig(frames=9, channels=16, hidden=32, layers=1, mask_token=True)
            publish(repository, draft, STMO(config).eval())
    set_label(repository, "untrained", "stable", 1)
    return repository


@pytest.fixture(scope="session")
def carded(published: Path, mocap: Path) -> Path:
    """The folder of an artifact that has got a card."""
    options = ["--model", "untrained@stable", "--models", published, "--data", "mocap", "--root", mocap]
    said = run("evaluate", *options, "--report", "--beside", "other", "--clip", SAMPLE, "--device", "cpu")
    folder = published / "untrained" / "1"
    assert said.strip() == str(folder / "card.md")
    return folder


def scores(mpjpe_mm: float) -> Scores:
    return Scores(10, mpjpe_mm, mpjpe_mm / 2, mpjpe_mm / 1.5, float("nan"), 90, 60)


@pytest.fixture
def card(carded: Path) -> Card:
    """Made-up numbers of a network that knows how far off it is."""
    manifest = Manifest.model_validate_json((carded / "manifest.json").read_bytes())
    runs = tuple(
        Run(kind, poses, scores(100), {"source": {"one": scores(100)}}, None)
        for kind in ("exact", "detector-like")
        for poses in ("plain", "mean pose", "flat figure")
    )
    report = Report("untrained@1", "mocap", "test", "As ever.", 1_000_000, 2_000_000, 3_000_000, runs)
    series = {"Lookahead": Series({"0 frames": scores(112), "full": scores(100)}, "full", "Live.")}
    tenths = tuple(Decile(10, 10.0 * number, 11.0 * number) for number in range(1, 11))
    calibration = {"exact": tenths, "detector-like": tenths}
    return Card(manifest, report, (), series, calibration, None, "poselift evaluate", split_shares_people=False)
