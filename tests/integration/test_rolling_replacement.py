"""The pods of the chart are replaced while they are used. `make rolling` does it for longer."""

from pathlib import Path

import pytest

pytest.importorskip("helm_python", reason="Helm's engine is not installed; `make helm` installs it where it can be had")

from tests.integration.rolling_replacement import KINDS, STREAM_KINDS, replace_under_load

REPLICAS = 2
SAME_POSES_M = 1e-4  # what the contract of sessions promises


def test_while_pods_are_replaced_no_request_fails_and_no_stream_breaks(tmp_path: Path):
    tally = replace_under_load(tmp_path, replacements=1, pre_stop_s=4)
    assert tally.failures == []
    assert tally.accepted == tally.answered.total() == tally.sent.total()
    assert tally.answered.keys() == KINDS
    assert (tally.pods, tally.ended_in_order) == (REPLICAS, REPLICAS)
    assert tally.streams == len(STREAM_KINDS)
    assert tally.moved >= tally.streams, "not every stream has lost its pod"
    assert tally.largest_difference_m < SAME_POSES_M
