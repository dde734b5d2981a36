import numpy as np
import pytest

from poselift.motion.smoothing import smooth

ACCELERATION = np.array([0.5, 4.0])


def rts(times_s, values, variances, acceleration):
    """A Kalman filter and Rauch-Tung-Striebel smoother, step by step."""
    state, spread = np.zeros(2), np.eye(2) * 1e8
    filtered, predicted = [], []
    for row, (time, value, variance) in enumerate(zip(times_s, values, variances, strict=True)):
        move = np.eye(2)
        if row:
            t = time - times_s[row - 1]
            move = np.array([[1, t], [0, 1]])
            noise = acceleration * np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]])
            state, spread = move @ state, move @ spread @ move.T + noise
        predicted.append((move, state, spread))
        if np.isfinite(variance):
            gain = spread[:, 0] / (spread[0, 0] + variance)
            state, spread = state + gain * (value - state[0]), spread - np.outer(gain, spread[0])
        filtered.append((state, spread))
    smoothed = [filtered[-1][0]]
    for (state, spread), (move, ahead, ahead_spread) in zip(filtered[-2::-1], predicted[:0:-1], strict=True):
        back = spread @ move.T @ np.linalg.inv(ahead_spread)
        smoothed.append(state + back @ (smoothed[-1] - ahead))
    return np.array(smoothed[::-1])[:, 0]


@pytest.mark.parametrize("frames", [3, 4, 5, 8, 61])
def test_is_the_rauch_tung_striebel_smoother(frames):
    rng = np.random.default_rng(frames)
    times_s = np.cumsum(rng.uniform(0.01, 0.1, frames))
    values, variances = rng.normal(size=(frames, 2)), rng.uniform(0.1, 1, (frames, 2))
    variances[1, 0] = np.inf
    expected = [rts(times_s, values[:, d], variances[:, d], ACCELERATION[d]) for d in range(2)]
    np.testing.assert_allclose(smooth(times_s, values, variances, ACCELERATION).T, expected, atol=1e-3)


def test_gaps_are_bridged_along_the_motion():
    times_s = np.arange(40) / 20
    values = np.stack([3 * times_s, -times_s], -1)
    variances = np.full((40, 2), 1e-4)
    variances[15:25] = np.inf
    values[15:25] = 99.0
    np.testing.assert_allclose(smooth(times_s, values, variances, ACCELERATION)[20], [3, -1], atol=0.01)


def test_a_single_frame_stays_as_it_is():
    assert smooth(np.zeros(1), np.ones((1, 2)), np.ones((1, 2)), ACCELERATION).tolist() == [[1, 1]]


def test_nothing_measured_is_left_as_it_is():
    values = np.arange(6.0).reshape(3, 2)
    unknown = np.full((3, 2), np.inf)
    np.testing.assert_array_equal(smooth(np.arange(3.0), values, unknown, ACCELERATION), values)
