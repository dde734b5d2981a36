import numpy as np
import pytest

from poselift.motion.gravity import combine, estimate_gravity
from poselift.motion.world import Gravity
from tests.unit.motion.filmed import angle_deg, dancer, filmed


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0, 0), (40, 0), (-40, 0), (10, 25), (10, -25), (60, 40)])
def test_is_found_from_a_clip(pitch_deg, roll_deg):
    film = filmed(dancer(), pitch_deg, roll_deg)
    gravity = estimate_gravity(film.poses, film.joints[:, 0], film.sequence.times_s)
    assert angle_deg(gravity.direction, film.down) < 12  # a second of a dance
    assert 1 < gravity.uncertainty_deg < 12
    assert not gravity.given


def test_a_single_frame_is_less_certain():
    film = filmed(dancer(), 20, 5)
    one = estimate_gravity(film.poses[:1], film.joints[:1, 0], film.sequence.times_s[:1])
    clip = estimate_gravity(film.poses, film.joints[:, 0], film.sequence.times_s)
    assert angle_deg(one.direction, film.down) < 25
    assert one.uncertainty_deg > clip.uncertainty_deg


def test_two_estimates_are_weighted_by_their_certainty():
    down, aside = np.array([0.0, 1.0, 0.0]), np.array([0.0, np.cos(0.2), np.sin(0.2)])
    both = combine(Gravity(down, 3.0, given=False), Gravity(aside, 6.0, given=False))
    assert angle_deg(both.direction, down) == pytest.approx(np.degrees(0.2) / 5, rel=0.02)
    assert both.uncertainty_deg == pytest.approx(3 * 2 / 5**0.5)
