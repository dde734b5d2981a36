from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from poselift.coordinates import (
    camera_to_world,
    mirror,
    project_pinhole,
    root_relative,
    rotation_from_quaternion,
    screen_intrinsics,
    to_pixels,
    to_screen,
    world_to_camera,
)
from poselift.errors import InvalidKeypoints
from poselift.skeletons import skeleton

GOLDEN = load_file(Path(__file__).parents[1] / "golden" / "camera_and_metrics.safetensors")
EXACT = 1e-12  # float64, a handful of operations
AS_OFFICIAL = 2e-6  # the official code keeps its cameras and pixels in float32


@pytest.mark.parametrize("size", ["1000x1000", "1000x1002", "1920x1080", "2048x2048"])
def test_screen_coordinates_are_the_official_ones(size):
    width, height = map(int, size.split("x"))
    screen = to_screen(GOLDEN["screen/pixels"], width, height)
    np.testing.assert_allclose(screen, GOLDEN[f"screen/{size}/norm"], atol=AS_OFFICIAL)
    np.testing.assert_allclose(to_pixels(screen, width, height), GOLDEN["screen/pixels"], atol=1e-9)


def test_camera_functions_equal_the_official_ones():
    rotation = rotation_from_quaternion(GOLDEN["cam/quaternion_wxyz"])
    camera = world_to_camera(GOLDEN["cam/points_world"], rotation, GOLDEN["cam/translation"])
    np.testing.assert_allclose(camera, GOLDEN["cam/points_camera"], atol=AS_OFFICIAL)
    world = camera_to_world(camera, rotation, GOLDEN["cam/translation"])
    np.testing.assert_allclose(world, GOLDEN["cam/points_back"], atol=AS_OFFICIAL)


def test_world_to_camera_and_back_is_the_identity():
    # The published quaternion is a float32, 3e-8 short of unit length; only a unit one has an exact inverse.
    quaternion = GOLDEN["cam/quaternion_wxyz"] / np.linalg.norm(GOLDEN["cam/quaternion_wxyz"])
    rotation = rotation_from_quaternion(quaternion)
    camera = world_to_camera(GOLDEN["cam/points_world"], rotation, GOLDEN["cam/translation"])
    world = camera_to_world(camera, rotation, GOLDEN["cam/translation"])
    np.testing.assert_allclose(world, GOLDEN["cam/points_world"], rtol=0, atol=EXACT)


def test_a_pinhole_projects_arrays_and_tensors_to_the_same_pixels():
    points = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 6), (5, 17, 3))
    focal, centre, none = np.array([1150.0, 1140.0]), np.array([512.0, 500.0]), np.zeros(3)
    intrinsics = screen_intrinsics(focal, centre, none, none[:2], 1000, 1002)
    screen = project_pinhole(points, intrinsics[:2], intrinsics[2:4])
    pixels = points[..., :2] / points[..., 2:] * focal + centre
    np.testing.assert_allclose(to_pixels(screen, 1000, 1002), pixels, atol=1e-9)
    lens = torch.from_numpy(intrinsics)
    on_tensors = project_pinhole(torch.from_numpy(points), lens[:2], lens[2:4])
    np.testing.assert_allclose(on_tensors.numpy(), screen, atol=EXACT)


def test_screen_intrinsics_keep_the_distortion_and_scale_the_rest():
    focal, centre = np.array([1150.0, 1140.0]), np.array([512.0, 500.0])
    radial, tangential = np.array([-0.2, 0.24, -0.003]), np.array([-0.001, 0.002])
    for width, height in ((1000, 1002), (1920, 1080)):
        intrinsics = screen_intrinsics(focal, centre, radial, tangential, width, height)
        np.testing.assert_allclose(intrinsics[:2], focal * 2 / width, atol=EXACT)
        np.testing.assert_allclose(to_pixels(intrinsics[None, 2:4], width, height)[0], centre, atol=1e-9)
        np.testing.assert_array_equal(intrinsics[4:], [*radial, *tangential])


def test_mirroring_a_person():
    joints = np.random.default_rng(0).normal(size=(3, 17, 3))
    twin = mirror(joints, skeleton("h36m17"))
    np.testing.assert_array_equal(twin[:, 1], joints[:, 4] * [-1, 1, 1])
    np.testing.assert_array_equal(mirror(twin, skeleton("h36m17")), joints)
    np.testing.assert_array_equal(mirror(torch.from_numpy(joints), skeleton("h36m17")).numpy(), twin)


def test_mirroring_moves_further_columns_with_their_joint():
    answers = np.random.default_rng(0).uniform(0.1, 1, (3, 17, 4))
    twin = mirror(answers, skeleton("h36m17"))
    np.testing.assert_array_equal(twin[..., :3], mirror(answers[..., :3], skeleton("h36m17")))
    np.testing.assert_array_equal(twin[:, [0, 1, 16], 3], answers[:, [0, 4, 13], 3])


def test_root_relative_puts_the_root_at_zero():
    joints = np.random.default_rng(0).normal(size=(3, 17, 3))
    assert (root_relative(joints, 14)[:, 14] == 0).all()


def test_invalid_input_is_refused():
    with pytest.raises(InvalidKeypoints, match="last axis"):
        to_screen(np.zeros((4, 3)), 100, 100)
    with pytest.raises(InvalidKeypoints, match="positive"):
        to_screen(np.zeros((4, 2)), 0, 100)
