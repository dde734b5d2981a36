"""One schedule: everything that happens in it follows from its seed."""

import random
from typing import NamedTuple
from unittest import mock

from poselift_service.sessions import session, sessions

from tests.simulation.batches import run_batches
from tests.simulation.trail import Trail
from tests.simulation.violation import Violation
from tests.simulation.virtual_time import VirtualLoop, run
from tests.simulation.world import World

# The other schedules are those of live sessions, which take five times as long.
_SHARE_OF_BATCHES = 0.4


class Outcome(NamedTuple):
    """What became of a schedule.

    Attributes:
        broken: the promise that was broken; None if none was.
    """

    seed: int
    broken: str | None
    trail: Trail


class _Secrets:
    """Stands in for the module: session IDs and stamps are repeated with the schedule."""

    def __init__(self, rng: random.Random) -> None:
        self.token_bytes = rng.randbytes
        self._rng = rng

    def token_hex(self, count: int) -> str:
        return self._rng.randbytes(count).hex()


def run_schedule(seed: int, *, keeps_text: bool = False, is_recorded: bool = True) -> Outcome:
    """Run the schedule of a seed. Unless it is recorded, which takes time, its trail is empty."""
    rng, trail = random.Random(seed), Trail(keeps_text=keeps_text)
    if not is_recorded:
        trail.end()
    loop = VirtualLoop()
    try:
        secrets = _Secrets(rng)
        with mock.patch.object(sessions, "secrets", secrets), mock.patch.object(session, "secrets", secrets):
            run(_main(rng, trail), loop)
    except Exception as error:
        broken = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
        return Outcome(seed, broken, trail)
    return Outcome(seed, None, trail)


async def _main(rng: random.Random, trail: Trail) -> None:
    try:
        if rng.random() < _SHARE_OF_BATCHES:
            await run_batches(rng, trail)
        else:
            await World(rng, trail).run()
    finally:
        trail.end()
