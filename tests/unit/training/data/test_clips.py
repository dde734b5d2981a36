"""The stored form of motion capture."""

import json

import numpy as np
import pytest
from poselift_training.data.clips import write_clips
from poselift_training.data.mocap import Motion

from poselift.errors import InvalidDataset
from tests.unit.training.data.recorded import clip


def test_clips_are_stored_in_millimetres_on_the_floor(tmp_path):
    write_clips(tmp_path / "one.npz", [clip()])
    index = json.loads((tmp_path / "index.json").read_text())
    (entry,) = index["clips"]
    with np.load(tmp_path / entry["shard"]) as shard:
        stored = shard[entry["key"]]
    assert stored.dtype == np.int16
    assert stored.shape == (entry["frames"], 17, 3)
    np.testing.assert_allclose(stored / 1000, clip().joints, atol=5.1e-4)
    assert stored[:, [3, 6], 2].min() == 85
    assert index["splits"]["train"] == {"clips": 1, "frames": 50, "minutes": 0.02, "subjects": ["05"]}
    assert 0.35 < index["bone_lengths_m"]["05"][1] < 0.5


def test_the_index_has_the_format_of_the_published_data_sets(shared, tmp_path):
    write_clips(tmp_path / "one.npz", [clip()])
    ours = json.loads((tmp_path / "index.json").read_text())
    published = json.loads((shared / "data/mocap_open/index.json").read_text())
    for field in ("format", "fps", "joints", "parents"):
        assert ours[field] == published[field]
    assert ours.keys() == published.keys()
    assert ours["clips"][0].keys() <= published["clips"][0].keys()


def test_a_shard_written_again_replaces_the_old_one(tmp_path):
    write_clips(tmp_path / "one.npz", [clip("a"), clip("b")])
    write_clips(tmp_path / "two.npz", [clip("c", split="val")])
    write_clips(tmp_path / "one.npz", [clip("b")])
    index = json.loads((tmp_path / "index.json").read_text())
    assert sorted(entry["key"] for entry in index["clips"]) == ["S05/b", "S05/c"]
    assert index["splits"].keys() == {"train", "val"}


def test_two_clips_with_one_name_are_refused(tmp_path):
    write_clips(tmp_path / "one.npz", [clip()])
    with pytest.raises(InvalidDataset, match="S05/a"):
        write_clips(tmp_path / "two.npz", [clip()])
    with pytest.raises(InvalidDataset, match="S05/a"):
        write_clips(tmp_path / "one.npz", [clip(), clip()])


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"fps": 30}', '{"fps": 30, "joints": [], "clips": [], "bone_lengths_m": {}}']
)
def test_an_index_of_another_format_is_not_changed(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(InvalidDataset):
        write_clips(tmp_path / "one.npz", [clip()])
    assert (tmp_path / "index.json").read_text() == content
    assert not (tmp_path / "one.npz").exists()


def test_coordinates_beyond_16_bits_are_refused(tmp_path):
    far = clip()
    far.joints[3, 5, 1] = -32.768
    with pytest.raises(InvalidDataset, match=r"S05/a has coordinates beyond 32\.767 m"):
        write_clips(tmp_path / "one.npz", [far])
    assert list(tmp_path.iterdir()) == []
    far.joints[3, 5, 1] = -32.767
    write_clips(tmp_path / "one.npz", [far])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "no JSON"),
        ("{}", "'fps' and a list of 'clips'"),
        ("[]", "'fps' and a list of 'clips'"),
        ('{"fps": "fast", "clips": []}', "'fps' and a list of 'clips'"),
        ('{"fps": 50, "clips": {}}', "'fps' and a list of 'clips'"),
        ('{"fps": 50, "clips": [{"split": "train"}]}', "in its clip 0"),
    ],
)
def test_readers_refuse_a_broken_index(tmp_path, content, complaint):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(InvalidDataset, match=complaint):
        Motion.load(tmp_path, ["train"])
