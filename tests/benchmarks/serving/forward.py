"""The network without a server around it, in a process of its own: what the server is measured against.

Two forms: `plain` is the official network written out, in float32 on as many threads as are fastest; `ours` is the
engine that the server would choose for the artifact, handed whole batches of a clip.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WINDOWS_AT_ONCE = 64
SIDE_PX = 1000
# The plain form may choose among these before it is measured.
THREADS = (1, 2)


@dataclass(frozen=True)
class Passes:
    """Passes over a clip, one after another.

    Attributes:
        frames, windows: of the clip; a sequence-to-sequence lifter needs fewer windows than there are frames.
    """

    frames: int
    windows: int
    seconds: list[float]

    @property
    def poses_per_s(self) -> float:
        return self.frames * len(self.seconds) / sum(self.seconds)

    @property
    def windows_per_s(self) -> float:
        return self.windows * len(self.seconds) / sum(self.seconds)


class Forward:
    """A network in a process that measures when it is told to, and rests in between."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def passes(self, seconds: float, frames: int) -> Passes:
        """Lift clips of so many frames, every frame of them, for some time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds} {frames}\n")
        self._process.stdin.flush()
        return Passes(**json.loads(self._process.stdout.readline()))


@contextmanager
def forward(form: str, folder: Path) -> Iterator[Forward]:
    """Start the network of an artifact in one of the two forms."""
    # The server waits passively as well; the plain form is left as a user of PyTorch finds it.
    waiting = {"OMP_WAIT_POLICY": "PASSIVE"} if form == "ours" else {}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.serving.forward", form, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **waiting},
        text=True,
    ) as process:
        try:
            yield Forward(process)
        finally:
            process.kill()


def plain(folder: Path) -> Callable[[int], int]:
    """The official network: what lifts a clip of so many frames; returns the number of windows."""
    import torch

    from poselift.artifacts.artifact import load_artifact
    from tests.benchmarks.clip_forward import PlainSTMO

    config: Any = load_artifact(folder).lifter.config
    network = PlainSTMO(config).eval()  # with fresh weights: they do not change its speed
    windows = torch.randn(WINDOWS_AT_ONCE, 2, config.frames, config.joints_in, 1)

    @torch.inference_mode()
    def lift(frames: int) -> int:
        for first in range(0, frames, WINDOWS_AT_ONCE):
            network(windows[: frames - first])
        return frames

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        lift(WINDOWS_AT_ONCE)
        started = time.perf_counter()
        lift(4 * WINDOWS_AT_ONCE)
        return time.perf_counter() - started

    torch.set_num_threads(min(THREADS, key=seconds))
    return lift


def ours(folder: Path) -> Callable[[int], int]:
    """The engine of the server: what lifts a clip of so many frames; returns the number of windows."""
    import numpy as np
    import uvloop
    from poselift_service.inference.engine import engine_for

    from poselift.artifacts.artifact import load_artifact
    from poselift.lifting import prepare
    from poselift.networks.slice import Slice
    from poselift.sequence import Sequence

    artifact = load_artifact(folder)
    manifest = artifact.manifest
    engine = engine_for(artifact, library="auto", device="cpu", threads=0, precision="auto")
    loop = uvloop.new_event_loop()
    loop.run_until_complete(engine.warm_up())

    def lift(frames: int) -> int:
        keypoints = np.random.default_rng(0).uniform(1, SIDE_PX, (frames, manifest.source.n_joints, 3))
        times_s = Sequence.times_at(manifest.frame_rate_hz, frames)
        prepared = prepare(Sequence(keypoints.astype(np.float32), manifest.source, SIDE_PX, SIDE_PX, times_s), manifest)
        whole, windows = Slice(prepared.frames, prepared.index), len(prepared.index)
        at_once = engine.batch_windows
        for first in range(0, windows, at_once):
            loop.run_until_complete(engine.lift([whole.part(first, min(first + at_once, windows))]))
        return windows

    return lift


def main() -> None:
    form, folder = sys.argv[1:]
    lift = {"plain": plain, "ours": ours}[form](Path(folder))
    for line in sys.stdin:
        budget_s, frames = float(line.split()[0]), int(line.split()[1])
        windows = lift(frames)
        seconds: list[float] = []
        while sum(seconds) < budget_s:
            started = time.perf_counter()
            lift(frames)
            seconds.append(time.perf_counter() - started)
        print(json.dumps(asdict(Passes(frames, windows, seconds))), flush=True)


if __name__ == "__main__":
    main()
