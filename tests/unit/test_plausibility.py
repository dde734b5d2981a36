"""What is certainly no recording in pixels is refused, what is likely none is warned about, and nothing else is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from poselift.camera import Camera, gravity_from_angles
from poselift.errors import InvalidKeypoints
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.input_warnings import WARNINGS, InputWarning, refuse_any
from poselift.plausibility import Person, check_live_frames, check_plausibility
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.golden_files import golden

SAMPLE = Path(__file__).parents[2] / "service/poselift_service/web/sample.json"
WIDTH, HEIGHT = 1080, 1920
COCO = skeleton("coco17")


@pytest.fixture(scope="module")
def walker():
    """The keypoints [100, 17, 3] of the sample, upright in a picture of 1080 x 1920."""
    return read_keypoints(SAMPLE).tracks[0].sequence.keypoints


def check(keypoints, size=(WIDTH, HEIGHT), times_s=None, timing="fps"):
    times_s = np.arange(len(keypoints)) / 60 if times_s is None else np.asarray(times_s, np.float64)
    sequence = Sequence(np.asarray(keypoints, np.float32), COCO, size[0], size[1], times_s)
    return check_plausibility([Person("keypoints", sequence)], timing=timing)


def codes(*args, **kwargs):
    return [warning.code for warning in check(*args, **kwargs)]


def moved(keypoints, scale=(1, 1), by=(0, 0)):
    return keypoints * np.array([*scale, 1], np.float32) + np.array([*by, 0], np.float32)


def test_a_usual_recording_is_plausible(walker):
    assert codes(walker) == []
    assert codes(np.repeat(walker, 50, axis=0)) == []
    assert codes(np.full_like(walker, np.nan)) == []
    assert codes(walker[:1]) == []


def test_shares_of_the_picture_are_refused(walker):
    shares = moved(walker, (1 / WIDTH, 1 / HEIGHT))
    with pytest.raises(InvalidKeypoints, match='need "coordinates": "normalised"') as refused:
        check(shares)
    assert refused.value.path == "keypoints"
    centred = moved(walker, (2 / WIDTH, 2 / WIDTH), (-1, -HEIGHT / WIDTH))
    with pytest.raises(InvalidKeypoints, match="coordinates from -1 to 1 must be turned into pixels"):
        check(centred)
    # In a picture of the size of a thumbnail they may be pixels.
    assert codes(shares, size=(2, 2)) == []


def test_shares_of_the_picture_with_some_joints_elsewhere_are_warned_about(walker):
    shares = moved(walker, (1 / WIDTH, 1 / HEIGHT))
    shares[::4, 0, :2] = -10
    (warning,) = check(shares)
    assert warning.code == "normalised_coordinates"
    assert warning.message.startswith("99% of the joints lie within 2 px of the corner")
    assert codes(np.full((9, 17, 3), 0.5)) == ["normalised_coordinates"]  # a place for what was not found
    alone = np.full((1, 17, 3), np.nan)
    alone[0, :3] = (0.5, 0.5, 1)  # three joints may be a detector's blunder
    assert codes(alone) == ["normalised_coordinates"]


def test_joints_far_outside_of_the_picture(walker):
    (warning,) = check(walker, size=(360, 640))
    assert warning.code == "outside_picture"
    assert "x reaches 996 and y 1237; image_size (--image-size) must be the size" in warning.message
    assert codes(moved(walker, by=(-1500, 0))) == ["outside_picture"]
    assert codes(moved(walker, by=(0, 700))) == []  # the feet are below the picture


def test_joints_without_a_score_may_be_anywhere(walker):
    elsewhere = walker.copy()
    elsewhere[:, 9:] = (5000, 5000, 0.1)
    assert codes(elsewhere) == []


def test_width_and_height_exchanged(walker):
    (warning,) = check(walker, size=(HEIGHT, WIDTH))
    assert (warning.code, warning.path) == ("picture_turned", "image_size")
    assert "none outside of one of 1080 x 1920; image_size (--image-size) is the width and then the height" in (
        warning.message
    )
    lying = walker[..., [1, 0, 2]]
    assert codes(lying, size=(HEIGHT, WIDTH)) == []
    assert codes(lying) == ["picture_turned"]


@pytest.mark.parametrize(
    ("step_s", "timing", "expected"),
    [
        (1 / 60, "timestamps_s", []),
        (1, "fps", []),
        (0.001, "fps", []),
        (2, "timestamps_s", ["unusual_frame_rate"]),
        (1 / 1500, "timestamps_s", ["unusual_frame_rate"]),
        (10, "fps", ["unusual_frame_rate"]),
        (1000 / 30, "timestamps_s", ["times_not_in_seconds"]),
        (1e6 / 30, "timestamps_s", ["times_not_in_seconds"]),
        (1e-300, "timestamps_s", ["unusual_frame_rate"]),
    ],
)
def test_the_rate(walker, step_s, timing, expected):
    warnings = check(walker, times_s=np.arange(len(walker)) * step_s, timing=timing)
    assert [(warning.code, warning.path) for warning in warnings] == [(code, timing) for code in expected]


def test_a_pause_is_no_rate(walker):
    times_s = np.arange(len(walker)) / 30
    times_s[50:] += 3600
    assert codes(walker, times_s=times_s, timing="timestamps_s") == []


def test_people_who_stand_on_their_heads(walker):
    flipped = moved(walker, (1, -1), (0, HEIGHT))
    (warning,) = check(flipped)
    assert warning.code == "upside_down"
    assert warning.message.startswith("The head is below the feet in 94 of 100 frames; y grows downwards")
    somersault = np.concatenate([flipped[:70], walker[70:]])
    assert codes(somersault) == []
    assert codes(flipped[..., [1, 0, 2]], size=(HEIGHT, WIDTH)) == []  # lies
    unseen = flipped.copy()
    unseen[:, 15:] = np.nan  # without feet it is not known
    assert codes(unseen) == []


def test_somebody_of_several_people(walker):
    times_s = np.arange(len(walker)) / 60
    people = [
        Person(f"tracks[{number}].keypoints", Sequence(keypoints, COCO, WIDTH, HEIGHT, times_s))
        for number, keypoints in enumerate((walker, moved(walker, (1, -1), (0, HEIGHT)), walker + np.float32(5)))
    ]
    (warning,) = check_plausibility(people, timing="fps")
    assert (warning.code, warning.path) == ("upside_down", "tracks[1].keypoints")


def test_one_message_of_a_stream(walker):
    def live(keypoints, size=(WIDTH, HEIGHT)):
        return [warning.code for warning in check_live_frames(keypoints, *size)]

    assert live(walker[:1]) == live(walker[:64]) == live(np.full_like(walker[:2], np.nan)) == []
    with pytest.raises(InvalidKeypoints, match='"coordinates": "normalised"'):
        live(moved(walker[:1], (1 / WIDTH, 1 / HEIGHT)))
    aside = moved(walker[:1], (0.5, 0.5), (1200, 0))
    assert live(aside) == ["picture_turned"]
    assert live(moved(aside, by=(0, 800))) == []  # somebody may have walked out of the picture
    assert live(moved(walker[:1], by=(WIDTH * 2, 0))) == ["outside_picture"]


def test_strict_refuses_with_the_first_warning():
    warnings = [InputWarning("upside_down", "One.", "keypoints"), InputWarning("outside_picture", "Two.")]
    with pytest.raises(InvalidKeypoints, match=r"^One\.$") as refused:
        refuse_any(warnings)
    assert refused.value.path == "keypoints"
    refuse_any([])


def test_every_code_is_documented():
    with pytest.raises(AssertionError, match="made_up"):
        InputWarning("made_up", "A code that no page lists.")
    assert all(text.endswith(".") for text in WARNINGS.values())


@pytest.mark.parametrize("name", ["L20", "L50"])
def test_no_false_alarm_on_the_golden_pixels(name):
    positions = golden("in_the_wild_expected")[f"{name}/keypoints_px"]
    keypoints = torch.cat([positions, torch.ones_like(positions[..., :1])], dim=-1).numpy()
    height_px = 2 * float(keypoints[..., 1].max())
    assert codes(keypoints, size=(2 * float(keypoints[..., 0].max()), height_px)) == []


def test_no_false_alarm_on_the_real_sample(shared):
    folder = shared / "data" / "real2d"
    files = [
        read_keypoints(folder / "cam01_coco17.json"),
        read_keypoints(folder / "cam01_mediapipe33.json"),
        read_keypoints(folder / "openpose_json", fps=60, image_size=(WIDTH, HEIGHT)),
    ]
    assert [file.warnings for file in files] == [()] * 3
    document = json.loads(SAMPLE.read_text())
    assert read_keypoints(SAMPLE).warnings == ()
    assert document["image_size"] == [WIDTH, HEIGHT]


def with_camera(keypoints, **camera):
    times_s = np.arange(len(keypoints)) / 60
    sequence = Sequence(np.asarray(keypoints, np.float32), COCO, WIDTH, HEIGHT, times_s, Camera(**camera))
    return [warning.code for warning in check_plausibility([Person("keypoints", sequence)] * 2, timing="fps")]


def test_lenses_that_show_most_of_it_are_plausible(walker):
    assert with_camera(walker, focal_px=1000, distortion=(-0.2, 0.05, 0, 0)) == []
    assert with_camera(walker, focal_px=700, distortion=(0, 0, 0, 0), fisheye=True) == []
    assert with_camera(walker, focal_px=500, distortion=(-5, 0, 0, 0)) == ["outside_lens"]


def test_people_may_be_upside_down_before_a_camera_that_is_told_to_be(walker):
    turned = moved(walker, (-1, -1), (WIDTH, HEIGHT))
    assert with_camera(turned) == ["upside_down"]
    assert with_camera(turned, gravity=gravity_from_angles(10, 180)) == []
    assert with_camera(turned, gravity=gravity_from_angles(10, 20)) == ["upside_down"]
