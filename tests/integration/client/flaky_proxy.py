"""Streams people through a bad network, with the client library and client.js: no frame may be lost or lifted twice.

python -m tests.integration.client.flaky_proxy
Tiny variant: python -m tests.integration.client.flaky_proxy --seconds 10
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poselift.client import Client
from tests.integration.client import node
from tests.integration.client.people import WalkingPerson
from tests.integration.client.tcp_proxy import Disturbed, Faults, TcpProxy
from tests.integration.conftest import MODEL, publish_random_models
from tests.integration.redis_process import free_port
from tests.integration.server_process import running

# Without hanging connections, each of which costs a quarter of the time limit.
QUICK_FAULTS = Faults(cut=0.01, halve=0.05, delay_s=0.005)
FAULTS = replace(QUICK_FAULTS, hang=0.001)
TRANSPORTS = ("websocket", "grpc")
TIMEOUT_S = 60.0


def kinds() -> tuple[str, ...]:
    """Of clients that can be run here."""
    return (*TRANSPORTS, *(("javascript",) if node.has_websockets() else ()))


@dataclass
class Tally:
    """The results of a run."""

    streams: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    largest_difference_m: float = 0.0
    disturbed: Disturbed = field(default_factory=Disturbed)

    def __str__(self) -> str:
        over = ", ".join(f"{count} {kind}" for kind, count in sorted(self.streams.items()))
        faults = self.disturbed
        return (
            f"{self.streams.total()} streams ({over}): {self.frames} frames, each answered once, over "
            f"{faults.connections} connections with {faults.cuts} cuts, {faults.hangs} hangs, {faults.halves} halves;"
            f" largest difference to POST /lift {self.largest_difference_m:.1e} m"
        )


def stream_people(seconds: float, models: Path, folder: Path, faults: Faults = FAULTS) -> Tally:
    """Stream people for some time, one of each kind at a time, and check that nothing is lost.

    Args:
        models: repository with the model that they serve.
        folder: for what the server logs.
    """
    tally, grpc_port = Tally(), free_port()
    settings = {"default_model": f"{MODEL}@stable", "grpc_port": grpc_port, "max_connections_per_peer": 1000}
    with running(models, folder / "log", **settings) as server, ThreadPoolExecutor(len(kinds())) as people:
        port = int(server.address.rpartition(":")[2])

        def one_after_another(kind: str) -> None:
            end, number = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                chance = random.Random(f"{kind} {number}")
                person = WalkingPerson(chance)
                with proxies(port, grpc_port, faults, number, tally.disturbed) as (http, grpc):
                    poses = streamed(person, kind, http, grpc)
                with Client(server.address) as client:
                    difference_m = person.difference_m(client, poses)
                tally.streams[kind] += 1
                tally.frames += person.length
                tally.largest_difference_m = max(tally.largest_difference_m, difference_m)
                number += 1

        for result in people.map(one_after_another, kinds()):
            assert result is None
    return tally


@contextmanager
def proxies(port: int, grpc_port: int, faults: Faults, seed: int, disturbed: Disturbed) -> Iterator[tuple[int, int]]:
    """The ports of proxies to the server; their faults are added up at the end."""
    with TcpProxy(lambda: port, faults, seed) as http, TcpProxy(lambda: grpc_port, faults, seed) as grpc:
        yield http.port, grpc.port
        for counts in (http.counts, grpc.counts):
            disturbed.add(counts)


def streamed(person: WalkingPerson, kind: str, port: int, grpc_port: int) -> NDArray[np.float64]:
    """The poses of a person who is streamed to the ports."""
    if kind == "javascript":
        return node.stream(person, f"http://127.0.0.1:{port}", give_up_after_s=TIMEOUT_S)
    with connected(kind, port, grpc_port) as client:
        return person.stream(client)


def connected(kind: str, port: int, grpc_port: int, *, timeout_s: float = TIMEOUT_S) -> Client:
    """A client of the ports whose streams use one of the transports."""
    grpc = f"127.0.0.1:{grpc_port}" if kind == "grpc" else None
    return Client(f"http://127.0.0.1:{port}", grpc=grpc, timeout_s=timeout_s)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Stream people through a bad network.")
    options.add_argument("--seconds", type=float, default=300.0)
    seconds: float = options.parse_args().seconds
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        publish_random_models(folder / "models")
        sys.stdout.write(f"{stream_people(seconds, folder / 'models', folder)}\n")
