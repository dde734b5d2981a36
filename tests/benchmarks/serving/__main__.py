"""How much of the bare network's speed is left when a server stands around it.

    python -m tests.benchmarks.serving                  # everything, about ten minutes on two cores
    python -m tests.benchmarks.serving clips latency    # some of it
    python -m tests.benchmarks.serving --seconds 2      # a first look

Server, clients and the bare network each run in a process of their own on this machine, and share its processors. What
is compared takes turns within one run, and each table says what its shares are of. Numbers are printed, never judged;
a busy machine gives wrong ones.
"""

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.manifest import Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import look_up
from poselift.lifters import systems
from tests.benchmarks.serving import clients, echo, workloads
from tests.benchmarks.serving.clients import Load, Outcome
from tests.benchmarks.serving.forward import Forward, forward
from tests.integration.redis_process import free_port
from tests.integration.server_process import ServerProcess, running

SMALL, LARGE = "pstmo-tiny-27", "pstmo-s-81"
SHIPPED = Path("models")
JSON, PROTOBUF = workloads.CONTENT_TYPES["json"], workloads.CONTENT_TYPES["protobuf"]
LIFT_STREAM = "/poselift.v1.LiftingService/LiftStream"
CLIP_FRAMES = 150
ROUNDS = 3
# Time for clients to start before others are measured beside them, and to go on after those.
SETTLING_S = 4.0
FLOOD_S, FLOOD_DEADLINE_S = 25.0, 8.0
console = Console(width=120)


