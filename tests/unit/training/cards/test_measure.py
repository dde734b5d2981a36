"""Measuring and writing a card: it has every table and harms no artifact."""

import json
import shutil
from pathlib import Path

import pytest
from poselift_training.cards.markdown import Card
from poselift_training.cards.measure import write_card

from tests.unit.training.cards.command_line import SAMPLE, run
from tests.unit.training.cards.tables import rows_under


def test_a_card_has_every_table(carded: Path) -> None:
    card = (carded / "card.md").read_text()
    assert card.startswith("# untrained, version 1\n")
    assert "data.stride 3" in card
    assert "nowhere (none)" in card
    assert "runs runs" not in card
    scores = rows_under(card, "Scores, test split")
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
        assert [row.split("|")[1].strip() for row in rows_under(card, title)] == expected
    for title in ("By camera looking down", "By distance"):
        assert sum(int(row.split("|")[2]) for row in rows_under(card, title)) == 100
    assert len(rows_under(card, "A real clip")) == 3
    assert "| hip to knee | " in card
    assert "Expected errors" not in card


def test_a_card_names_the_command_that_repeats_it_without_local_folders(carded: Path, mocap: Path) -> None:
    card = (carded / "card.md").read_text()
    assert (
        "poselift evaluate --model untrained@1 --data mocap --root recorded --split test --report --beside other@1 "
        "--clip sample.json\n" in card
    )
    assert str(mocap.parent) not in card


def test_all_pictures_of_a_card_exist(carded: Path) -> None:
    card = (carded / "card.md").read_text()
    for name in ("card-conditions.svg", "card-clip.svg"):
        assert f"]({name})" in card
        assert (carded / name).read_text().rstrip().endswith("</svg>")
    assert not (carded / "card-expected-error.svg").exists()


def test_a_card_does_not_change_its_artifact(carded: Path, tmp_path: Path) -> None:
    repository = carded.parents[1]
    assert run("models", "verify", "untrained", "--models", repository) == "untrained@1 is intact\n"
    assert run("models", "list", "--models", repository).split() == ["other@1", "untrained@1", "stable"]
    run("models", "copy", "untrained", "--models", repository, "--out", tmp_path)
    for file in carded.iterdir():
        assert (tmp_path / "untrained" / "1" / file.name).read_bytes() == file.read_bytes()
    shutil.copytree(carded, tmp_path / "again" / "untrained" / "1")
    assert len(json.loads(run("lift", SAMPLE, "--models", tmp_path / "again"))["poses"]) == 100


def test_handwritten_text_is_kept(card: Card, tmp_path: Path) -> None:
    write_card(tmp_path, card)
    assert (tmp_path / "card-expected-error.svg").exists()
    file = tmp_path / "card.md"
    before, pictures = file.read_text(), (tmp_path / "card-conditions.svg").read_bytes()
    file.write_text(before.replace("version 1\n", "version 1\n\nGood for trying things out.\n", 1))
    write_card(tmp_path, card)
    assert file.read_text() == before.replace("version 1\n", "version 1\n\nGood for trying things out.\n", 1)
    assert (tmp_path / "card-conditions.svg").read_bytes() == pictures
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--data", "h36m", "--report"], "--report needs --data mocap"),
        (["--data", "mocap", "--beside", "other"], "so they need --report"),
        (["--data", "mocap", "--report", "--beside", "nobody"], "no model 'nobody'"),
        (["--data", "mocap", "--report", "--clip", "nothing.json"], "nothing.json: it cannot be read"),
    ],
)
def test_impossible_cards_are_refused(published: Path, mocap: Path, options: list[str], complaint: str) -> None:
    said = run("evaluate", "--model", "other", "--models", published, "--root", mocap, *options, code=2)
    assert complaint in said
    assert not (published / "other" / "1" / "card.md").exists()
