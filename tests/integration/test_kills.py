"""A replica that is killed costs a stream nothing. `make kills` does it a hundred times."""

from pathlib import Path

from tests.integration.kill_replicas import kill_replicas

KILLS = 6
SAME_POSES_M = 1e-4  # what the contract of sessions promises


def test_when_replicas_are_killed_no_frame_is_lost_and_none_lifted_twice(models: Path, tmp_path: Path):
    tally = kill_replicas(KILLS, models, tmp_path)
    assert tally.kills == KILLS
    assert {"grpc", "websocket-json", "websocket-protobuf"} <= set(tally.streams)
    assert tally.largest_difference_m < SAME_POSES_M, tally
