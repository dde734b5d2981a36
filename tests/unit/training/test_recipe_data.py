import json
from dataclasses import replace
from pathlib import Path

import pytest
from poselift_training.data import Batch
from poselift_training.recipe import DataSource, MocapData, Publication
from poselift_training.recipe_data import TrainingData, data_sources, held_out_parts

from poselift.errors import InvalidDataset


class NoBatches:
    steps_per_epoch = 1

    def batch(self, step: int) -> Batch:
        raise NotImplementedError


def test_the_recipe_takes_precedence_over_the_sources_in_the_data() -> None:
    data = TrainingData(NoBatches(), NoBatches(), 50.0, 1.0, (("A", "terms"), ("B", "terms"), ("B", "more terms")))
    publication = Publication(data=(DataSource("C", "none"), DataSource("A", "the terms of A")))
    before = (DataSource("A", "as it was"), DataSource("D", "terms of D"))
    said = [(source.source, source.licence) for source in data_sources(publication, data, before)]
    assert said == [
        ("C", "none"),
        ("A", "the terms of A"),
        ("B", "terms"),
        ("B", "more terms"),
        ("D", "terms of D"),
    ]


def index(root: Path, **subjects: str) -> str:
    common = {"action": "walk", "key": "k", "licence": "none", "shard": "s.npz", "source": "CMU"}
    clips = [common | {"subject": subject, "split": split} for subject, split in subjects.items()]
    root.mkdir()
    (root / "index.json").write_text(json.dumps({"fps": 50, "clips": clips}))
    return str(root)


def test_held_out_people_are_found_in_every_folder_and_split(tmp_path: Path) -> None:
    first, second = index(tmp_path / "first", A="train", B="val", C="test"), index(tmp_path / "second", D="train")
    data = MocapData("mocap", first, also=(second,), held_out=("D", "B"))
    assert held_out_parts(data) == [(first, "val", ("B",)), (second, "train", ("D",))]
    assert held_out_parts(replace(data, held_out=())) == []
    with pytest.raises(InvalidDataset, match="no subject C"):  # the recipe does not read the test split
        held_out_parts(replace(data, held_out=("C",)))
