"""What others notice of a request: how long they wait for the event loop, and how much memory the server takes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.integration.server_process import ServerProcess

_INTERVAL_S = 0.02


@dataclass
class Noticed:
    """What was noticed while a block ran.

    Attributes:
        stall_s: longest wait for the answer of a probe.
        grown_bytes: by how much the server's memory had grown at its highest.
    """

    stall_s: float = 0.0
    grown_bytes: int = 0


def memory_bytes(pid: int) -> int:
    """The resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@contextmanager
def noticed(server: ServerProcess) -> Iterator[Noticed]:
    """Probe a server while the block runs."""
    seen, is_over, before = Noticed(), threading.Event(), memory_bytes(server.process.pid)

    def probe() -> None:
        with httpx.Client(base_url=server.address, timeout=60) as client:
            while not is_over.wait(_INTERVAL_S):
                started = time.monotonic()
                client.get("/healthz")
                seen.stall_s = max(seen.stall_s, time.monotonic() - started)
                seen.grown_bytes = max(seen.grown_bytes, memory_bytes(server.process.pid) - before)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()
