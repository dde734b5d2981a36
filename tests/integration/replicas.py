"""Servers that share one Redis, and are killed, suspended and replaced while they are used."""

import os
import random
import re
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.integration.forked_servers import start
from tests.integration.redis_process import lasting_port
from tests.integration.stream_clients import Replica

# Several start at a time, beside all that uses them.
_START_S = 600.0


@dataclass(eq=False)
class _Process:
    replica: Replica | None
    process: ForkServerProcess
    log: Path
    grpc_port: int


class Replicas:
    """Servers that share one Redis; each one that is killed is replaced in the background."""

    def __init__(self, folder: Path, settings: dict[str, object], *, count: int) -> None:
        self._folder = folder
        self._settings = settings
        self._lock = threading.Lock()
        self._started = 0
        self._count = count
        self._closed = False
        self._running: list[_Process] = []
        for _ in range(count):
            self._start()

    def any(self, *, but: Replica | None = None) -> Replica:
        """Wait for a ready server, and return one at random."""
        giving_up = time.monotonic() + _START_S
        while True:
            if ready := [replica for replica in self.ready() if replica != but]:
                return random.choice(ready)
            assert time.monotonic() < giving_up, "no replica became ready"
            assert not self._closed, "the replicas are being ended"
            time.sleep(0.02)

    def ready(self) -> list[Replica]:
        """The servers that have become ready, the suspended ones included."""
        with self._lock:
            return [found for process in self._running if (found := self._look(process)) is not None]

    @property
    def are_complete(self) -> bool:
        """Whether none is still starting."""
        return len(self.ready()) == self._count

    def errors(self) -> list[str]:
        """What the servers, the killed ones included, have logged as errors."""
        logs = [self._folder / f"replica-{number + 1}.log" for number in range(self._started)]
        return [
            f"{log.name}: {line}"
            for log in logs
            for line in log.read_text().split("\n")
            if '"level":"ERROR"' in line or "Traceback" in line
        ]

    def kill(self, replica: Replica) -> bool:
        """Kill a server; return whether it was alive."""
        with self._lock:
            doomed = self._process_of(replica)
            if doomed is None:
                return False
            self._running.remove(doomed)
            doomed.process.kill()
            self._start()
        doomed.process.join()
        return True

    def suspend(self, replica: Replica) -> bool:
        """Stop a server, which then accepts connections and answers nothing; return whether it was alive."""
        return self._signal(replica, signal.SIGSTOP)

    def resume(self, replica: Replica) -> bool:
        return self._signal(replica, signal.SIGCONT)

    def close(self) -> None:
        self._closed = True
        for process in self._running:
            process.process.kill()
            process.process.join()

    def _start(self) -> None:
        if self._closed:
            return
        self._started += 1
        log, port = self._folder / f"replica-{self._started}.log", lasting_port()
        log.touch()
        given = {**self._settings, "port": 0, "grpc_port": port, "metrics_port": 0}
        self._running.append(_Process(None, start(log, given), log, port))

    def _signal(self, replica: Replica, number: signal.Signals) -> bool:
        with self._lock:
            process = self._process_of(replica)
            if process is None or process.process.pid is None:
                return False
            os.kill(process.process.pid, number)
            return True

    def _process_of(self, replica: Replica) -> _Process | None:
        return next((process for process in self._running if process.replica == replica), None)

    def _look(self, process: _Process) -> Replica | None:
        if process.replica is None and (ready := re.search(r"ready on (http://\S+)", process.log.read_text())):
            process.replica = Replica(ready[1], process.grpc_port)
        assert process.process.is_alive(), process.log.read_text()
        return process.replica
