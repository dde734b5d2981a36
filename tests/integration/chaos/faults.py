"""Kills (SIGKILL) and suspends (SIGSTOP, then SIGCONT) replicas, Redis servers and Sentinels at random."""

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from tests.integration.chaos.redis_kinds import RedisServers
from tests.integration.chaos.tally import Tally
from tests.integration.replicas import Replicas
from tests.integration.stream_clients import Replica

_REPLICA_GAP_S = (0.5, 5.0)
_SENTINEL_GAP_S = (2.0, 12.0)
# Most faults are short; some outlast every timeout.
_DURATIONS_S = (0.05, 0.3, 1.0, 3.0, 8.0)


class _Process(Protocol):
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...


class Faults:
    """Threads that each cause one fault after another, until they are told to end; then everything runs again."""

    def __init__(self, replicas: Replicas, redis: RedisServers, tally: Tally, seed: str) -> None:
        self._replicas = replicas
        self._redis = redis
        self._tally = tally
        self._seed = seed
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._affected: set[_Process] = set()
        self._pool = ThreadPoolExecutor(max_workers=5, thread_name_prefix="faults")
        self._running: list[Future[None]] = []

    def start(self) -> None:
        for number in range(2):
            self._begin(f"replica {number}", _REPLICA_GAP_S, self._disturb_replica)
        for number in range(min(2, len(self._redis.nodes))):
            self._begin(f"redis {number}", self._redis.fault_gap_s, self._disturb_redis)
        if self._redis.sentinels:
            self._begin("sentinel", _SENTINEL_GAP_S, self._disturb_sentinel)

    def end(self) -> None:
        """Cause no more faults, and wait until everything runs; raises what a thread has raised."""
        self._ending.set()
        self._pool.shutdown()
        for thread in self._running:
            thread.result()

    def _begin(self, name: str, gap_s: tuple[float, float], disturb: Callable[[random.Random], None]) -> None:
        chance = random.Random(f"{self._seed} {name}")

        def disturb_again_and_again() -> None:
            try:
                while not self._ending.wait(chance.uniform(*gap_s)):
                    disturb(chance)
            except Exception as error:
                # Told at once: without its faults a run is worth nothing.
                self._tally.note_violation(f"no more faults of {name}: {error!r}")

        self._running.append(self._pool.submit(disturb_again_and_again))

    def _disturb_replica(self, chance: random.Random) -> None:
        ready: list[Replica] = sorted(self._replicas.ready(), key=lambda replica: replica.grpc_port)
        replica, kills, duration_s = chance.choice(ready) if ready else None, chance.random() < 0.5, _duration(chance)
        if replica is None:
            return
        # A new one takes long to start on a busy machine; others must serve meanwhile.
        if kills and self._replicas.are_complete:
            if self._replicas.kill(replica):
                self._tally.note_fault("replica killed")
        elif self._replicas.suspend(replica):
            self._tally.note_fault("replica suspended")
            self._ending.wait(duration_s)
            self._replicas.resume(replica)

    def _disturb_redis(self, chance: random.Random) -> None:
        self._disturb(self._redis.nodes, "redis", chance)

    def _disturb_sentinel(self, chance: random.Random) -> None:
        self._disturb(self._redis.sentinels, "sentinel", chance)

    def _disturb(self, processes: Sequence[_Process], name: str, chance: random.Random) -> None:
        process, kills, duration_s = chance.choice(processes), chance.random() < 0.5, _duration(chance)
        with self._lock:
            if process in self._affected:
                return
            self._affected.add(process)
        self._tally.note_fault(f"{name} {'killed' if kills else 'suspended'}")
        try:
            process.kill() if kills else process.suspend()
            self._ending.wait(duration_s)
        finally:
            process.start() if kills else process.resume()
            with self._lock:
                self._affected.remove(process)


def _duration(chance: random.Random) -> float:
    return chance.uniform(0.0, chance.choice(_DURATIONS_S))
