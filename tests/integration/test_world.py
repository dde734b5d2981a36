"""Motion in the world over all transports, against the core in this process."""

from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.camera import UNKNOWN_CAMERA, Camera, Person, focal_from_fov, gravity_from_angles
from poselift.lifting import Lifted, lift
from poselift.motion.clip import motion_of
from poselift.motion.world import WorldMotion, WorldOptions
from poselift.sequence import Sequence
from tests.integration.conftest import MAX_FRAMES
from tests.integration.transports import Refusal, Transport, World
from tests.integration.walking import COCO, IMAGE_SIZE, at_rate, body, keypoints

FRAMES = 60
# Answers are rounded to 10 micrometres, and networks of servers add in another order.
ROUNDED_M = 2e-4
USUAL = WorldOptions()
CAMERA: dict[str, Any] = {"fov_deg": 65, "pitch_deg": 15, "roll_deg": -4}


def clip(points: NDArray[np.float64] | None = None, **more: Any) -> dict[str, Any]:
    points = keypoints(at_rate(50, FRAMES)) if points is None else points
    return {"keypoints": points, "skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": 50, **more}


def expected(
    artifact: Artifact,
    options: WorldOptions = USUAL,
    *,
    person: int = 0,
    camera: Camera = UNKNOWN_CAMERA,
    height_m: float | None = None,
) -> tuple[Lifted, WorldMotion]:
    points = keypoints(at_rate(50, FRAMES), person=person).astype(np.float32)
    times_s = Sequence.times_at(50, FRAMES)
    width_px, height_px = IMAGE_SIZE
    sequence = Sequence(points, COCO, width_px, height_px, times_s, camera, Person(height_m))
    lifted = lift(artifact, sequence)
    return lifted, motion_of(lifted, sequence, options)


def assert_same(world: World | None, motion: WorldMotion) -> None:
    assert world is not None
    np.testing.assert_allclose(world.poses, motion.poses, atol=ROUNDED_M)
    np.testing.assert_allclose(world.root, motion.root, atol=ROUNDED_M)
    np.testing.assert_allclose(world.contacts, motion.contacts, atol=2e-3)
    assert world.said["unit"] == "m"
    assert world.said["scale"] == pytest.approx(motion.scale, abs=1e-4)
    assert world.said["height_m"] == pytest.approx(motion.height_m, abs=1e-4)
    assert world.said["gravity"]["direction"] == pytest.approx(motion.gravity.direction.tolist(), abs=1e-4)
    assert world.said["gravity"]["uncertainty_deg"] == pytest.approx(motion.gravity.uncertainty_deg, abs=1e-2)
    assert world.said["gravity"]["given"] is motion.gravity.given
    assert world.said["camera"] == {"focal_px": pytest.approx(motion.focal_px, abs=1e-3), "given": motion.focal_given}


KNOWN = Camera(focal_from_fov(65, IMAGE_SIZE[0]), gravity=gravity_from_angles(15, -4))


def test_the_world_is_that_of_the_core(transport: Transport, artifact: Artifact):
    answer = transport.lift(clip(world=True))
    lifted, motion = expected(artifact)
    (person,) = answer.people
    assert_same(person.world, motion)
    assert person.world is not None
    assert (person.world.rotations, person.world.angles) == (None, {})
    assert "y up" in person.world.said["axes"]
    np.testing.assert_allclose(person.joints, lifted.joints, atol=1e-4)


def test_what_is_known_is_used(transport: Transport, artifact: Artifact):
    options = {"up_axis": "z", "foot_lock": "off"}
    answer = transport.lift(clip(world=options, camera=CAMERA, person={"height_m": 1.83}))
    _, motion = expected(artifact, WorldOptions("z", "off"), camera=KNOWN, height_m=1.83)
    (person,) = answer.people
    assert_same(person.world, motion)
    assert person.world is not None
    assert person.world.said["height_m"] == pytest.approx(1.83, abs=1e-4)
    assert person.world.said["gravity"]["given"]
    assert "z up" in person.world.said["axes"]


def test_poses_are_the_same_whatever_is_asked_for(transport: Transport):
    (plain,) = transport.lift(clip()).people
    assert plain.world is None
    (asked,) = transport.lift(clip(world={"rotations": True, "angles": True}, person={"height_m": 1.5})).people
    np.testing.assert_array_equal(asked.joints, plain.joints)


