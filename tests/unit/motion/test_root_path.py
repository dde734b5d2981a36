import numpy as np
import pytest

from poselift.motion.live.root import locate_near
from poselift.motion.root_path import locate, smooth_path
from tests.unit.motion.filmed import FOCAL_PX, HEIGHT_PX, WIDTH_PX, dancer, filmed

NOISE_PX = 4.0


@pytest.fixture(scope="module")
def film():
    return filmed(dancer(), pitch_deg=15, roll_deg=5)


def rays(film, noise_px=0.0):
    pixels = film.sequence.keypoints[..., :2].astype(np.float64)
    pixels += np.random.default_rng(0).normal(0, 1, pixels.shape) * noise_px
    return (pixels - (WIDTH_PX / 2, HEIGHT_PX / 2)) / FOCAL_PX


def errors(film):
    return np.full(film.poses.shape[:2], 0.04)


def test_finds_the_pelvis_of_true_poses(film):
    fixes = locate(film.poses, rays(film), errors(film))
    np.testing.assert_allclose(fixes.places, film.joints[:, 0], atol=1e-3)


def test_the_smoothed_path_follows_the_way(film):
    path = smooth_path(film.sequence.times_s, locate(film.poses, rays(film), errors(film)))
    np.testing.assert_allclose(path, film.joints[:, 0], atol=0.06)


def test_smoothing_removes_noise(film):
    fixes = locate(film.poses, rays(film, NOISE_PX), errors(film))
    path = smooth_path(film.sequence.times_s, fixes)
    rough, smooth = (np.linalg.norm(each - film.joints[:, 0], axis=1).mean() for each in (fixes.places, path))
    assert smooth < 0.7 * rough
    assert smooth < 0.03


def test_a_joint_in_the_wrong_place_hardly_moves_the_pelvis(film):
    wrong = rays(film)
    wrong[:, 13] += 0.3
    off = np.linalg.norm(locate(film.poses, wrong, errors(film)).places - film.joints[:, 0], axis=1)
    assert np.median(off) < 0.25  # plain least squares: 0.9 m


def test_frames_without_joints_are_bridged(film):
    gaps = rays(film)
    gaps[50:70] = np.nan
    gaps[30:32, 3:] = np.nan
    fixes = locate(film.poses, gaps, errors(film))
    assert np.isinf(fixes.variances[50:70]).all()
    off = smooth_path(film.sequence.times_s, fixes) - film.joints[:, 0]
    assert np.abs(off).max() < 0.3


def test_beyond_what_is_seen_a_person_comes_to_rest(film):
    gaps = rays(film)
    gaps[:15], gaps[30:] = np.nan, np.nan
    path = smooth_path(film.sequence.times_s, locate(film.poses, gaps, errors(film)))
    speed = np.linalg.norm(np.diff(path, axis=0), axis=1) * 50
    assert (np.diff(speed[30:]) < 0).all()
    assert (np.diff(speed[:14]) > 0).all()
    # After 0.36 s, with a time constant of 0.5 s.
    assert speed[48] == pytest.approx(speed[30] * np.exp(-0.36 / 0.5), rel=0.1)


def test_nothing_seen_is_somewhere_ahead(film):
    fixes = locate(film.poses, np.full_like(rays(film), np.nan), errors(film))
    path = smooth_path(film.sequence.times_s, fixes)
    assert np.isfinite(path).all()
    assert (path[:, 2] > 0).all()


def test_a_frame_near_a_known_distance_is_located_as_in_a_clip(film):
    seen = rays(film)
    seen[3, 4:7], seen[7, 3], seen[9] = np.nan, 0.5, np.nan
    error_m = np.random.default_rng(0).uniform(0.01, 0.05, film.poses.shape[:2])
    poses = film.poses + np.random.default_rng(1).normal(0, 0.02, film.poses.shape)
    fixes = locate(poses, seen, error_m)
    for row in range(20):
        values, variances = locate_near(poses[row], seen[row], error_m[row], film.joints[row, 0, 2])
        np.testing.assert_allclose(variances, fixes.variances[row], rtol=0.15)
        if row != 9:
            np.testing.assert_allclose(values, fixes.values[row], atol=2e-3)
