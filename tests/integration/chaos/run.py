"""One run: replicas and a Redis, the faults, and those who use them meanwhile."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.integration.chaos.faults import Faults
from tests.integration.chaos.person import FPS, SAME_POSES_M, TRANSPORTS, Person, Violation, whole
from tests.integration.chaos.redis_kinds import KINDS
from tests.integration.chaos.tally import Tally
from tests.integration.conftest import MODEL
from tests.integration.replicas import Replicas
from tests.integration.server_process import ANSWER_S
from tests.integration.walking import at_rate, keypoints

_REPLICAS = 3
_PROGRESS_S = 10.0
# A run with so many violations is ended.
_MOST_VIOLATIONS = 20
_CLIPS = 6
_LONGEST_CLIP = 120
_LIFT_PAUSE_S, _RELOAD_PAUSE_S = 0.5, 2.0
# Streams belong to both versions; the second one is unloaded and loaded again meanwhile.
_RELOADED = 2
_RELOADED_SHARE = 0.25


class _BrokenOff(Exception):
    """The run was interrupted."""


class _Run:
    """Those who use the replicas of a run.

    Attributes:
        ending: nobody begins anything new.
        broken_off: nobody waits for anything any more.
    """

    def __init__(self, replicas: Replicas, tally: Tally, seed: str) -> None:
        self.replicas = replicas
        self.tally = tally
        self.ending = threading.Event()
        self.broken_off = threading.Event()
        self._seed = seed
        self._expected: dict[tuple[int, int], NDArray[np.float64]] = {}

    def check_goes_on(self) -> None:
        if self.broken_off.is_set():
            raise _BrokenOff

    def users(self) -> list[Callable[[], None]]:
        streams = [lambda transport=transport: self._stream_people(transport) for transport in TRANSPORTS]
        return [self._guarded(user) for user in (*streams, self._lift_clips, self._reload_models)]

    def _guarded(self, user: Callable[[], None]) -> Callable[[], None]:
        def use() -> None:
            try:
                user()
            except _BrokenOff:
                pass
            except Exception as error:
                self.tally.note_violation(f"{type(error).__name__} {error}")

        return use

    def _stream_people(self, transport: str) -> None:
        number = 0
        while not self.ending.is_set():
            chance = random.Random(f"{self._seed} {transport} {number}")
            Person(self, transport, _RELOADED if chance.random() < _RELOADED_SHARE else 1, chance).stream()
            number += 1

    def _lift_clips(self) -> None:
        """Lift the same few clips again and again, which always gives the same poses."""
        chance = random.Random(f"{self._seed} clips")
        while not self.ending.wait(chance.uniform(0, 2 * _LIFT_PAUSE_S)):
            clip, version = chance.randrange(_CLIPS), chance.choice((1, _RELOADED))
            points = keypoints(at_rate(FPS, 1 + clip * _LONGEST_CLIP // _CLIPS), clip)
            try:
                poses = whole(self, points, version)
            except Violation as violation:
                self.tally.note_violation(f"a clip beside the streams: {violation}")
                continue
            difference_m = float(np.abs(poses - self._expected.setdefault((clip, version), poses)).max())
            with self.tally.lock:
                self.tally.lifts += 1
                self.tally.largest_difference_m = max(self.tally.largest_difference_m, difference_m)
            if not difference_m < SAME_POSES_M:
                self.tally.note_violation(f"clip {clip} was lifted {difference_m:.1e} m apart", wrong=len(poses))

    def _reload_models(self) -> None:
        chance = random.Random(f"{self._seed} models")
        while not self.ending.wait(chance.uniform(0, 2 * _RELOAD_PAUSE_S)):
            # More often loaded than unloaded: what is not served nowhere cannot be streamed.
            method, address = chance.choice(("PUT", "PUT", "DELETE")), self.replicas.any().address
            try:
                answer = httpx.request(method, f"{address}/admin/models/{MODEL}/{_RELOADED}", timeout=ANSWER_S)
            except httpx.TransportError:
                continue
            if answer.is_success:
                with self.tally.lock:
                    self.tally.reloads += 1
            elif answer.status_code not in (404, 409, 503):
                self.tally.note_violation(f"{method} of a version: {answer.text}")


def run(kind: str, *, seconds: float, seed: int, models: Path, folder: Path, tell: Callable[[str], None]) -> Tally:
    """Use replicas that share one kind of Redis while all of them are killed and suspended.

    Args:
        models: repository with two versions of the model.
        folder: for what the processes log and store.
        tell: called with a line of progress now and then.
    """
    tally, name = Tally(), f"{seed} {kind}"
    with ExitStack() as cleanup:
        redis = cleanup.enter_context(KINDS[kind](folder))
        settings: dict[str, object] = {
            "models": models,
            "default_model": f"{MODEL}@stable",
            "load": [f"{MODEL}@{_RELOADED}"],
            "admin": True,
            "threads": 1,
            "engine": "torch",  # it starts fastest
            "redis_url": redis.url,
            # Sessions outlive all faults.
            "session_ttl_s": 3600,
        }
        replicas = Replicas(folder, settings, count=_REPLICAS)
        faults, use = Faults(replicas, redis, tally, name), _Run(replicas, tally, name)
        users = cleanup.enter_context(ThreadPoolExecutor(max_workers=len(TRANSPORTS) + 2))
        # Without replicas nobody waits for an answer any more.
        cleanup.callback(replicas.close)
        cleanup.callback(use.broken_off.set)
        cleanup.callback(use.ending.set)
        cleanup.callback(faults.end)
        replicas.any()
        running = [users.submit(user) for user in use.users()]
        faults.start()
        _wait(seconds, tally, tell)
        use.ending.set()
        faults.end()
        for user in running:
            user.result()
        for error in replicas.errors():
            tally.note_violation(f"a replica has logged an error: {error}")
    return tally


def _wait(seconds: float, tally: Tally, tell: Callable[[str], None]) -> None:
    started = time.monotonic()
    told, violations = started, 0
    while (now := time.monotonic()) < started + seconds and len(tally.violations) < _MOST_VIOLATIONS:
        if now >= told + _PROGRESS_S:
            told = now
            tell(f"{now - started:.0f} s: {tally.line()}")
        for violation in tally.violations[violations:]:
            tell(violation)
            violations += 1
        time.sleep(0.1)
