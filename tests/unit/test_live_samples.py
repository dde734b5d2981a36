"""Which samples of a live window are computed."""

import numpy as np
import pytest

from poselift.live_samples import computed_samples, live_distances, live_reach


@pytest.mark.parametrize("samples", [1, 2, 3, 9, 27, 81])
def test_each_row_is_a_whole_window_with_its_target_first(samples: int):
    rows = live_distances(samples)
    assert len(rows) == samples // 2 + 1
    for ahead, row in enumerate(rows):
        assert len(set(row)) == samples
        assert row[0] == 0
        assert set(range(ahead + 1)) <= set(row)
        assert row.max() == ahead


def test_the_farther_past_is_coarse():
    near, far = set(range(-12, 1)), set(range(-68, -12, 4))
    assert set(live_distances(27)[0]) == near | far
    assert set(live_distances(27)[5]) == near | set(range(-48, -12, 4)) | set(range(1, 6))
    assert set(live_distances(27)[13]) == near | {-16} | set(range(1, 14))
    assert live_reach(27) == 68
    assert live_reach(1) == 0


@pytest.mark.parametrize("ahead", [0, 1, 5, 13])
def test_what_is_computed_first_is_dense_near_the_target_and_reaches_the_ends(ahead: int):
    computed = live_distances(27)[ahead][:13]
    assert {d for d in range(-3, 4) if d <= ahead} <= set(computed)
    assert (np.diff(np.abs(computed)) >= 0).all()
    assert min(computed) <= min(live_distances(27)[ahead]) + 4
    assert np.diff(np.sort(computed)).max() <= 16


@pytest.mark.parametrize(("samples", "layers"), [(1, 1), (2, 2), (9, 1), (27, 3), (27, 6), (81, 12)])
def test_layers_compute_fewer_and_fewer_samples_and_the_last_one_the_target(samples: int, layers: int):
    computed = computed_samples(samples, layers)
    assert len(computed) == layers
    assert computed[-1] == 1
    assert list(computed) == sorted(computed, reverse=True)
    assert max(computed) <= max(1, samples // 2)


def test_the_shipped_sizes():
    assert computed_samples(27, 6) == (13, 13, 7, 4, 2, 1)
