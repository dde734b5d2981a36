"""What a pose costs with one model and with another: operations, clips through POST /lift, and live frames.

    python -m tests.benchmarks.serving.models --models pstmo-tiny-27@4 pstmo-tiny-27@11
    python -m tests.benchmarks.serving.models --models A B --repository DIR --seconds 2 --rounds 2    # a first look

One server has both models loaded, and they take turns; each is given its fastest round. Beside the rate there is the
rate per second of the server's processor time, which other work on the machine changes less. Numbers are printed, never
judged.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from poselift.artifacts.repository import look_up
from poselift.artifacts.verify import read_manifest
from poselift.lifters.costs import ServedCost
from poselift.lifters.systems import configure, served_cost
from tests.benchmarks.serving import clients, workloads
from tests.benchmarks.serving.clients import Load
from tests.integration.redis_process import free_port
from tests.integration.server_process import ServerProcess, running

CLIP_FRAMES = 150
CLIP_CLIENTS, STREAMS = 4, 16
LIFT_STREAM = "/poselift.v1.LiftingService/LiftStream"


@dataclass(frozen=True)
class Rate:
    """Poses per second, and per second of the server's processor time."""

    per_s: float
    per_processor_s: float


def processor_s(server: ServerProcess) -> float:
    """Time that all threads of the server have run so far."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def measure(server: ServerProcess, load: Load, poses: int) -> Rate:
    """Load a server with requests that are answered with so many poses."""
    before_s = processor_s(server)
    outcome = clients.run(load)
    answered = poses * len(outcome.answered_s)
    return Rate(answered / outcome.elapsed_s, answered / (processor_s(server) - before_s))


def loads(model: str, folder: Path, server: ServerProcess, grpc_port: int, seconds: float) -> dict[str, Load]:
    """What is sent to a model, by the name of its row."""
    http_port = int(server.address.rpartition(":")[2])
    clip = workloads.clip(CLIP_FRAMES)
    bodies = {"json": workloads.as_json(clip, model), "protobuf": workloads.as_protobuf(clip, model)}
    found = {}
    for form, body in bodies.items():
        file = folder / f"{model}.{form}"
        file.write_bytes(body)
        content_type = workloads.CONTENT_TYPES[form]
        found[f"POST /lift, {form}"] = Load("http", http_port, str(file), CLIP_CLIENTS, seconds, content_type)
    frames = folder / "frames"
    if not frames.exists():
        workloads.write_stream(frames, 40_000)
    opening = workloads.opening(model).hex()
    found["live frames"] = Load("stream", grpc_port, str(frames), STREAMS, seconds, method=LIFT_STREAM, opening=opening)
    return found


def print_networks(server: ServerProcess) -> None:
    """Print how the server runs each model, and how fast that was when it chose."""
    for line in server.log_lines():
        if line["message"].endswith(" is warm"):
            rates = line["windows_per_s"][f"{line['library']} {line['precision']}"]
            print(f"{line['message']}: {line['library']}, {line['threads']} threads, windows/s by batch {rates}")


def in_turns(
    models: list[str], repository: Path, *, threads: int, seconds: float, rounds: int
) -> list[dict[str, Rate]]:
    """The fastest of some rounds of each load, for each model."""
    best: list[dict[str, Rate]] = [{} for _ in models]
    grpc_port = free_port()
    settings = {"load": ",".join(models), "default_model": models[0], "engine": "auto", "threads": threads}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with running(repository.absolute(), folder / "log", grpc_port=grpc_port, **settings) as server:
            print_networks(server)
            sent = [loads(model, folder, server, grpc_port, seconds) for model in models]
            for _ in range(rounds):
                for name in sent[0]:
                    for rates, model_loads in zip(best, sent, strict=True):
                        rate = measure(server, model_loads[name], 1 if name == "live frames" else CLIP_FRAMES)
                        rates[name] = max(rate, rates.get(name, rate), key=lambda one: one.per_processor_s)
    return best


def cost_of(model: str, repository: Path) -> ServedCost:
    manifest = read_manifest(look_up(repository, model).location)
    return served_cost(manifest.system, configure(manifest.system, manifest.network))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs=2, required=True, metavar=("A", "B"), help="name@version of each")
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of each network; 0: the server chooses")
    options = parser.parse_args()
    costs = [cost_of(model, options.repository) for model in options.models]
    table = Table("", *options.models, "times better")

    def add(name: str, values: list[float], form: Callable[[float], str], times: float) -> None:
        table.add_row(name, *map(form, values), f"{times:.2f}")

    for name, flops in (
        ("MFLOP per pose of a clip", [cost.clip_pose for cost in costs]),
        ("MFLOP per live frame", [cost.live_frame for cost in costs]),
    ):
        add(name, [count / 1e6 for count in flops], "{:.1f}".format, flops[0] / flops[1])
    settings = {"threads": options.threads, "seconds": options.seconds, "rounds": options.rounds}
    found = in_turns(options.models, options.repository, **settings)
    for name in found[0]:
        for suffix, values in (
            ("poses/s", [rates[name].per_s for rates in found]),
            ("poses per processor second", [rates[name].per_processor_s for rates in found]),
        ):
            add(f"{name}: {suffix}", values, "{:.0f}".format, values[1] / values[0])
    console = Console(width=120)
    console.print(f"clips of {CLIP_FRAMES} frames, {CLIP_CLIENTS} clients; {STREAMS} live streams without lookahead")
    console.print(table)


if __name__ == "__main__":
    main()
