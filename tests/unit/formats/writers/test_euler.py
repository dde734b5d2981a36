"""Angles of rotations, against products of single turns."""

import itertools

import numpy as np
import pytest

from poselift.formats.writers.rig.euler import euler_deg
from poselift.formats.writers.rig.quaternions import product


def turned(angles_deg, order):
    half = np.radians(angles_deg) / 2
    turns = [
        np.stack([np.cos(half[:, n]), *(np.sin(half[:, n]) * (axis == own) for own in "XYZ")], axis=-1)
        for n, axis in enumerate(order)
    ]
    return product(product(turns[0], turns[1]), turns[2])


@pytest.mark.parametrize("order", ["".join(axes) for axes in itertools.permutations("XYZ")])
@pytest.mark.parametrize("middle", ["any", "right angle"])
def test_angles_make_the_rotations(order, middle):
    random = np.random.default_rng(1)
    angles = random.uniform(-180, 180, (500, 3))
    if middle == "right angle":
        angles[:, 1] = random.choice([-90, 90], 500) + random.choice([0, 1e-9, 1e-5, 1e-2], 500)
    rotations = turned(angles, order)
    again = turned(euler_deg(rotations, order), order)
    np.testing.assert_allclose(np.abs((again * rotations).sum(-1)), 1, atol=1e-12)


def test_a_slow_turn_is_slow_in_its_angles():
    angles = np.stack(
        [np.linspace(0, 900, 400), 85 * np.sin(np.linspace(0, 9, 400)), np.linspace(0, -500, 400)], axis=1
    )
    np.testing.assert_allclose(euler_deg(turned(angles, "ZXY"), "ZXY"), angles, atol=1e-6)
    past_the_right_angle = np.stack([np.full(99, 10.0), np.linspace(0, 170, 99), np.full(99, 20.0)], axis=1)
    found = euler_deg(turned(past_the_right_angle, "ZXY"), "ZXY")
    np.testing.assert_allclose(found, past_the_right_angle, atol=1e-6)
