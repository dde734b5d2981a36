"""The server on a GPU, under load, while another model is loaded and unloaded."""

import json
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.gpu.context import REPOSITORY, Context, random_artifact

_KEY = "prove-on-a-gpu-only"
_SAME_M = 1e-4


def server(context: Context) -> None:
    """Clients of JSON and streams, and changes of models meanwhile."""
    import httpx

    from poselift.artifacts.publish import publish
    from tests.integration.server_process import running
    from tests.integration.walking import at_rate, body, keypoints

    clients, frames, seconds = (2, 30, 2.0) if context.tiny else (12, 1000, 15.0)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(REPOSITORY / "models", models)
        other = random_artifact("pstmo-s-81", tiny=context.tiny)
        publish(str(models), other.manifest, other.lifter)
        settings: dict[str, Any] = {"device": context.device, "admin": True, "admin_key": _KEY, "threads": 1}
        settings |= {"default_model": "pstmo-tiny-27", "load": "pstmo-tiny-27"}
        started = time.monotonic()
        with (
            running(models, Path(folder) / "log", **settings) as process,
            httpx.Client(base_url=process.address, timeout=60) as client,
        ):
            context.report("seconds to ready", time.monotonic() - started)
            peak = Path(f"/proc/{process.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
            context.report("MB of the process, most", int(peak) // 1000)
            clip = body(keypoints(at_rate(50, frames)))
            first = _joints(client.post("/lift", json=clip).json())
            load = _Load(process.address, clip, clients)
            with load:
                time.sleep(seconds / 3)
                _change_models(context, client)
                time.sleep(seconds / 3)
                context.at_most("m between a stream and POST /lift", _stream_difference_m(client), _SAME_M)
                time.sleep(seconds / 3)
            load.report(context, frames)
            again = _joints(client.post("/lift", json=clip).json())
            context.at_most("m before and after", float(np.abs(first - again).max()), _SAME_M)


class _Load:
    """Clients that post the same clip again and again."""

    def __init__(self, address: str, clip: Any, clients: int) -> None:
        self._address, self._content = address, json.dumps(clip)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post) for _ in range(clients)]
        self._seconds: list[float] = []
        self._failures: list[str] = []

    def __enter__(self) -> None:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._took_s = time.monotonic() - self._started

    def _post(self) -> None:
        import httpx

        with httpx.Client(base_url=self._address, timeout=60) as client:
            while not self._stop.is_set():
                started = time.monotonic()
                headers = {"content-type": "application/json"}
                response = client.post("/lift", content=self._content, headers=headers)
                self._seconds.append(time.monotonic() - started)
                if response.status_code != 200:
                    self._failures.append(f"{response.status_code} {response.text[:200]}")

    def report(self, context: Context, frames: int) -> None:
        context.report("failed requests", self._failures[:3], "none", ok=not self._failures)
        context.report("poses/s over JSON", len(self._seconds) * frames / self._took_s)
        centiles = statistics.quantiles(self._seconds, n=100) if len(self._seconds) > 1 else [0.0] * 99
        context.report("ms of a request, median and 99 %", [round(1e3 * centiles[n]) for n in (49, 98)])


def _change_models(context: Context, client: Any) -> None:
    headers = {"authorization": f"Bearer {_KEY}"}
    path = "/admin/models/pstmo-s-81/1"
    started = time.monotonic()
    statuses = [client.put(path, headers=headers).status_code]
    context.report("seconds to load a model under load", time.monotonic() - started)
    statuses.append(client.delete(path, headers=headers).status_code)
    context.report("loaded and unloaded under load", statuses, "200s", ok=all(200 <= s < 300 for s in statuses))


def _stream_difference_m(client: Any) -> float:
    from tests.integration.walking import at_rate, body, frames, keypoints

    points = keypoints(at_rate(50, 40), 3)
    clip = _joints(client.post("/lift", json=body(points)).json())
    opening = {key: value for key, value in body(points).items() if key != "keypoints"}
    session = client.post("/sessions", json=opening | {"lookahead": "full"}).json()["session_id"]
    poses = []
    for number, frame in enumerate(frames(points)):
        answer = client.post(f"/sessions/{session}/frames", json={"frame_index": number, "keypoints": [frame]}).json()
        poses += answer["frames"]
    poses += client.delete(f"/sessions/{session}").json()["frames"]
    streamed = np.array([pose["pose"] for pose in poses], dtype=np.float64)
    return float(np.abs(streamed - clip[: len(streamed)]).max())


def _joints(answer: Any) -> np.ndarray:
    return np.array(answer["poses"], dtype=np.float64)
