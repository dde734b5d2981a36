"""From the people of each frame to the frames of each person."""

import json
from pathlib import Path

import numpy as np
import pytest

from poselift.errors import InvalidFile, UnknownPerson
from poselift.formats.readers import people as reader
from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import FPS, SIZE, flat, request, rows

FRAMES = 100
SAMPLE = Path(__file__).parents[4] / "service" / "poselift_service" / "web" / "sample.json"
MAIN = np.array(json.loads(SAMPLE.read_text())["keypoints"], np.float32)
"""Somebody who walks across a picture of 1080 x 1920, [100, 17, 3]."""


def beside(keypoints, dx_px, scale=1.0):
    """Somebody who does the same elsewhere and is smaller."""
    centre = np.nanmean(keypoints[..., :2], axis=(0, 1))
    moved = keypoints.copy()
    moved[..., :2] = (keypoints[..., :2] - centre) * scale + centre + (dx_px, 0)
    return moved


def results(people, *, order=None, **more):
    """COCO results of people, each a dictionary from frame to keypoints [17, 3]; `order` says who comes first."""
    document = []
    for frame in range(FRAMES):
        here = [(who, seen[frame]) for who, seen in enumerate(people) if frame in seen]
        for who, keypoints in sorted(here, key=lambda pair: order(frame, pair[0])) if order else here:
            identity = {key: value[who] for key, value in more.items()}
            document.append({"image_id": frame, "category_id": 1, "keypoints": flat(keypoints), "score": 1, **identity})
    return document


def during(keypoints, *frames):
    return {frame: keypoints[frame] for frame in (frames or range(FRAMES))}


def read(path, **options):
    return read_keypoints(path, fps=60, image_size=(1080, 1920), **options)


def codes(found):
    return [warning.code for warning in found.warnings]


def assert_is(track, keypoints):
    np.testing.assert_allclose(track.sequence.keypoints[..., :2], keypoints[..., :2], atol=0.006)


def test_a_bystander_in_five_frames_does_not_end_a_lift(write):
    bystander = during(beside(MAIN, 600, 0.5), *range(40, 45))
    path = write(results([during(MAIN), bystander], order=lambda frame, who: -who))
    found = read(path)
    (track,) = found.tracks
    assert track.track_id is None
    assert_is(track, MAIN)
    assert codes(found) == ["people_followed", "person_left_out"]
    assert "person 1 (5 frames from [40].keypoints on)" in found.warnings[1].message
    assert "--person 1" in found.warnings[1].message
    assert read(path, person="longest").warnings == ()
    # Whoever wants the bystander gets the bystander.
    (track,) = read(path, person="1").tracks
    assert np.isfinite(track.sequence.keypoints[:, 0, 0]).sum() == 5