def test_every_track_has_a_world_of_its_own(transport: Transport, artifact: Artifact):
    tracks = [
        {"track_id": "a", "keypoints": keypoints(at_rate(50, FRAMES), person=1), "person": {"height_m": 1.2}},
        {"track_id": "b", "keypoints": keypoints(at_rate(50, FRAMES), person=2)},
    ]
    sent = clip(tracks=tracks, world=True, person={"height_m": 1.9})
    del sent["keypoints"]
    one, other = transport.lift(sent).people
    assert_same(one.world, expected(artifact, person=1, height_m=1.2)[1])
    assert_same(other.world, expected(artifact, person=2, height_m=1.9)[1])


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"world": {"foot_lock": "sometimes"}}, "world.foot_lock"),
        ({"world": {"up_axis": "x"}}, "world.up_axis"),
        ({"world": True, "targets": [0, 1]}, "targets"),
        ({"world": True, "person": {"height_m": 17}}, "person.height_m"),
        ({"world": True, "camera": {"fov_deg": 60, "focal_px": 900}}, "camera"),
    ],
)
def test_what_cannot_be_is_refused(transport: Transport, more: dict[str, Any], path: str):
    with pytest.raises(Refusal) as refused:
        transport.lift(clip(**more))
    assert (refused.value.code, refused.value.path) == ("invalid_request", path)
    assert refused.value.message.endswith(".")


def test_refining_gives_what_lifting_would_have(transport: Transport):
    asked: dict[str, Any] = {
        "world": {"rotations": True, "foot_lock": "grounding"},
        "camera": CAMERA,
        "person": {"height_m": 1.7},
    }
    answer = transport.lift(clip(camera=CAMERA))
    refined = transport.refine(clip(**asked), answer)
    (lifted,) = transport.lift(clip(**asked)).people
    assert lifted.world is not None
    assert refined.keys() == {None}
    np.testing.assert_allclose(refined[None].poses, lifted.world.poses, atol=ROUNDED_M)
    assert refined[None].said["height_m"] == pytest.approx(1.7, abs=1e-4)
    other = transport.refine(clip(person={"height_m": 2.0}), answer)
    assert other[None].said["height_m"] == pytest.approx(2.0, abs=1e-4)


def test_refining_uses_what_the_network_told_of_gravity(transport: Transport):
    answer = transport.lift(clip(world=True))
    (person,) = answer.people
    assert person.world is not None
    person.world.said["gravity"]["network"] = {"direction": [0.0, 0.8, 0.6], "uncertainty_deg": 1.0}
    gravity = transport.refine(clip(), answer)[None].said["gravity"]
    assert gravity["direction"] == pytest.approx([0, 0.8, 0.6], abs=0.01)
    assert gravity["network"]["direction"] == pytest.approx([0, 0.8, 0.6], abs=1e-4)
    assert gravity["network"]["uncertainty_deg"] == pytest.approx(1, abs=1e-2)


def test_refining_tracks_keeps_their_names(transport: Transport):
    tracks = [
        {"track_id": name, "keypoints": keypoints(at_rate(50, FRAMES), person=number)}
        for number, name in enumerate("ab")
    ]
    sent = clip(tracks=tracks)
    del sent["keypoints"]
    answer = transport.lift(sent)
    refined = transport.refine({**sent, "person_choice": "b", "person": {"height_m": 1.5}}, answer)
    assert list(refined) == ["b"]
    assert refined["b"].said["height_m"] == pytest.approx(1.5, abs=1e-4)


def test_an_answer_that_does_not_fit_is_refused(transport: Transport):
    answer = transport.lift(clip())
    with pytest.raises(Refusal) as refused:
        transport.refine(clip(keypoints(at_rate(50, FRAMES + 1))), answer)
    assert refused.value.path == "answer.poses"
    assert f"{FRAMES} poses for {FRAMES + 1} frames" in refused.value.message
    with pytest.raises(Refusal) as refused:
        transport.refine(clip(camera={"fov_deg": 0}), answer)
    assert refused.value.path == "request.camera.fov_deg"


def test_long_bodies_are_refined(client_to_both: httpx.Client):
    points = keypoints(at_rate(50, MAX_FRAMES))
    sent = body(points)
    answer = client_to_both.post("/lift", json=sent).json()
    stored = {"poses": answer["poses"], "expected_error_m": answer.get("expected_error_m")}
    refined = client_to_both.post("/refine", json={"request": sent, "answer": stored})
    assert refined.status_code == 200, refined.text
    assert len(refined.json()["world"]["poses"]) == MAX_FRAMES


