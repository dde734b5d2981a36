"""People who are streamed by the page's own JavaScript module, in Node.js."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.integration.client.people import WalkingPerson
from tests.integration.server_process import REPOSITORY

MODULE = REPOSITORY / "service" / "poselift_service" / "web" / "client.js"
PROGRAM = Path(__file__).with_name("stream_person.mjs")
# Node.js 20 has WebSockets only with this option; later ones accept it.
NODE = ("node", "--no-warnings", "--experimental-websocket")
_VERSION_S = 60
# Of a whole stream, in times without any answer after which it gives up by itself.
_MOST_GIVE_UPS = 4


@cache
def has_websockets() -> bool:
    """Whether Node.js is installed, and new enough."""
    if shutil.which("node") is None:
        return False
    return (
        subprocess.run([*NODE, "-e", "WebSocket"], capture_output=True, timeout=_VERSION_S, check=False).returncode == 0
    )


def stream(
    person: WalkingPerson,
    url: str,
    *,
    give_up_after_s: float,
    pause_ms: float = 0,
    before_frame: Callable[[int], None] = lambda index: None,
) -> NDArray[np.float64]:
    """Stream a person with full lookahead; the module is as many frames ahead of the answers as its window allows.

    Args:
        give_up_after_s: time without any answer after which the stream fails.
        pause_ms: between frames.
        before_frame: called with the index of each frame, when it is about to be sent.
    Returns:
        The poses [F, J, 3].
    """
    task = {
        "opening": person.opening,
        "keypoints": person.points.tolist(),
        "times_s": None if person.times_s is None else person.times_s.tolist(),
        "pause_ms": pause_ms,
        "give_up_after_s": give_up_after_s,
    }
    lifted = run(task, url, _MOST_GIVE_UPS * give_up_after_s, before_frame)
    person.expect_each_frame(frame["frame_index"] for frame in lifted)
    return np.array([frame["pose"] for frame in lifted])


def run(
    task: dict[str, Any], url: str, limit_s: float, before_frame: Callable[[int], None] = lambda index: None
) -> list[dict[str, Any]]:
    """What the program hands over for a task."""
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
            giving_up = threading.Timer(limit_s, process.kill)
            giving_up.start()
            try:
                said = _listen(process, before_frame)
            finally:
                giving_up.cancel()
        assert process.returncode == 0, f"{process.returncode} within {limit_s:g} s: {''.join(said)}"
        lifted: list[dict[str, Any]] = json.loads(said[-1])
        return lifted


def _listen(process: subprocess.Popen[str], before_frame: Callable[[int], None]) -> list[str]:
    """What it says besides the indices of frames, to its end."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        if line.strip().isdigit():
            before_frame(int(line))
        else:
            said.append(line)
    return said
