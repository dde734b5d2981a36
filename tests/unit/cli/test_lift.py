"""`poselift lift`: what it prints and writes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.publish import publish
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.lifters.pstmo.network import STMO
from poselift.lifting import lift
from tests.unit.cli.running import CONFIG, ROUNDED_M, SAMPLE, run


def test_lift_prints_the_poses_of_the_library(models):
    answer = json.loads(run("lift", SAMPLE, "--models", models).stdout)
    ((_, sequence, *_),) = read_keypoints(SAMPLE).tracks
    artifact = load_artifact(models / "untrained-9" / "1")
    expected = lift(artifact, sequence)
    np.testing.assert_allclose(answer["poses"], expected.joints, atol=ROUNDED_M)
    assert answer["imputed"] == expected.imputed.tolist()
    assert answer["model"] == {"name": "untrained-9", "version": 1, "digest": artifact.manifest.digest}
    assert answer["skeleton"] == "h36m17"
    assert answer["unit"] == "m"
    assert len(answer["joint_names"]) == 17


def test_lift_writes_json_and_arrays(models, tmp_path):
    run("lift", SAMPLE, "--models", models, "-o", tmp_path / "poses.json")
    run("lift", SAMPLE, "--model", models / "untrained-9" / "1", "-o", tmp_path / "poses.npz")
    answer = json.loads((tmp_path / "poses.json").read_text())
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["poses"], answer["poses"], atol=ROUNDED_M)
        assert arrays["imputed"].shape == (100, 17)
        assert arrays["joint_names"].tolist() == answer["joint_names"]
        assert arrays["model"] == "untrained-9@1"


def test_lift_writes_the_expected_errors_that_a_network_estimates(models, tmp_path):
    draft = load_artifact(models / "untrained-9" / "1").manifest.model_copy(update={"name": "knowing", "network": {}})
    publish(tmp_path, draft, STMO(replace(CONFIG, expected_error=True)).eval())
    answer = json.loads(run("lift", SAMPLE, "--models", tmp_path).stdout)
    run("lift", SAMPLE, "--models", tmp_path, "-o", tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        assert arrays["expected_error_m"].shape == (100, 17)
        np.testing.assert_allclose(arrays["expected_error_m"], answer["expected_error_m"], atol=ROUNDED_M)
    assert "expected_error_m" not in json.loads(run("lift", SAMPLE, "--models", models).stdout)


def test_lift_warns_of_what_is_likely_wrong(models, tmp_path):
    document = json.loads(SAMPLE.read_text())
    turned = document | {"image_size": document["image_size"][::-1]}
    (tmp_path / "turned.json").write_text(json.dumps(turned))
    (tmp_path / "strict.json").write_text(json.dumps(turned | {"strict": True}))
    lifted = run("lift", tmp_path / "turned.json", "--models", models)
    assert "turned.json: warning: " in lifted.stderr
    (warning,) = json.loads(lifted.stdout)["warnings"]
    assert (warning["code"], warning["path"]) == ("picture_turned", "image_size")
    assert warning["message"] in lifted.stderr
    run("lift", tmp_path / "turned.json", "--models", models, "-o", tmp_path / "poses.json")
    assert json.loads((tmp_path / "poses.json").read_text())["warnings"] == [warning]
    assert "image_size (--image-size) is the width and then the height." in lifted.stderr
    for arguments in (("turned.json", "--strict"), ("strict.json",)):
        refused = run("lift", tmp_path / arguments[0], *arguments[1:], "--models", models, code=2)
        assert refused.stderr.count("\n") == 1
        assert "image_size (--image-size) is the width" in refused.stderr
    assert run("lift", SAMPLE, "--models", models, "--strict").stderr == ""


def test_lift_shares_of_the_picture(models, tmp_path):
    document = json.loads(SAMPLE.read_text())
    width, height = document["image_size"]
    document["keypoints"] = [
        frame and [joint and [joint[0] / width, joint[1] / height, joint[2]] for joint in frame]
        for frame in document["keypoints"]
    ]
    (tmp_path / "shares.json").write_text(json.dumps(document))
    (tmp_path / "said.json").write_text(json.dumps(document | {"coordinates": "normalised"}))
    refused = run("lift", tmp_path / "shares.json", "--models", models, code=2)
    assert "--coordinates normalised" in refused.stderr
    expected = json.loads(run("lift", SAMPLE, "--models", models).stdout)["poses"]
    for arguments in (("shares.json", "--coordinates", "normalised"), ("said.json",)):
        lifted = json.loads(run("lift", tmp_path / arguments[0], *arguments[1:], "--models", models).stdout)
        np.testing.assert_allclose(lifted["poses"], expected, atol=2 * ROUNDED_M)


def test_lift_several_people(models, tmp_path):
    document = json.loads(SAMPLE.read_text())
    frames = document.pop("keypoints")
    document["tracks"] = [{"track_id": name, "keypoints": frames[:20]} for name in ("7", "8")]
    (tmp_path / "tracks.json").write_text(json.dumps(document))
    answer = json.loads(run("lift", tmp_path / "tracks.json", "--models", models).stdout)
    assert [track["track_id"] for track in answer["tracks"]] == ["7", "8"]
    assert "poses" not in answer
    run("lift", tmp_path / "tracks.json", "--models", models, "-o", tmp_path / "tracks.npz")
    with np.load(tmp_path / "tracks.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["8/poses"], answer["tracks"][1]["poses"], atol=ROUNDED_M)


def test_lift_reports_the_first_frame_number(models, tmp_path):
    document = json.loads(SAMPLE.read_text())
    results = [
        {"image_id": f"{15 + frame}.jpg", "keypoints": np.ravel(joints).tolist()}
        for frame, joints in enumerate(document["keypoints"][:5])
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    options = ["--models", models, "--fps", "25", "--image-size", "640x480"]
    result = run("lift", tmp_path / "results.json", *options)
    assert "starts with frame 15" in result.stderr
    assert json.loads(result.stdout)["first_frame"] == 15
    run("lift", tmp_path / "results.json", *options, "-o", tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as arrays:
        assert arrays["first_frame"] == 15


def test_the_mirrored_average_changes_the_poses(models):
    plain = json.loads(run("lift", SAMPLE, "--models", models).stdout)
    averaged = json.loads(run("lift", SAMPLE, "--models", models, "--mirrored-average").stdout)
    assert np.abs(np.subtract(plain["poses"], averaged["poses"])).max() > 10 * ROUNDED_M


def test_options_override_the_file(models):
    answer = run("lift", SAMPLE, "--models", models, "--fps", "30", "--image-size", "1920x1080")
    assert answer.stdout != run("lift", SAMPLE, "--models", models).stdout
    refused = run("lift", SAMPLE, "--models", models, "--skeleton", "mediapipe33", code=2)
    assert "not the 33 of mediapipe33" in refused.stderr


@pytest.mark.parametrize(("weight", "sentence"), [(np.nan, "weights in"), (3e38, "numbers that are not finite")])
def test_a_network_that_cannot_answer_is_refused(tmp_path, models, weight, sentence):
    torch.manual_seed(0)
    lifter = STMO(CONFIG)
    lifter.centre_head.norm.bias.data.fill_(weight)
    artifact = load_artifact(models / "untrained-9" / "1")
    publish(tmp_path, artifact.manifest.model_copy(update={"version": 0}), lifter)
    assert sentence in run("lift", SAMPLE, "--models", tmp_path, code=2).stderr


def test_lift_chooses_a_person(models, tmp_path):
    document = json.loads(SAMPLE.read_text())
    frames = document.pop("keypoints")
    document["tracks"] = [
        {"track_id": "7", "keypoints": [None, *frames[:9]]},
        {"track_id": "8", "keypoints": frames[:10]},
    ]
    path = tmp_path / "tracks.json"
    path.write_text(json.dumps(document))
    for choice in ("first", "longest", "8"):
        answer = json.loads(run("lift", path, "--models", models, "--person", choice).stdout)
        assert [track["track_id"] for track in answer["tracks"]] == ["8"]
    refusal = run("lift", path, "--models", models, "--person", "9", code=2).stderr
    assert "no person '9'; there are 7, 8, and all, largest, longest, first" in refusal
