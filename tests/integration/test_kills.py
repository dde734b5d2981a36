"""Killing a replica costs a stream nothing. `make kills` does it a hundred times."""

from pathlib import Path

import pytest

from tests.integration.client import node
from tests.integration.kill_replicas import kill_replicas

KILLS = 6
SAME_POSES_M = 1e-4  # guaranteed by the contract of sessions


def test_killed_replicas_lose_no_frame_and_lift_none_twice(models: Path, tmp_path: Path):
    tally = kill_replicas(KILLS, models, tmp_path)
    assert tally.kills == KILLS
    assert {"grpc", "websocket-json", "websocket-protobuf"} <= set(tally.streams)
    assert tally.largest_difference_m < SAME_POSES_M, tally


def test_killed_replicas_cost_the_client_library_nothing(models: Path, tmp_path: Path):
    tally = kill_replicas(KILLS, models, tmp_path, "python")
    assert tally.kills == KILLS
    assert set(tally.streams) == {"grpc", "websocket"}
    assert tally.largest_difference_m < SAME_POSES_M, tally


@pytest.mark.skipif(not node.has_websockets(), reason="no Node.js with WebSockets (20.10 or newer)")
def test_killed_replicas_cost_the_module_of_the_page_nothing(models: Path, tmp_path: Path):
    tally = kill_replicas(KILLS, models, tmp_path, "javascript")
    assert tally.kills == KILLS
    assert set(tally.streams) == {"websocket"}
    assert tally.largest_difference_m < SAME_POSES_M, tally
