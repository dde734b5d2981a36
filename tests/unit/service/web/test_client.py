"""The page's modules in Node.js: what streams and calls do when connections, sessions and answers get lost."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
WEB = HERE.parents[3] / "service" / "poselift_service" / "web"
FRAMES = 250
ANSWER_S = 120

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A copy of the page's files that Node.js takes for modules."""
    copy = shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("mediapipe", "__pycache__"))
    (copy / "package.json").write_text('{"type": "module"}')
    return copy


def told(script: str, *arguments: object) -> dict[str, Any]:
    """What a program in this folder prints as JSON."""
    command = ["node", str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_S)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("times", ["steady", "timed"])
def test_no_pose_is_lost_and_none_comes_twice(modules: Path, times: str):
    happened = dict.fromkeys(("cuts", "silences", "lostSessions", "rewinds", "found", "refusals"), 0)
    for seed in (1, 2, 3):
        answer = told("live_session.mjs", modules / "client.js", seed, FRAMES, times)
        assert (answer["lost"], answer["doubled"]) == (0, 0), answer
        happened = {name: count + answer[name] for name, count in happened.items()}
    assert min(happened.values()) > 0, happened


def test_what_is_given_up_ends_and_answers_may_have_no_body(modules: Path):
    assert told("calls.mjs", modules / "client.js") == {
        "aborted": ["not wanted", 0],
        "204": ["unexpected_response", 1],
        "304": ["unexpected_response", 1],
        "refined": [
            {"world": 1},
            "http://server/refine",
            {
                "request": {"fps": 60},
                "answer": {"tracks": [{"track_id": "7", "poses": [[0]], "world": {"gravity": {"network": 5}}}]},
            },
        ],
        "closedWhileOpening": ["The session was closed.", 0, True],
        "closedWhileConnecting": ["The session was closed.", 1, 0, True],
    }


def test_live_poses_do_not_go_back_and_frames_follow_those_that_were_sent(modules: Path):
    seen = told("live_poses.mjs", modules)
    assert seen == {"drawn": [0, 1, 2, 3, 4, 5], "followed": [True, True, True, False]}


def test_live_poses_tell_once_that_their_server_is_gone(modules: Path):
    assert told("lost_server.mjs", modules) == {"begun": 1, "errors": ["connection_lost"], "opened": 0}
