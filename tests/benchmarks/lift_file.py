"""How fast `poselift lift` lifts a long recording, beside the bare engine on the same keypoints.

    python -m tests.benchmarks.lift_file                    # 100 000 frames: two minutes on two idle cores
    python -m tests.benchmarks.lift_file --frames 20000 --model runs/models/own/1

The command is given an npz and writes an npz: its time has everything from the start of Python to the last byte. The
bare engine, tuned as the server tunes it, is given windows that are laid already, before and after the command, because
other work on the machine comes and goes. Seconds of the processor tell the same story where it is busy. Numbers are
printed, never asserted; the goal is a share of 80 %.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.lifting import prepare_parts
from poselift.networks.candidates import candidates
from poselift.networks.slice import Slice
from poselift.networks.tuned import TunedNetwork
from tests.benchmarks.json_reader import processor
from tests.integration.walking import COCO, IMAGE_SIZE, at_rate, keypoints
from tests.shipped_model import SHIPPED_MODEL

FPS = 30
# The bare engine lifts this many frames each time.
BARE_FRAMES = 10_000


class Spent(NamedTuple):
    """Time that lifting took."""

    frames: int
    wall_s: float
    processor_s: float

    def __str__(self) -> str:
        return f"{self.frames / self.wall_s:8.0f} frames/s  {1e3 * self.processor_s / self.frames:6.3f} ms of processor"


def used_s(who: int) -> float:
    """Seconds of the processor that this process, or its children, have used."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def write_recording(path: Path, frames: int) -> None:
    """Somebody who sways and waves."""
    seen = keypoints(at_rate(FPS, frames)).astype(np.float32)
    np.savez(path, keypoints=seen, skeleton=COCO.name, fps=float(FPS), image_size=np.array(IMAGE_SIZE))


def tuned(artifact: Artifact) -> TunedNetwork:
    """The network that the server would choose."""
    make = candidates(artifact, library="auto", device="auto", threads=0, precision="auto")
    network = TunedNetwork(artifact.manifest, make)
    network.tune()
    return network


def bare(network: TunedNetwork, windows: Slice, frames: int) -> Spent:
    """Lift windows in the largest batches that the engine takes."""
    wall, processor_s = time.perf_counter(), used_s(resource.RUSAGE_SELF)
    for first in range(0, len(windows.index), network.batch_windows):
        network.lift(windows.part(first, min(first + network.batch_windows, len(windows.index))))
    return Spent(frames, time.perf_counter() - wall, used_s(resource.RUSAGE_SELF) - processor_s)


def command(source: Path, output: Path, model: Path, frames: int) -> Spent:
    """Run `poselift lift`."""
    arguments = [sys.executable, "-m", "poselift", "lift", str(source), "-o", str(output), "--model", str(model)]
    wall, processor_s = time.perf_counter(), used_s(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, check=True)
    return Spent(frames, time.perf_counter() - wall, used_s(resource.RUSAGE_CHILDREN) - processor_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    options = parser.parse_args()
    artifact = load_artifact(options.model)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "walk.npz"
        write_recording(source, options.frames)
        network = tuned(artifact)
        ((track, *_), _) = read_keypoints(source)
        prepared = next(prepare_parts(track.sequence, artifact.manifest, min(BARE_FRAMES, options.frames)))
        windows, frames = Slice(prepared.frames, prepared.index), len(prepared.imputed)
        runs = [bare(network, windows, frames)]
        lifted = command(source, Path(folder) / "poses.npz", options.model, options.frames)
        runs.append(bare(network, windows, frames))
    engine = Spent(2 * frames, sum(run.wall_s for run in runs), sum(run.processor_s for run in runs))
    print(processor())
    print(f"bare engine     {engine}  ({network.variant}, {network.variant.threads} threads)")
    print(f"poselift lift   {lifted}")
    share, processor_share = (
        (lifted.frames / lifted_s) / (engine.frames / engine_s)
        for lifted_s, engine_s in ((lifted.wall_s, engine.wall_s), (lifted.processor_s, engine.processor_s))
    )
    print(f"share of the engine's rate: {share:.0%}; by seconds of the processor: {processor_share:.0%}")


if __name__ == "__main__":
    main()
