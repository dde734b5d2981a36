"""`poselift complete`: what it reads, prints and writes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.pipeline.request import Limits

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.completion import complete
from poselift.lifters.mpm.completion import MPMCompletion, MPMCompletionConfig
from tests.unit.cli.running import ROUNDED_M, run

NAME = "completing-9"


@pytest.fixture(scope="module")
def repository(models: Path) -> Path:
    """The repository with a model that lifts, and an untrained one that completes."""
    torch.manual_seed(1)
    draft = Manifest(
        name=NAME,
        system="mpm-completion",
        network={},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token",
    )
    publish(models, draft, MPMCompletion(MPMCompletionConfig(frames=9, channels=16, hidden=32, layers=1)).eval())
    return models


def person(frames: int = 30, seed: int = 0) -> np.ndarray:
    """Poses [F, 17, 3] in metres; some joints are missing, and some frames."""
    random = np.random.default_rng(seed)
    joints = random.normal(0, 0.3, (1, 17, 3)) + random.normal(0, 0.02, (frames, 17, 3)) + np.array([0.5, 0, 4])
    hidden = random.random((frames, 17)) < 0.3
    hidden[:, 0] = False
    hidden[5:7] = True
    joints[hidden] = np.nan
    return joints


def rows(poses: np.ndarray) -> list[Any]:
    return [
        None if np.isnan(frame).all() else [None if np.isnan(joint).any() else joint.tolist() for joint in frame]
        for frame in poses
    ]


def body(poses: np.ndarray) -> dict[str, Any]:
    return {"poses": rows(poses), "skeleton": "h36m17", "fps": 50}


def written(folder: Path, document: Any, name: str = "poses.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(document))
    return file


def test_the_poses_are_those_of_the_servers_request(repository, tmp_path):
    file = written(tmp_path, body(person()))
    answer = json.loads(run("complete", file, "--model", NAME, "--models", repository).stdout)
    artifact = load_artifact(repository / NAME / "1")
    codec = JsonLiftCodec(JsonReader(Limits(frames=100, tracks=1)))
    (track,) = asyncio.run(codec.read_complete(file.read_bytes())).tracks
    expected = complete(artifact, track.sequence)
    np.testing.assert_allclose(answer["poses"], expected.joints, atol=ROUNDED_M)
    assert answer["imputed"] == expected.imputed.tolist() == np.isnan(person()).any(axis=-1).tolist()
    assert answer["model"] == {"name": NAME, "version": 1, "digest": artifact.manifest.digest}
    assert answer["axes"].endswith("from the origin of the poses that came")


def test_given_joints_are_returned_exactly(repository, tmp_path):
    poses = person() + 0.123456789012345
    answer = json.loads(run("complete", written(tmp_path, body(poses)), "--models", repository).stdout)
    given = ~np.isnan(poses)
    assert (np.array(answer["poses"])[given] == poses[given]).all()


def test_json_and_arrays_are_read_and_written_alike(repository, tmp_path):
    poses = person()
    np.savez(tmp_path / "in.npz", poses=poses, skeleton="h36m17", fps=50)
    run("complete", written(tmp_path, body(poses)), "--models", repository, "-o", tmp_path / "a.json")
    run("complete", tmp_path / "in.npz", "--models", repository, "-o", tmp_path / "b.npz")
    answer = json.loads((tmp_path / "a.json").read_text())
    with np.load(tmp_path / "b.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["poses"], answer["poses"], atol=ROUNDED_M)
        assert arrays["imputed"].tolist() == answer["imputed"]
        assert arrays["model"] == f"{NAME}@1"


def test_several_people_and_their_archive_read_again(repository, tmp_path):
    people = {"7": person(20, 7), "8": person(20, 8)}
    tracks = [{"track_id": name, "poses": rows(poses)} for name, poses in people.items()]
    file = written(tmp_path, {"tracks": tracks, "skeleton": "h36m17", "timestamps_s": (np.arange(20) / 50).tolist()})
    answer = json.loads(run("complete", file, "--models", repository).stdout)
    assert [track["track_id"] for track in answer["tracks"]] == ["7", "8"]
    run("complete", file, "--models", repository, "-o", tmp_path / "tracks.npz")
    again = json.loads(run("complete", tmp_path / "tracks.npz", "--models", repository, "--fps", 50).stdout)
    for track, (name, poses) in zip(again["tracks"], people.items(), strict=True):
        assert track["track_id"] == name
        assert not np.any(track["imputed"])
        given = ~np.isnan(poses)
        assert (np.array(track["poses"])[given] == poses[given]).all()


def test_what_a_lift_says_of_each_person_is_kept(repository, tmp_path):
    tracks = [
        {"track_id": "7", "poses": rows(person(20, 7)), "fps": 25, "first_frame": 40},
        {"track_id": "8", "poses": rows(person(3, 8)), "timestamps_s": [0, 0.1, 0.3]},
    ]
    file = written(tmp_path, {"tracks": tracks, "skeleton": "h36m17"})
    run("complete", file, "--models", repository, "-o", tmp_path / "a.npz")
    answers = [json.loads(run("complete", each, "--models", repository).stdout) for each in (file, tmp_path / "a.npz")]
    for answer in answers:
        first, second = answer["tracks"]
        assert (first["fps"], first["first_frame"]) == (25, 40)
        assert (second["timestamps_s"], second.get("first_frame")) == ([0, 0.1, 0.3], None)


def test_the_first_frame_of_one_person_is_kept(repository, tmp_path):
    file = written(tmp_path, body(person()) | {"first_frame": 15})
    assert json.loads(run("complete", file, "--models", repository).stdout)["first_frame"] == 15


def test_the_mirrored_person_changes_only_what_was_missing(repository, tmp_path):
    file = written(tmp_path, body(person()))
    plain, averaged = (
        np.array(json.loads(run("complete", file, "--models", repository, *options).stdout)["poses"])
        for options in ([], ["--mirrored-average"])
    )
    changed = np.abs(plain - averaged) > 10 * ROUNDED_M
    assert changed.any()
    assert not changed[~np.isnan(person())].any()


def test_options_override_the_file(repository, tmp_path):
    file = written(tmp_path, body(person()))
    plain = run("complete", file, "--models", repository).stdout
    assert run("complete", file, "--models", repository, "--fps", 25).stdout != plain
    bare = written(tmp_path, {"poses": rows(person())}, "bare.json")
    said = run("complete", bare, "--models", repository, "--skeleton", "h36m17", "--fps", 50).stdout
    assert said == plain
    assert "--skeleton" in run("complete", bare, "--models", repository, code=2).stderr
    assert "--fps" in run("complete", bare, "--models", repository, "--skeleton", "h36m17", code=2).stderr


def test_a_model_that_lifts_does_not_complete(repository, tmp_path):
    file = written(tmp_path, body(person()))
    said = run("complete", file, "--model", "untrained-9", "--models", repository, code=2).stderr
    assert "lifts keypoints; here one is needed that completes 3D poses" in said
    lifting = written(
        tmp_path, {"keypoints": [[[1, 2, 1]] * 17], "skeleton": "h36m17", "image_size": [9, 9], "fps": 50}
    )
    said = run("lift", lifting, "--model", NAME, "--models", repository, code=2).stderr
    assert "completes 3D poses; here one is needed that lifts keypoints" in said


def test_without_a_model_that_completes(tmp_path):
    said = run("complete", written(tmp_path, body(person())), "--models", tmp_path, code=2).stderr
    assert "that completes 3D poses you mean; there are: none" in said


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tracks": []}, "give either poses or tracks"),
        ({"poses": []}, "at least one frame"),
        ({"poses": [[[0, 0, 0]] * 16]}, "poses[0] must hold 17 joints, not 16"),
        ({"poses": [[[0, 0, 0]] * 16 + [[0, 0]]]}, "poses[0][16] must be [x, y, z] or null"),
        ({"poses": [[[0, 0, "0"]] * 17]}, "poses[0][0][2] must be a number of metres"),
        ({"poses": [[[0, 0, 2e4]] * 17]}, "poses[0][0][2] must be a number of metres"),
        ({"poses": [[None] + [[0, 0, 0]] * 16]}, "pelvis must be given"),
        ({"skeleton": "octopus8"}, "Unknown skeleton 'octopus8'"),
        ({"skeleton": "mpi17"}, "completes poses of h36m17, not of mpi17"),
        ({"timestamps_s": [0, 1]}, "either fps or timestamps_s"),
        ({"fps": 0}, "fps must be above 0"),
        ({"fps": None, "timestamps_s": [0, 0.1]}, "one time per frame"),
        ({"first_frame": "15"}, "first_frame must be a whole number, not '15'"),
    ],
)
def test_bad_poses_are_refused_by_field(repository, tmp_path, changes, complaint):
    file = written(tmp_path, {**body(person()), **changes})
    said = run("complete", file, "--models", repository, code=2).stderr
    assert complaint in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"keypoints": np.zeros((3, 17, 3))}, "no array poses, only: "),
        ({"poses": np.zeros((3, 17, 2))}, "poses must be numbers [frames, joints, 3]"),
        ({"poses": np.full((3, 17, 3), "x")}, "poses must be numbers"),
        ({"poses": np.zeros((3, 17, 3)), "timestamps_s": np.array(["x"] * 3)}, "timestamps_s must be numbers"),
        ({"poses": np.zeros((3, 17, 3)), "track_ids": np.array(["7"])}, "no array 7/poses"),
    ],
)
def test_bad_archives_of_poses_are_refused_by_array(repository, tmp_path, arrays, complaint):
    np.savez(tmp_path / "in.npz", **{"skeleton": "h36m17", "fps": 50, **arrays})
    assert complaint in run("complete", tmp_path / "in.npz", "--models", repository, code=2).stderr
