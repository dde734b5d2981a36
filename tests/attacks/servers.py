"""Servers to attack, of this checkout or of another one, and how much memory they take."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.kinds import documents, grpc_calls
from tests.attacks.target import JSON, PROTOBUF, Target
from tests.attacks.victim import be_served
from tests.integration.redis_process import free_port
from tests.integration.stall import memory_bytes

_START_S, _STOP_S = 120.0, 20.0
_SAMPLE_EVERY_S = 0.05


class Server:
    """A server with the default settings and the model that is shipped, on the CPU with one thread."""

    def __init__(self, tree: Path, log: Path, key: str = "", **settings: object) -> None:
        """Start it; `wait_until_ready` and `stop` must follow.

        Args:
            tree: checkout whose server this is.
            log: file for what it prints and logs.
            key: an API key that is among those of the settings.
        """
        self._ports = free_port(), free_port(), free_port()
        self._key = key
        self.log = log
        names = ("port", "grpc_port", "metrics_port")
        given = {"engine": "torch", "threads": 1, **dict(zip(names, self._ports, strict=True)), **settings}
        variables = {f"POSELIFT_{name.upper()}": str(value) for name, value in given.items()}
        paths = os.pathsep.join(str(tree / folder) for folder in ("", "service", "training"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POSELIFT_")}
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "poselift", "serve"],
                cwd=tree,
                env={**kept, **variables, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        """Wait until it is ready.

        Raises:
            RuntimeError: it has ended, or takes too long.
        """
        until_s = time.monotonic() + _START_S
        while "ready on" not in self.log.read_text():
            if time.monotonic() > until_s or not self.is_alive:
                raise RuntimeError(f"the server does not start, see {self.log}")
            time.sleep(0.05)

    def warm_up(self) -> None:
        """Use it as its clients do, once, because what is used first takes memory that stays."""
        target = self.target(0.5)
        for form, body in ((JSON, documents.clip(2000)), (PROTOBUF, grpc_calls.clip(2000))):
            target.request("POST", "/lift", body, form)
        be_served(target.port, 1.0, self._key)
        if not self._key:
            grpc_calls.lifts(target, frames=10_000)
            grpc_calls.frames_of_nothing(target)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def target(self, seconds: float) -> Target:
        """What attackers of it know."""
        return Target(*self._ports, seconds, self._key)

    def memory_mb(self) -> float:
        """Its resident memory; 0 when it has ended."""
        with contextlib.suppress(OSError, StopIteration):
            return memory_bytes(self.process.pid) / 2**20
        return 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Measure its memory again and again inside of the context."""
        seen, is_over = [self.memory_mb()], threading.Event()

        def watch() -> None:
            while not is_over.wait(_SAMPLE_EVERY_S):
                seen.append(self.memory_mb())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            is_over.set()
            thread.join()

    def stop(self) -> None:
        """End it, in order or at once."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
