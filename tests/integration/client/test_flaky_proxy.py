"""Streams through a proxy that cuts, delays, hangs and halves; `make flaky` does it for five minutes."""

from pathlib import Path

from tests.integration.client.flaky_proxy import QUICK_FAULTS, kinds, stream_people

SECONDS = 10
SAME_POSES_M = 1e-4  # guaranteed by the contract of sessions


def test_a_bad_network_costs_no_frame(models: Path, tmp_path: Path):
    tally = stream_people(SECONDS, models, tmp_path, QUICK_FAULTS)
    assert set(tally.streams) == set(kinds())
    assert tally.disturbed.cuts > 0
    assert tally.disturbed.halves > 0
    assert tally.largest_difference_m < SAME_POSES_M, tally
