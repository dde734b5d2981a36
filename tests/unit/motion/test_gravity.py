import numpy as np
import pytest

from poselift.motion.gravity import combine, estimate_gravity, gather
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


DOWN = np.array([0.0, 1.0, 0.0])
ALONG, ACROSS = np.array([0.0, np.cos(0.2), np.sin(0.2)]), np.array([np.sin(0.2), np.cos(0.2), 0.0])


def share(clip_deg, network_deg, told):
    """How far two estimates together go from that of the clip to what the network told."""
    both = combine(Gravity(DOWN, clip_deg, given=False), Gravity(told, network_deg, given=False))
    assert np.linalg.norm(both.direction) == pytest.approx(1)
    return angle_deg(both.direction, DOWN) / np.degrees(0.2)


def test_estimates_of_clip_and_network_are_weighted_by_their_certainty():
    for told in (ALONG, ACROSS):
        assert share(5.0, 5.0, told) == pytest.approx(0.5, rel=0.02)
        assert share(15.0, 5.0, told) == pytest.approx(
            1
        )  # somebody lies: they err alike, so the worse one adds nothing
    assert share(5.0, 8.0, ALONG) == pytest.approx(0, abs=1e-5)


def test_across_the_view_an_uncertain_network_counts_half():
    assert share(5.0, 8.0, ACROSS) == pytest.approx(0.5, rel=0.02)


def test_two_estimates_are_a_little_more_certain_than_one():
    both = combine(Gravity(DOWN, 6.0, given=False), Gravity(ALONG, 6.0, given=False))
    assert 5 < both.uncertainty_deg < 6
    worse = combine(Gravity(DOWN, 6.0, given=False), Gravity(ALONG, 9.0, given=False))
    assert both.uncertainty_deg < worse.uncertainty_deg <= 6


def directions(down, noise, frames=500):
    """[F, 3] estimates of a network, which differ from frame to frame, and their times."""
    random = np.random.default_rng(0)
    return down + random.normal(0, noise, (frames, 3)), np.arange(frames) / 50


def test_estimates_of_frames_are_averaged_but_their_expected_error_stays():
    down = np.array([0.1, 0.9, 0.4]) / np.sqrt(0.98)
    seen, times_s = directions(down, noise=0.05)
    gravity = gather(seen.astype(np.float32), np.full(500, 0.1, np.float32), times_s)
    assert angle_deg(gravity.direction, down) < 0.5
    assert np.linalg.norm(gravity.direction) == pytest.approx(1)
    assert gravity.uncertainty_deg == pytest.approx(np.degrees(0.1), rel=0.1)
    assert not gravity.given


def test_estimates_that_differ_by_more_than_is_expected_of_them_are_less_certain():
    down, errors = np.array([0.0, 1.0, 0.0]), np.full(50, 0.03)
    apart, times_s = directions(down, noise=0.3, frames=50)
    close, _ = directions(down, noise=0.01, frames=50)
    surer = gather(close, errors, times_s)
    assert gather(apart, errors, times_s).uncertainty_deg > 5 * surer.uncertainty_deg


def test_a_few_wrong_estimates_hardly_count():
    seen, times_s = directions(np.array([0.0, 1.0, 0.0]), noise=0.02)
    seen[:50] = (0.0, 0.0, 1.0)
    assert angle_deg(gather(seen, np.full(500, 0.05), times_s).direction, [0, 1, 0]) < 1.5
    assert angle_deg(seen.mean(axis=0), [0, 1, 0]) > 5
