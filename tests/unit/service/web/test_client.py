"""client.js in Node.js: what a stream does when connections, sessions and answers get lost."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLIENT = HERE.parents[3] / "service" / "poselift_service" / "web" / "client.js"
FRAMES = 250
ANSWER_S = 120


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("times", ["steady", "timed"])
def test_no_pose_is_lost_and_none_comes_twice(tmp_path: Path, times: str):
    module = shutil.copy(CLIENT, tmp_path / "client.mjs")  # by this ending, Node.js knows a module
    happened = dict.fromkeys(("cuts", "silences", "lostSessions", "rewinds", "found", "refusals"), 0)
    for seed in (1, 2, 3):
        command = ["node", str(HERE / "live_session.mjs"), str(module), str(seed), str(FRAMES), times]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_S)
        answer = json.loads(done.stdout)
        assert (answer["lost"], answer["doubled"]) == (0, 0), answer
        happened = {name: count + answer[name] for name, count in happened.items()}
    assert min(happened.values()) > 0, happened
