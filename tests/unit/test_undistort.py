from dataclasses import replace

import numpy as np
import pytest

from poselift.artifacts.manifest import Manifest
from poselift.camera import Camera
from poselift.errors import InvalidKeypoints
from poselift.lifting import screen_frames
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from poselift.undistort import undistort

COCO = skeleton("coco17")
FOCAL_PX, CENTRE_PX = 900.0, (640.0, 350.0)


def seen(slopes, radial, shift):
    return slopes * radial[..., None] + shift


def usual_lens(slopes, k1, k2, p1, p2, k3):
    x, y = slopes[..., 0], slopes[..., 1]
    r2 = x**2 + y**2
    shift = np.stack([2 * p1 * x * y + p2 * (r2 + 2 * x**2), p1 * (r2 + 2 * y**2) + 2 * p2 * x * y], -1)
    return seen(slopes, 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3, shift)


def fisheye(slopes, k1, k2, k3, k4):
    r = np.linalg.norm(slopes, axis=-1)
    angle = np.arctan(r)
    bent = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    return seen(slopes, bent / r, 0)


def sequence_at(places):
    pixels = places * FOCAL_PX + CENTRE_PX
    keypoints = np.concatenate([pixels, np.ones((*pixels.shape[:-1], 1))], -1).astype(np.float32)
    return Sequence(keypoints, COCO, 1280, 720, np.arange(len(keypoints)) / 30)


def slopes(widest):
    return np.random.default_rng(0).uniform(-widest, widest, (40, 17, 2))


@pytest.mark.parametrize(
    ("lens", "numbers", "widest"),
    [
        (usual_lens, (-0.28, 0.09, 0.001, -0.002, -0.01), 0.7),
        (usual_lens, (0.12, -0.05, 0.0005, 0.0003, 0.0), 0.7),
        (fisheye, (0.05, -0.01, 0.004, -0.001), 2.0),
        (fisheye, (0.0, 0.0, 0.0, 0.0), 2.0),  # an equidistant lens is far from flat
    ],
)
def test_removes_what_the_lens_did(lens, numbers, widest):
    truth = slopes(widest)
    camera = Camera(FOCAL_PX, CENTRE_PX, numbers, fisheye=lens is fisheye)
    flat = (
        undistort(replace(sequence_at(lens(truth, *numbers)), camera=camera)).keypoints[..., :2] - CENTRE_PX
    ) / FOCAL_PX
    assert np.abs(lens(truth, *numbers) - truth).max() > 0.01  # more than a few pixels were bent
    np.testing.assert_allclose(flat, truth, atol=0.2 / FOCAL_PX)  # float32 pixels, and a fifth of one


def test_a_place_beyond_the_lens_is_missing():
    places = np.full((1, 17, 2), 0.1)
    places[0, 3] = 3.0  # the polynomial of a barrel turns back before
    camera = Camera(FOCAL_PX, CENTRE_PX, (-0.3, 0.0, 0.0, 0.0))
    missing = np.isnan(undistort(replace(sequence_at(places), camera=camera)).keypoints[0, :, 0])
    assert missing.tolist() == [joint == 3 for joint in range(17)]


def test_without_distortion_nothing_changes():
    for camera in (Camera(FOCAL_PX), Camera(FOCAL_PX, distortion=(0.0,) * 5)):
        sequence = replace(sequence_at(slopes(0.5)), camera=camera)
        assert undistort(sequence) is sequence


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        (Camera(distortion=(0.1, 0, 0, 0)), "focal_px or camera.fov_deg"),
        (Camera(FOCAL_PX, distortion=(0.1, 0, 0)), "not 3 numbers"),
        (Camera(FOCAL_PX, distortion=(0.1, 0, 0, 0, 0), fisheye=True), "four numbers"),
    ],
)
def test_refuses_what_cannot_be_removed(camera, said):
    with pytest.raises(InvalidKeypoints, match=said) as refused:
        undistort(replace(sequence_at(slopes(0.5)), camera=camera))
    assert refused.value.path == "camera.distortion"


def test_lifters_see_a_picture_without_distortion():
    numbers, truth = (-0.28, 0.09, 0.001, -0.002, -0.01), slopes(0.5)
    manifest = Manifest(
        name="any",
        system="pstmo",
        network={"frames": 9},
        input_skeleton="coco17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="hold",
    )
    bent, flat = (
        replace(sequence_at(places), camera=Camera(FOCAL_PX, CENTRE_PX))
        for places in (usual_lens(truth, *numbers), truth)
    )
    told = replace(bent, camera=Camera(FOCAL_PX, CENTRE_PX, numbers))
    screens = [screen_frames(sequence, manifest).screen for sequence in (told, flat, bent)]
    np.testing.assert_allclose(screens[0], screens[1], atol=1e-3)
    assert np.abs(screens[2] - screens[1]).max() > 0.02
