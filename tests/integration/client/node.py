"""People who are streamed by the page's own JavaScript module, in Node.js."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.integration.client.people import CLIP, FPS, WalkingPerson
from tests.integration.server_process import REPOSITORY

MODULE = REPOSITORY / "service" / "poselift_service" / "web" / "client.js"
PROGRAM = Path(__file__).with_name("stream_person.mjs")
# Node.js 20 has WebSockets only with this option; later ones accept it.
NODE = ("node", "--no-warnings", "--experimental-websocket")
_VERSION_S = 60


@cache
def has_websockets() -> bool:
    """Whether Node.js is installed, and new enough."""
    if shutil.which("node") is None:
        return False
    return (
        subprocess.run([*NODE, "-e", "WebSocket"], capture_output=True, timeout=_VERSION_S, check=False).returncode == 0
    )


def stream(
    person: WalkingPerson, url: str, pause_ms: float, before_frame: Callable[[int], None], *, give_up_after_s: float
) -> NDArray[np.float64]:
    """Stream a person with full lookahead; the module is as many frames ahead of the answers as its window allows.

    Args:
        pause_ms: between frames.
        before_frame: called with the index of each frame, when it is about to be sent.
        give_up_after_s: time without any answer after which the stream fails.
    Returns:
        The poses [F, J, 3].
    """
    times: dict[str, Any] = {"fps": FPS} if person.times_s is None else {}
    task = {
        "opening": {**CLIP, **times, "lookahead": "full"},
        "keypoints": person.points.tolist(),
        "times_s": None if person.times_s is None else person.times_s.tolist(),
        "pause_ms": pause_ms,
        "give_up_after_s": give_up_after_s,
    }
    lifted = _run(task, url, before_frame)
    assert [frame["frame_index"] for frame in lifted] == list(range(person.length)), "lost, doubled, or out of order"
    return np.array([frame["pose"] for frame in lifted])


def _run(task: dict[str, Any], url: str, before_frame: Callable[[int], None]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        module = shutil.copy(MODULE, Path(folder) / "client.mjs")  # by this ending, Node.js knows a module
        task_file = Path(folder) / "person.json"
        task_file.write_text(json.dumps(task), encoding="utf-8")
        command = [*NODE, str(PROGRAM), str(module), url]
        environment = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
        with (
            task_file.open() as given,
            subprocess.Popen(
                command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
            ) as process,
        ):
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                if line.strip().isdigit():
                    before_frame(int(line))
                else:
                    said.append(line)
        assert process.returncode == 0, "".join(said)
        lifted: list[dict[str, Any]] = json.loads(said[-1])
        return lifted
