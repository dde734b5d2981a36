"""`poselift lift --world` and `poselift refine`: motion in the world from files."""

import json
import math

import numpy as np
import pytest

from poselift.camera_fields import CameraFields, PersonFields
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.lifting import Lifted
from poselift.motion.clip import motion_of
from poselift.motion.world import WorldOptions
from poselift.skeletons import skeleton
from tests.unit.cli.running import ROUNDED_M, SAMPLE, run

NAMES = skeleton("h36m17").joint_names
# Answers are rounded, and refined poses are put into the world from rounded ones.
REFINED_M = 5e-4
SHIPPED = ("--model", "pstmo-tiny-27")


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """What the shipped model says of the sample, with its motion in the world."""
    file = tmp_path_factory.mktemp("lifted") / "lifted.json"
    run("lift", SAMPLE, *SHIPPED, "--world", "--height", 1.8, "--fov", 60, "--pitch", 5, "-o", file)
    return file


def test_lift_puts_people_into_the_world(answer):
    document = json.loads(answer.read_text())
    (track,) = read_keypoints(
        SAMPLE, camera=CameraFields(fov_deg=60, pitch_deg=5), about=PersonFields(height_m=1.8)
    ).tracks
    errors = np.array(document["expected_error_m"], np.float32) if "expected_error_m" in document else None
    lifted = Lifted(np.array(document["poses"], np.float32), np.array(document["imputed"]), errors)
    motion = motion_of(lifted, track.sequence, WorldOptions())
    world = document["world"]
    np.testing.assert_allclose(world["poses"], motion.poses, atol=REFINED_M)
    assert world["height_m"] == pytest.approx(1.8, abs=1e-3)
    assert world["camera"] == {
        "focal_px": pytest.approx(1080 / 2 / math.tan(math.radians(30)), abs=1e-2),
        "given": True,
    }
    down = math.radians(5)
    told = world["gravity"].pop("network")
    assert np.linalg.norm(told["direction"]) == pytest.approx(1, abs=1e-4)
    assert world["gravity"] == {
        "direction": pytest.approx([0, math.cos(down), math.sin(down)], abs=1e-4),
        "uncertainty_deg": 0,
        "given": True,
    }


def test_people_stand_on_the_floor(answer):
    poses = np.array(json.loads(answer.read_text())["world"]["poses"])
    height_m = dict(zip(NAMES, np.median(poses[..., 1], axis=0), strict=True))
    assert 1.3 < height_m["head"] < 1.9
    assert 0.7 < height_m["pelvis"] < 1.1
    assert -0.1 < poses[..., 1].min() < 0.15
    assert np.abs(poses[0, 0, [0, 2]]).max() < ROUNDED_M


def test_refine_does_what_lift_does(answer, tmp_path):
    """With what was known when the answer was lifted: the network takes that, too, and refining leaves its poses."""
    known, shown = ("--height", 1.8, "--fov", 60, "--pitch", 5), ("--up-axis", "z", "--foot-lock", "off")
    run("refine", answer, *shown, "-o", tmp_path / "refined.json")
    run("lift", SAMPLE, *SHIPPED, *known, *shown, "-o", tmp_path / "lifted.json")
    refined, lifted = (json.loads((tmp_path / name).read_text()) for name in ("refined.json", "lifted.json"))
    np.testing.assert_allclose(refined["world"]["poses"], lifted["world"]["poses"], atol=REFINED_M)
    assert refined["world"]["axes"] == lifted["world"]["axes"]
    assert "z up" in refined["world"]["axes"]
    assert_only_the_world_differs(refined, answer)


def test_refine_with_something_else_known_does_what_lift_does_without(models, tmp_path):
    """Of a network that takes nothing but keypoints."""
    known = ("--height", 1.6, "--pitch", 0, "--fov", 70, "--foot-lock", "off")
    for name, options in (("first", ("--world", "--height", 1.8, "--fov", 60, "--pitch", 5)), ("lifted", known)):
        run("lift", SAMPLE, "--models", models, *options, "-o", tmp_path / f"{name}.json")
    run("refine", tmp_path / "first.json", *known, "-o", tmp_path / "refined.json")
    refined, lifted = (json.loads((tmp_path / name).read_text()) for name in ("refined.json", "lifted.json"))
    np.testing.assert_allclose(refined["world"]["poses"], lifted["world"]["poses"], atol=REFINED_M)
    assert refined["world"]["height_m"] == pytest.approx(1.6, abs=1e-3)
    assert_only_the_world_differs(refined, tmp_path / "first.json")