def test_an_order_that_changes_is_followed_and_said(write):
    other = beside(MAIN, 300, 0.8)
    path = write(results([during(MAIN), during(other)], order=lambda frame, who: (frame // 3 + who) % 2))
    found = read(path)
    assert codes(found) == ["people_followed"]
    assert "--track" in found.warnings[0].message
    assert [track.track_id for track in found.tracks] == ["0", "1"]
    for track, keypoints in zip(found.tracks, (MAIN, other), strict=True):
        assert_is(track, keypoints)
    asked = read(path, track=True)
    assert codes(asked) == []
    assert [track.track_id for track in asked.tracks] == ["0", "1"]
    assert_is(asked.tracks[1], other)


def test_the_sample_crossed_by_its_mirror_image(write):
    mirrored = MAIN.copy()
    mirrored[..., 0] = 1080 - MAIN[..., 0]
    mirrored[..., 1] += 60
    path = write(results([during(MAIN), during(mirrored)], order=lambda frame, who: (frame + who) % 2))
    tracks = read(path, track=True).tracks
    assert [track.track_id for track in tracks] == ["0", "1"]
    assert_is(tracks[0], MAIN)
    assert_is(tracks[1], mirrored)


@pytest.mark.parametrize("identity", [0, [0.0]])
def test_an_identity_that_everybody_has_is_none(write, identity):
    people = [during(MAIN), during(beside(MAIN, 400))]
    plain, same = (
        read(write(document, f"{number}.json"))
        for number, document in enumerate([results(people), results(people, idx=[identity, identity])])
    )
    assert [track.track_id for track in same.tracks] == ["0", "1"]
    assert codes(same) == codes(plain) == []
    for one, other in zip(same.tracks, plain.tracks, strict=True):
        np.testing.assert_array_equal(one.sequence.keypoints, other.sequence.keypoints)


def test_identities_that_fail_in_one_frame_are_not_used(write):
    document = results([during(MAIN), during(beside(MAIN, 400))], idx=[3, 4])
    document[21]["idx"] = 3
    found = read(write(document))
    assert codes(found) == ["identities_ignored"]
    assert "[21].keypoints" in found.warnings[0].message
    assert_is(found.tracks[1], beside(MAIN, 400))


def test_results_that_were_written_twice(write):
    found = read(write(results([during(MAIN)]) * 2))
    (track,) = found.tracks
    assert_is(track, MAIN)
    assert codes(found) == ["duplicate_people"]
    assert "100 detections" in found.warnings[0].message


def test_people_who_cannot_be_followed_are_refused(write):
    draws = np.random.default_rng(3)
    places = [
        {frame: MAIN[0] + (*draws.uniform(-20_000, 20_000, 2), 0) for frame in range(FRAMES) if (frame + who) % 3}
        for who in (0, 1)
    ]
    path = write(results(places))
    with pytest.raises(InvalidFile, match=r"2 people in a frame.*\(--track\).*\(--person longest\)") as refused:
        read(path)
    assert refused.value.path == "[1].keypoints"
    assert len(read(path, track=True).tracks) > 50
    assert len(read(path, person="longest").tracks) == 1


def test_many_people_in_many_frames_are_refused_before_memory_is_full(write, monkeypatch):
    monkeypatch.setattr(reader, "_MAX_POSES", 150)
    path = write(results([during(MAIN), during(beside(MAIN, 400))]))
    with pytest.raises(InvalidFile, match=r"2 people in 100 frames .* \(--person\)"):
        read(path)
    assert len(read(path, person="first").tracks) == 1


@pytest.mark.parametrize(
    ("choice", "chosen"), [("all", ["7", "5", "6"]), ("largest", ["6"]), ("longest", ["5"]), ("first", ["7"])]
)
def test_a_person_is_chosen(write, choice, chosen):
    people = [
        during(beside(MAIN, 0, 0.5), *range(5, FRAMES)),
        during(MAIN, *range(10, 90)),
        during(beside(MAIN, 500, 0.4), *range(60)),
    ]
    found = read(write(results(people, track_id=[5, 6, 7])), person=choice)
    assert [track.track_id for track in found.tracks] == chosen
    assert [len(track.sequence.keypoints) for track in found.tracks] == [FRAMES] * len(chosen)
    assert not found.warnings


def test_an_identity_is_chosen(write):
    path = write(results([during(MAIN), during(beside(MAIN, 400))], track_id=["left", "right"]))
    (track,) = read(path, person="right").tracks
    assert track.track_id == "right"
    assert_is(track, beside(MAIN, 400))
    with pytest.raises(UnknownPerson, match="no person 'middle'; there are left, right, and all, largest") as refused:
        read(path, person="middle")
    assert str(refused.value).startswith(f"{path}: ")


def test_a_request_says_who_is_meant_and_the_caller_decides(write):
    document = request(MAIN[:4], image_size=[1080, 1920])
    frames = document.pop("keypoints")
    small = rows(beside(MAIN[:4], 0, 0.5))
    document["tracks"] = [{"track_id": "a", "keypoints": small}, {"track_id": "b", "keypoints": frames}]
    path = write(document | {"person_choice": "largest"})
    assert [track.track_id for track in read_keypoints(path).tracks] == ["b"]
    assert [track.track_id for track in read_keypoints(path, person="first").tracks] == ["a"]
    assert [track.track_id for track in read_keypoints(path, person="all").tracks] == ["a", "b"]


def test_the_only_person_of_a_file(write):
    path = write(request(MAIN[:4]))
    for choice in ("all", "largest", "longest", "first", "0"):
        (track,) = read_keypoints(path, person=choice, fps=FPS, image_size=SIZE).tracks
        assert track.track_id is None