def test_a_stored_answer_is_written_to_a_file(client_to_both: httpx.Client):
    points = keypoints(at_rate(50, FRAMES))
    points[3][5] = None
    sent = body(points) | {"person": {"height_m": 1.9}}
    answer = client_to_both.post("/lift", json=body(points)).json()
    call = {"request": sent, "answer": answer}
    plain = client_to_both.post("/refine?format=json&first_frame=7", json=call)
    assert plain.status_code == 200, plain.text
    document = plain.json()
    assert document["poses"] == answer["poses"]
    assert document["imputed"] == answer["imputed"]
    assert np.any(document["imputed"])
    assert document.get("expected_error_m") == answer.get("expected_error_m")
    assert (document["model"], document["first_frame"], "world" in document) == (answer["model"], 7, False)
    world = client_to_both.post("/refine?format=json&world=true", json=call).json()["world"]
    assert world["height_m"] == pytest.approx(1.9, abs=1e-4)
    rig = client_to_both.post("/refine?format=bvh", json=call)
    assert rig.content.startswith(b"HIERARCHY")
    assert "poses.bvh" in rig.headers["content-disposition"]


@pytest.mark.parametrize(
    ("query", "path"), [("format=obj", "format"), ("first_frame=-1", "first_frame"), ("angles=true", "angles")]
)
def test_options_of_a_file_are_checked(client_to_both: httpx.Client, query: str, path: str):
    sent = body(keypoints(at_rate(50, 2)))
    refused = client_to_both.post(f"/refine?{query}", json={"request": sent, "answer": GOOD})
    assert (refused.status_code, refused.json()["error"]["path"]) == (422, path)


@pytest.fixture
def client_to_both(both: Any) -> Any:
    with httpx.Client(base_url=both.address, timeout=60) as client:
        yield client


JOINT = [0.1, 0.2, 0.3]
STANDING = np.random.default_rng(0).normal(0, 0.3, (17, 3)).round(3).tolist()
GOOD = {"poses": [STANDING] * 2}


def told(direction: list[float], uncertainty_deg: float) -> dict[str, Any]:
    return {"gravity": {"network": {"direction": direction, "uncertainty_deg": uncertainty_deg}}}


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        ({}, "answer.poses"),
        ({"poses": [[JOINT] * 16] * 2}, "answer.poses[0]"),
        ({"poses": [[JOINT] * 16 + [None]] * 2}, "answer.poses"),
        ({"poses": [[[0.1, 0.2]] * 17] * 2}, "answer.poses[0][0]"),
        ({"poses": [[[1e9, 0, 0]] * 17] * 2}, "answer.poses[0][0][0]"),
        ({"poses": "far"}, "answer.poses"),
        ({"poses": [[JOINT] * 17] * 2}, "poses"),
        ({**GOOD, "imputed": [[False] * 17]}, "answer.imputed"),
        ({**GOOD, "imputed": [[False] * 16] * 2}, "answer.imputed"),
        ({**GOOD, "imputed": [[0] * 17] * 2}, "answer.imputed"),
        ({**GOOD, "imputed": [None, [True] * 17]}, "answer.imputed"),
        ({**GOOD, "expected_error_m": [[0.1] * 17]}, "answer.expected_error_m"),
        ({**GOOD, "expected_error_m": [[0.1] * 16] * 2}, "answer.expected_error_m"),
        ({**GOOD, "expected_error_m": [[-0.1] * 17] * 2}, "answer.expected_error_m"),
        ({**GOOD, "expected_error_m": [["a"] * 17] * 2}, "answer.expected_error_m[0][0]"),
        ({**GOOD, "world": told([0, 0, 0], 1)}, "answer.world.gravity.network"),
        ({**GOOD, "world": told([0, 1, 0], 181)}, "answer.world.gravity.network.uncertainty_deg"),
        ({**GOOD, "world": told([0, 1], 1)}, "answer.world.gravity.network.direction"),
        ({"tracks": [{"track_id": "x", **GOOD}]}, "answer"),
    ],
)
def test_stored_answers_are_checked(client_to_both: httpx.Client, answer: dict[str, Any], path: str):
    sent = body(keypoints(at_rate(50, 2)))
    refused = client_to_both.post("/refine", json={"request": sent, "answer": answer})
    assert refused.status_code == 422, refused.text
    error = refused.json()["error"]
    assert (error["code"], error.get("path")) == ("invalid_request", path), error
    good = client_to_both.post("/refine", json={"request": sent, "answer": GOOD})
    assert good.status_code == 200, good.text
    assert np.isfinite(np.array(good.json()["world"]["poses"], np.float64)).all()