def assert_only_the_world_differs(refined, answer):
    lifted = json.loads(answer.read_text())
    for same in ("model", "poses", "imputed", "fps", "skeleton"):
        assert refined[same] == lifted[same]


def with_network_gravity(answer, told, file):
    """The answer, as if its camera had not been known and its network had told this of gravity."""
    document = json.loads(answer.read_text())
    del document["request"]["camera"]["gravity"]
    document["world"]["gravity"]["network"] = told
    file.write_text(json.dumps(document))
    return file


def test_refine_uses_what_the_network_told_of_gravity(answer, tmp_path):
    down = [0.0, 0.8, 0.6]
    told = {"direction": down, "uncertainty_deg": 1.0}
    kept = with_network_gravity(answer, told, tmp_path / "kept.json")
    gravity = json.loads(run("refine", kept).stdout)["world"]["gravity"]
    assert gravity["network"] == told
    assert not gravity["given"]
    np.testing.assert_allclose(gravity["direction"], down, atol=0.01)


@pytest.mark.parametrize("told", [{"direction": [0, 0, 0], "uncertainty_deg": 1}, {"direction": "down"}, 7])
def test_refine_refuses_what_is_no_gravity(answer, tmp_path, told):
    kept = with_network_gravity(answer, told, tmp_path / "kept.json")
    assert "gravity" in run("refine", kept, code=2).output


def test_refine_keeps_what_is_not_said_anew(answer):
    world = json.loads(run("refine", answer, "--height", 1.2).stdout)["world"]
    assert world["height_m"] == pytest.approx(1.2, abs=1e-3)
    assert (world["gravity"]["given"], world["camera"]["given"]) == (True, True)


def test_refine_takes_keypoints_from_their_file(answer, tmp_path):
    document = json.loads(answer.read_text())
    del document["request"], document["world"]
    (tmp_path / "bare.json").write_text(json.dumps(document))
    assert "--keypoints" in run("refine", tmp_path / "bare.json", code=2).stderr
    options = ("--height", 1.8, "--fov", 60, "--pitch", 5)
    world = json.loads(run("refine", tmp_path / "bare.json", "--keypoints", SAMPLE, *options).stdout)["world"]
    np.testing.assert_allclose(world["poses"], json.loads(answer.read_text())["world"]["poses"], atol=REFINED_M)


def test_without_being_asked_there_is_no_world(models):
    document = json.loads(run("lift", SAMPLE, "--models", models, "--height", 1.8).stdout)
    assert not {"world", "request"} & document.keys()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fov", 60, "--focal", 900), "either --fov or --focal"),
        (("--roll", 3), "--pitch"),
        (("--height", 180), "2.6"),
        (("--focal", 35), "millimetres"),
        (("--foot-lock", "sometimes"), "grounding"),
    ],
)
def test_what_cannot_be_is_refused(models, options, said):
    result = run("lift", SAMPLE, "--models", models, "--world", *options, code=2)
    assert said in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"skeleton": "mpi17"}, "its poses are of mpi17, not of h36m17"),
        ({"poses": [[[0, 0, 0]] * 17]}, "1 poses for keypoints of 100 frames"),
        ({"poses": [[[0, 0, 0]] * 16] * 100}, "poses must be numbers [frames, 17, 3]"),
        ({"poses": "far"}, "poses must be numbers"),
        ({"imputed": [[1]]}, "imputed must be numbers"),
        ({"model": None}, "its model must have"),
        ({"request": {"keypoints": 3}}, "keypoints must be a list"),
    ],
)
def test_answers_that_cannot_be_are_refused(answer, tmp_path, changes, said):
    (tmp_path / "changed.json").write_text(json.dumps(json.loads(answer.read_text()) | changes))
    result = run("refine", tmp_path / "changed.json", code=2)
    assert said in result.stderr, result.stderr
    assert "changed.json" in result.stderr


def test_what_is_no_answer_is_refused(tmp_path):
    (tmp_path / "no.json").write_text("[1]")
    assert "it is no answer of POST /lift" in run("refine", tmp_path / "no.json", code=2).stderr


def test_forms_of_rigs_ask_for_the_world_themselves(answer, models, tmp_path):
    run("lift", SAMPLE, "--models", models, "-o", tmp_path / "lifted.bvh")
    run("refine", answer, "-o", tmp_path / "refined.bvh")
    for name in ("lifted.bvh", "refined.bvh"):
        text = (tmp_path / name).read_text()
        assert text.startswith("HIERARCHY")
        assert "Frames: 100" in text
    run("refine", answer, "-o", tmp_path / "refined.angles.csv")
    assert len((tmp_path / "refined.angles.csv").read_text().splitlines()) == 101