@dataclass(frozen=True)
class Bench:
    """A running server, and the networks it serves.

    Attributes:
        models: repository with SMALL, the shipped network, and LARGE, with the sizes of the paper and random weights.
        folder: for the files that clients send.
    """

    models: Path
    folder: Path
    http_port: int
    grpc_port: int
    server: ServerProcess
    seconds: float

    def artifact(self, model: str) -> Path:
        return Path(look_up(self.models, model).location)

    def load(
        self, transport: str, body: bytes, content_type: str = JSON, *, count: int = 1, seconds: float | None = None
    ) -> Load:
        """Clients that send one body again and again."""
        path = self.folder / hashlib.sha1(body, usedforsecurity=False).hexdigest()
        path.write_bytes(body)
        port = self.grpc_port if transport == "grpc" else self.http_port
        return Load(transport, port, str(path), count, seconds or self.seconds, content_type)

    def stream(self, model: str, streams: int) -> Load:
        """Live streams, a frame at a time."""
        path = self.folder / "frames"
        if not path.exists():
            workloads.write_stream(path, 40_000)
        opening = workloads.opening(model).hex()
        return Load("stream", self.grpc_port, str(path), streams, self.seconds, method=LIFT_STREAM, opening=opening)

    def batch_windows(self, model: str) -> int:
        """Windows that the server runs at a time at most."""
        return next(
            int(line["batch_windows"])
            for line in self.server.log_lines()
            if line["message"].startswith(f"{model} version") and "batch_windows" in line
        )

    def resident_mb(self) -> float:
        """Memory of the server."""
        pages = int(Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6


def write_models(repository: Path) -> None:
    """Publish both networks into a repository of their own."""
    (repository / SMALL).symlink_to((SHIPPED / SMALL).absolute())
    network = {"frames": 81, "mask_token": True}
    draft = Manifest(
        name=LARGE,
        system="pstmo",
        network=network,
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=1,
        missing_joints="token",
    )
    torch.manual_seed(0)
    publish(repository, draft, systems.build("pstmo", network))


@contextmanager
def bench(seconds: float, **settings: object) -> Iterator[Bench]:
    """Start a server with both networks."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models = folder / "models"
        models.mkdir()
        write_models(models)
        grpc_port = free_port()
        with running(
            models, folder / "log", default_model=SMALL, grpc_port=grpc_port, engine="auto", threads=0, **settings
        ) as server:
            http_port = int(server.address.rpartition(":")[2])
            yield Bench(models, folder, http_port, grpc_port, server, seconds)


def poses_per_s(outcome: Outcome, poses: int) -> float:
    return poses * len(outcome.answered_s) / outcome.elapsed_s


def rate_served(load: Load, poses: int) -> float:
    """Poses per second that clients get whose requests are answered with so many."""
    return poses_per_s(clients.run(load), poses)


def rate_alone(network: Forward, seconds: float, frames: int) -> float:
    """Poses per second of the network alone."""
    return network.passes(seconds, frames).poses_per_s


def milliseconds(seconds: list[float], percentile: float) -> float:
    return float(np.percentile(seconds, percentile)) * 1000


@dataclass(frozen=True)
class Comparison:
    """Rates of something served and of the same without a server, in turns.

    Attributes:
        share: of each round served in the mean of the bare ones right before and after it, for the speed of a machine
            drifts; the median of all rounds.
    """

    served: float
    bare: float
    share: float


def compare(served: Callable[[], float], bare: Callable[[], float]) -> Comparison:
    """Measure both for some rounds."""
    bare_rates, served_rates = [bare()], []
    for _ in range(ROUNDS):
        served_rates.append(served())
        bare_rates.append(bare())
    shares = [2 * rate / sum(bare_rates[at : at + 2]) for at, rate in enumerate(served_rates)]
    return Comparison(*(float(np.median(values)) for values in (served_rates, bare_rates, shares)))


def measure_clips(bench: Bench) -> None:
    """Clips at several numbers of clients, beside the engine alone."""
    points = workloads.clip(CLIP_FRAMES)
    forms = {
        "JSON": bench.load("http", workloads.as_json(points, LARGE)),
        "protobuf": bench.load("http", workloads.as_protobuf(points, LARGE), PROTOBUF),
        "gRPC": bench.load("grpc", workloads.as_protobuf(points, LARGE)),
    }
    counts = (1, 8, 32)
    table = Table("poses/s, share of the engine alone", *(f"{count} clients" for count in counts))
    with forward("ours", bench.artifact(LARGE)) as engine:
        for form, load in forms.items():
            shares = []
            for count in counts:
                rates = compare(
                    partial(rate_served, replace(load, clients=count), CLIP_FRAMES),
                    partial(rate_alone, engine, bench.seconds, CLIP_FRAMES),
                )
                shares.append(f"{rates.served:.0f}, {rates.share:.0%}")
            table.add_row(form, *shares)
    show(f"(a) clips of {CLIP_FRAMES} frames through {LARGE}", table)


def measure_latency(bench: Bench) -> None:
    """What a request takes longer than the run of the network that answers it, one client at a time."""
    table = Table("milliseconds", "network p50", "network p99", "added p50", "added p99")
    with forward("ours", bench.artifact(SMALL)) as engine:
        for frames in (1, CLIP_FRAMES):
            points = workloads.clip(frames)
            loads = {
                "JSON": bench.load("http", workloads.as_json(points, SMALL)),
                "protobuf": bench.load("http", workloads.as_protobuf(points, SMALL), PROTOBUF),
                "gRPC": bench.load("grpc", workloads.as_protobuf(points, SMALL)),
            }
            if frames == 1:
                loads["live frame"] = bench.stream(SMALL, 1)
            for form, load in loads.items():
                passes: list[float] = []
                taken: list[float] = []
                for _ in range(ROUNDS):
                    passes += engine.passes(bench.seconds, frames).seconds
                    taken += clients.run(load).answered_s
                bare = [milliseconds(passes, share) for share in (50, 99)]
                added = [milliseconds(taken, share) - alone for share, alone in zip((50, 99), bare, strict=True)]
                table.add_row(f"{frames} frames, {form}", *(f"{value:.2f}" for value in (*bare, *added)))
    show(f"(b) added latency, one client, {SMALL}", table)


def measure_streams(bench: Bench) -> None:
    """Live frames beside messages through the least gRPC server."""
    port = free_port()
    table = Table("streams", "live frames/s", "echoed messages/s", "share")
    with echo.running(port):
        for streams in (1, 16, 64):
            live = bench.stream(SMALL, streams)
            bare = replace(live, port=port, method=echo.METHOD, opening="")
            rates = compare(partial(rate_served, live, 1), partial(rate_served, bare, 1))
            table.add_row(str(streams), f"{rates.served:.0f}", f"{rates.bare:.0f}", f"{rates.share:.0%}")
    show(f"(c) live frames through {SMALL}, beside a bare grpc.aio echo", table)


def measure_mixture(bench: Bench) -> None:
    """How long live frames wait for clips that keep the engine busy."""
    table = Table("milliseconds", "live p99", "beside clips", "one run of the network", "runs waited longer")
    for model in (SMALL, LARGE):
        live = bench.stream(model, 4)
        clip = workloads.as_protobuf(workloads.clip(CLIP_FRAMES), model)
        bulk = bench.load("http", clip, PROTOBUF, count=8, seconds=ROUNDS * bench.seconds + SETTLING_S)
        alone = milliseconds(clients.run(replace(live, seconds=ROUNDS * bench.seconds)).answered_s, 99)
        clips = clients.start(bulk)
        time.sleep(SETTLING_S / 2)
        beside = milliseconds(clients.run(replace(live, seconds=ROUNDS * bench.seconds - SETTLING_S)).answered_s, 99)
        clients.finish(clips)
        with forward("ours", bench.artifact(model)) as engine:
            rate = engine.passes(bench.seconds, CLIP_FRAMES).windows_per_s
        run_ms = 1000 * bench.batch_windows(model) / rate
        figures = alone, beside, run_ms, (beside - alone) / run_ms
        table.add_row(f"through {model}", *(f"{figure:.1f}" for figure in figures))
    show("(d) live frames while clips keep the engine busy", table)


def measure_flood(bench: Bench) -> None:
    """Five times as many clips as the server can lift: what becomes of those taken and of those refused."""
    clip = bench.load("http", workloads.as_protobuf(workloads.clip(CLIP_FRAMES), LARGE), PROTOBUF, count=8)
    table = Table("", "")
    capacity = rate_served(clip, CLIP_FRAMES)
    before_mb = bench.resident_mb()
    seconds = FLOOD_S
    outcome = clients.run(replace(clip, seconds=seconds, rate_hz=5 * capacity / CLIP_FRAMES))
    goodput = poses_per_s(outcome, CLIP_FRAMES)
    table.add_row("capacity", f"{capacity:.0f} poses/s")
    counts = len(outcome.answered_s), len(outcome.late_s), len(outcome.refused_s)
    table.add_row("clips answered, taken and late, refused", ", ".join(map(str, counts)))
    table.add_row("goodput", f"{goodput / capacity:.0%} of capacity")
    table.add_row(
        "refusal p50, p99", " ms, ".join(f"{milliseconds(outcome.refused_s, p):.1f}" for p in (50, 99)) + " ms"
    )
    table.add_row(
        "answer p99", f"{milliseconds(outcome.answered_s + outcome.late_s, 99) / 1000:.1f} s of {FLOOD_DEADLINE_S} s"
    )
    table.add_row("resident memory before, after", f"{before_mb:.0f} MB, {bench.resident_mb():.0f} MB")
    show(f"(e) a flood of clips through {LARGE} at five times the capacity", table)


def measure_others(bench: Bench) -> None:
    """The workloads that other model servers were measured with, as shares of the plain network of one size."""
    table = Table("share of the plain network", LARGE)
    manifest = load_artifact(bench.artifact(LARGE)).manifest
    receptive_field = manifest.network["frames"]
    # At this rate the frames sent are exactly those of the window around the one in the middle.
    window = workloads.as_json(
        workloads.clip(receptive_field),
        LARGE,
        fps=manifest.frame_rate_hz / manifest.temporal_stride,
        target=receptive_field // 2,
    )
    clip = workloads.as_json(workloads.clip(CLIP_FRAMES), LARGE)
    cases = {
        "one window, 32 clients": (bench.load("http", window, count=32), 1),
        "one clip, 1 client": (bench.load("http", clip), CLIP_FRAMES),
        "one clip, 8 clients": (bench.load("http", clip, count=8), CLIP_FRAMES),
    }
    with forward("plain", bench.artifact(LARGE)) as network:
        for case, (load, poses) in cases.items():
            rates = compare(partial(rate_served, load, poses), partial(rate_alone, network, bench.seconds, CLIP_FRAMES))
            table.add_row(case, f"{rates.share:.0%} ({rates.served:.0f} of {rates.bare:.0f}/s)")
    show("(f) JSON, as other model servers were measured", table)


def show(title: str, table: Table) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table)


MEASURES: dict[str, Callable[[Bench], None]] = {
    "clips": measure_clips,
    "latency": measure_latency,
    "streams": measure_streams,
    "mixture": measure_mixture,
    "flood": measure_flood,
    "others": measure_others,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], help="all when none is named")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    options = parser.parse_args()
    for name in options.measures or MEASURES:
        settings = {"deadline_s": FLOOD_DEADLINE_S} if name == "flood" else {}
        with bench(options.seconds, **settings) as running_bench:
            MEASURES[name](running_bench)


if __name__ == "__main__":
    main()
