"""The server on a GPU, under load, while another model is loaded and unloaded."""

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.gpu.context import REPOSITORY, Context, untrained

_KEY = "prove-on-a-gpu-only"
_SAME_M = 1e-4
_MODEL = "pstmo-tiny-27"
# More frames than a stream can send in a second.
_MAX_FPS = 1000


def server(context: Context) -> None:
    """Clients of JSON, gRPC and streams in turn, and changes of models beside the first."""
    import httpx

    from poselift.artifacts.publish import publish
    from tests.integration.redis_process import free_port
    from tests.integration.server_process import running
    from tests.integration.walking import body

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(REPOSITORY / "models", folder / "models")
        other = untrained("pstmo-s-81", tiny=context.tiny)
        publish(str(folder / "models"), other.manifest, other.lifter)
        settings: dict[str, Any] = {"device": context.device, "admin": True, "admin_key": _KEY, "threads": 1}
        settings |= {"default_model": _MODEL, "load": _MODEL, "grpc_port": free_port()}
        started = time.monotonic()
        with (
            running(folder / "models", folder / "log", **settings) as process,
            httpx.Client(base_url=process.address, timeout=60) as client,
        ):
            context.report("seconds to ready", time.monotonic() - started)
            peak = Path(f"/proc/{process.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
            context.report("MB of the process, most", int(peak) // 1000)
            clip = body(_clip(30))
            first = _joints(client.post("/lift", json=clip).json())
            ports = {"http": httpx.URL(process.address).port, "grpc": settings["grpc_port"]}
            _load(context, client, folder, ports)
            again = _joints(client.post("/lift", json=clip).json())
            context.at_most("m before and after", float(np.abs(first - again).max()), _SAME_M)


def _load(context: Context, client: Any, folder: Path, ports: dict[str, int]) -> None:
    from tests.benchmarks.serving import workloads
    from tests.benchmarks.serving.clients import Load, finish, start

    clients, streams, frames, seconds = (2, 5, 30, 1.0) if context.tiny else (12, 50, 1000, 10.0)
    files = {name: folder / name for name in ("json", "grpc", "stream")}
    files["json"].write_bytes(workloads.as_json(_clip(frames), _MODEL))
    files["grpc"].write_bytes(workloads.as_protobuf(_clip(frames), _MODEL))
    workloads.write_stream(files["stream"], int(seconds * _MAX_FPS))
    live = "/poselift.v1.LiftingService/LiftStream"
    opening = workloads.opening(_MODEL).hex()
    loads = {
        f"JSON, {clients} clients": (Load("http", ports["http"], str(files["json"]), clients, seconds), frames),
        f"gRPC, {clients} clients": (Load("grpc", ports["grpc"], str(files["grpc"]), clients, seconds), frames),
        f"{streams} live streams": (
            Load("stream", ports["grpc"], str(files["stream"]), streams, seconds, method=live, opening=opening),
            1,
        ),
    }
    for name, (load, poses) in loads.items():
        with _busy_share(context, name):
            loading = start(load)
            if load.transport == "http":
                time.sleep(seconds / 3)
                _change_models(context, client)
            elif load.transport == "stream":
                context.at_most("m between a stream and POST /lift", _stream_difference_m(client), _SAME_M)
            outcome = finish(loading)
        failed = len(outcome.refused_s) + len(outcome.late_s)
        context.report(f"{name}: failed requests", failed, "0", ok=failed == 0)
        context.report(f"{name}: poses/s", len(outcome.answered_s) * poses / outcome.elapsed_s)
        centiles = statistics.quantiles(outcome.answered_s, n=100) if len(outcome.answered_s) > 1 else [0.0] * 99
        context.report(f"{name}: ms, median and 99 %", [round(1e3 * centiles[n], 1) for n in (49, 98)])


@contextmanager
def _busy_share(context: Context, name: str) -> Iterator[None]:
    """Report how much of the time the GPU was busy."""
    nvidia_smi = shutil.which("nvidia-smi")
    if context.device == "cpu" or nvidia_smi is None:
        yield
        context.report(f"{name}: % of the time that the GPU is busy", "not known without nvidia-smi")
        return
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    with subprocess.Popen([nvidia_smi, *query], stdout=subprocess.PIPE, text=True) as sampling:
        try:
            yield
        finally:
            sampling.terminate()
        assert sampling.stdout is not None
        samples = [int(line) for line in sampling.stdout.read().split() if line.isdigit()]
    context.report(f"{name}: % of the time that the GPU is busy", statistics.mean(samples) if samples else "not told")


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


def _clip(frames: int) -> Any:
    from tests.integration.walking import at_rate, keypoints

    return keypoints(at_rate(50, frames))


def _joints(answer: Any) -> np.ndarray:
    return np.array(answer["poses"], dtype=np.float64)
