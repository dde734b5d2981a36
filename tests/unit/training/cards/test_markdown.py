"""A model's card: what stands in it, and that it harms no artifact."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from poselift_training.cards import figures as pictures
from poselift_training.cards.markdown import Card, as_markdown
from poselift_training.cards.measure import write_card
from poselift_training.cards.real_clip import bone_lengths, count_swaps
from poselift_training.data.clips import Clip, write_clips
from poselift_training.evaluation.calibration import Decile
from poselift_training.evaluation.conditions import Series
from poselift_training.evaluation.report import Report, Run, Scores
from typer.testing import CliRunner

from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import set_label
from poselift.cli.app import app
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.skeletons import skeleton

H36M = skeleton("h36m17")
SAMPLE = Path(__file__).parents[4] / "service" / "poselift_service" / "web" / "sample.json"
RECORDED = Path(__file__).parents[3] / "data" / "cmu_05_15_cut.npz"


def run(*arguments: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def carded(published: Path, mocap: Path) -> Path:
    """The folder of an artifact that has got a card."""
    options = ["--model", "untrained@stable", "--models", published, "--data", "mocap", "--root", mocap]
    said = run("evaluate", *options, "--report", "--beside", "other", "--clip", SAMPLE, "--device", "cpu")
    folder = published / "untrained" / "1"
    assert said.strip() == str(folder / "card.md")
    return folder


def section(card: str, heading: str) -> list[str]:
    """The rows of the first table under a heading."""
    table = card.partition(f"## {heading}\n")[2].partition("\n| ")[2].partition("\n\n")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][1:]


def test_a_card_has_every_table(carded: Path) -> None:
    card = (carded / "card.md").read_text()
    assert card.startswith("# untrained, version 1\n")
    assert "data.stride 3" in card
    assert "nowhere (none)" in card
    assert "runs runs" not in card
    scores = section(card, "Scores, test split")
    assert len(scores) == 2 * 6 + 2 + 2
    heading = card.partition("## Scores")[2].split("| ---")[0].splitlines()[-1]
    assert [cell.strip() for cell in heading.split("|")[2:-1]] == [
        "plain",
        "mirrored average",
        "other@1",
        "mean pose",
        "flat figure",
    ]
    # The other network is the very same one.
    assert [cell.strip() for cell in scores[-1].split("|")][1:5:3] == [
        "MPJPE of this model (plain) against it, detector-like, %",
        "+0.0",
    ]
    names = {
        "Errors of the keypoints": ["exact", "Gaussian, 0.01", "Gaussian, 0.03", "Gaussian, 0.05", "detector-like"],
        "Lookahead": ["0 frames", "5 frames", "full"],
        "Missing joints": ["0 %", "10 %", "20 %", "40 %", "left arm", "right arm", "left leg", "right leg"],
        "Frame rate, exact keypoints": ["15 fps", "25 fps", "30 fps", "50 fps", "60 fps"],
        "Frame rate, detector-like keypoints": ["15 fps", "25 fps", "30 fps", "50 fps", "60 fps"],
        "By source": ["one", "two"],
        "By action": ["one: dance", "two: dance"],
    }
    for title, expected in names.items():
        assert [row.split("|")[1].strip() for row in section(card, title)] == expected
    for title in ("By camera looking down", "By distance"):
        assert sum(int(row.split("|")[2]) for row in section(card, title)) == 100
    assert len(section(card, "A real clip")) == 3
    assert "| hip to knee | " in card
    assert "Expected errors" not in card


def test_a_card_tells_how_to_measure_it_again_without_folders_of_this_machine(carded: Path, mocap: Path) -> None:
    card = (carded / "card.md").read_text()
    assert (
        "poselift evaluate --model untrained@1 --data mocap --root recorded --split test --report --beside other@1 "
        "--clip sample.json\n" in card
    )
    assert str(mocap.parent) not in card


def test_all_pictures_of_a_card_are_there(carded: Path) -> None:
    card = (carded / "card.md").read_text()
    for name in ("card-conditions.svg", "card-clip.svg"):
        assert f"]({name})" in card
        assert (carded / name).read_text().rstrip().endswith("</svg>")
    assert not (carded / "card-expected-error.svg").exists()


def test_an_artifact_with_a_card_is_as_before(carded: Path, tmp_path: Path) -> None:
    repository = carded.parents[1]
    assert run("models", "verify", "untrained", "--models", repository) == "untrained@1 is intact\n"
    assert run("models", "list", "--models", repository).split() == ["other@1", "untrained@1", "stable"]
    run("models", "copy", "untrained", "--models", repository, "--out", tmp_path)
    for file in carded.iterdir():
        assert (tmp_path / "untrained" / "1" / file.name).read_bytes() == file.read_bytes()
    shutil.copytree(carded, tmp_path / "again" / "untrained" / "1")
    assert len(json.loads(run("lift", SAMPLE, "--models", tmp_path / "again"))["poses"]) == 100


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
    report = Report("untrained@1", "mocap", "test", "As ever.", 1_000_000, 2_000_000, runs)
    series = {"Lookahead": Series({"0 frames": scores(112), "full": scores(100)}, "full", "Live.")}
    tenths = tuple(Decile(10, 10.0 * number, 11.0 * number) for number in range(1, 11))
    return Card(manifest, report, (), series, {"exact": tenths, "detector-like": tenths}, None, "poselift evaluate")


def test_costs_and_calibration_are_told(card: Card) -> None:
    text = as_markdown(card)
    assert [row.split("|")[-2].strip() for row in section(text, "Lookahead")] == ["+12.0", ""]
    assert "velocity" not in text.partition("## Lookahead")[2].partition("## ")[0]
    tenths = section(text, "Expected errors")
    assert len(tenths) == 10
    assert tenths[2] == "| 3 | 30.0 | 33.0 | 0.91 | 30.0 | 33.0 | 0.91 |"


def test_what_somebody_wrote_above_stays(card: Card, tmp_path: Path) -> None:
    write_card(tmp_path, card)
    assert (tmp_path / "card-expected-error.svg").exists()
    file = tmp_path / "card.md"
    before, pictures = file.read_text(), (tmp_path / "card-conditions.svg").read_bytes()
    file.write_text(before.replace("version 1\n", "version 1\n\nGood for trying things out.\n", 1))
    write_card(tmp_path, card)
    assert file.read_text() == before.replace("version 1\n", "version 1\n\nGood for trying things out.\n", 1)
    assert (tmp_path / "card-conditions.svg").read_bytes() == pictures
    assert not list(tmp_path.glob(".*"))


def test_a_panel_that_is_left_over_is_not_drawn(card: Card) -> None:
    drawn, left_over = pictures.series(card.series).axes
    assert drawn.axison
    assert [label.get_text() for label in drawn.get_yticklabels()] == ["0 frames", "full"]
    assert not left_over.axison


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--data", "h36m", "--report"], "--report needs --data mocap"),
        (["--data", "mocap", "--beside", "other"], "so they need --report"),
        (["--data", "mocap", "--report", "--beside", "nobody"], "no model 'nobody'"),
        (["--data", "mocap", "--report", "--clip", "nothing.json"], "nothing.json: it cannot be read"),
    ],
)
def test_a_card_that_cannot_be_is_refused(published: Path, mocap: Path, options: list[str], complaint: str) -> None:
    said = run("evaluate", "--model", "other", "--models", published, "--root", mocap, *options, code=2)
    assert complaint in said
    assert not (published / "other" / "1" / "card.md").exists()


def test_bones_that_keep_their_length_do_not_deviate() -> None:
    random = np.random.default_rng(0)
    still = np.repeat(random.random((1, 17, 3)), 20, axis=0)
    bones = bone_lengths(still, H36M)
    assert len(bones["hip to knee"]) == 2
    assert len(bones["spine to thorax"]) == 1
    assert sum(len(sides) for sides in bones.values()) == 16
    assert max(bone.deviation_percent for sides in bones.values() for bone in sides) < 1e-9
    left_hip, left_knee = H36M.joint_names.index("left_hip"), H36M.joint_names.index("left_knee")
    growing = still.copy()
    growing[:, left_knee] = growing[:, left_hip] + np.linspace(0.9, 1.1, 20)[:, None] * [0, 0.4, 0]
    left, right = bone_lengths(growing, H36M)["hip to knee"]
    assert left.mean_m == pytest.approx(0.4)
    assert left.deviation_percent == pytest.approx(100 * np.linspace(0.9, 1.1, 20).std())
    assert right.deviation_percent < 1e-9


def test_sides_that_change_places_are_counted() -> None:
    random = np.random.default_rng(0)
    joints = random.random((1, 17, 3)) + 0.01 * random.random((20, 17, 3))
    assert set(count_swaps(joints, H36M).values()) == {0}
    wrists = [H36M.joint_names.index(f"{side}_wrist") for side in ("left", "right")]
    joints[7:9, wrists] = joints[7:9, wrists[::-1]]
    swaps = count_swaps(joints, H36M)
    assert swaps["wrist"] == 2
    assert sum(swaps.values()) == 2
