"""The simulated Redis of tests/simulation answers every script as a real one does, and keeps the same state."""

import random
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from poselift_service.sessions.redis_scripts import ADVANCE, END, EXISTS, OPEN, Command, session_keys
from poselift_service.sessions.store import STAMP_BYTES

from tests.integration.redis_process import RedisProcess, running_redis
from tests.simulation.sequential_store import SequentialStore, State
from tests.simulation.simulated_redis import ScriptedServer

SESSIONS = ("one", "two", "three")
COMMANDS = 1500
TTL_MS = 60_000
RETENTION_MS = 10_000
# Between a command and the look at what is left of its time to live.
SLACK_MS = 5_000


@pytest.mark.parametrize("seed", [0, 1])
def test_every_script_does_in_the_simulation_what_it_does_in_redis(tmp_path: Path, seed: int) -> None:
    rng, store = random.Random(seed), SequentialStore()
    simulated = ScriptedServer(store)
    seen: set[str] = set()
    with running_redis(tmp_path) as server, redis.Redis(port=server.port) as client:
        for _ in range(COMMANDS):
            session_id = rng.choice(SESSIONS)
            state = store.state(session_id)
            if rng.random() < 0.01 and state is not None and len(state.entries) > state.kept_first:
                client.delete(rng.choice(session_keys(session_id)))
                store.evict(session_id, now_s=0)
                # What has lost one of its keys is found to be broken, and deleted, by the next script that reads it.
                command = ADVANCE.eval(session_keys(session_id), (TTL_MS, 0, 0, 0, 0, b"", 1, b""))
            else:
                command = random_command(rng, session_id, state)
            reply = simulated.execute(command, time.monotonic())
            assert plain(reply) == plain(client.execute_command(*command)), command
            check_state(server, client, session_id, store.state(session_id))
            seen.add(reply[0].decode() if isinstance(reply, list) else str(reply))
    assert seen == {"None", "0", "1", "unknown", "conflict", "appended", "unchanged", "diverged"}


def random_command(rng: random.Random, session_id: str, state: State | None) -> Command:
    """A command that is likely to meet the borders of what is stored: its ends, its trimmed part, other frames."""
    keys = session_keys(session_id)
    if rng.random() < (0.4 if state is None else 0.03):
        return OPEN.eval(keys, (TTL_MS, rng.randbytes(5)))
    if rng.random() < 0.03:
        return END.eval(keys, (RETENTION_MS,))
    if rng.random() < 0.05:
        return EXISTS.eval(keys, ())
    entries, kept_first = (state.entries, state.kept_first) if state else ((), 0)
    first = max(0, len(entries) - rng.choice((0, 0, 0, 1, 2, 5, 9, -1)))
    stored = [entry[STAMP_BYTES:] for entry in entries[first:]]
    frames = [*stored, *(rng.randbytes(3) for _ in range(4))][: rng.randrange(5)]
    if frames and rng.random() < 0.1:
        frames[rng.randrange(len(frames))] = b"another"
    needed = rng.randrange(4)
    stop = rng.choice((0, len(entries), len(entries), kept_first, kept_first + 1, len(entries) + 1))
    stamp = entries[stop - 1][:STAMP_BYTES] if 0 < stop <= len(entries) and rng.random() < 0.9 else b"?" * STAMP_BYTES
    position = (first, needed, needed + rng.randrange(6), stop, stamp)
    include_ended = int(rng.random() < 0.5)
    return ADVANCE.eval(keys, (TTL_MS, *position, include_ended, rng.randbytes(STAMP_BYTES), *frames))


def check_state(server: RedisProcess, client: redis.Redis, session_id: str, state: State | None) -> None:
    session, frames = session_keys(session_id)
    if state is None:
        return  # one of its keys may be left
    ended: dict[bytes, bytes] = {b"ended": b"1"} if state.ended else {}
    positions = {b"first": b"%d" % state.kept_first, b"next": b"%d" % state.next_index}
    assert client.hgetall(session) == {b"opened": state.opening, **positions, **ended}
    assert client.lrange(frames, 0, -1) == list(state.entries[state.kept_first :])
    left_ms = (state.expires_s - time.monotonic()) * 1000
    for key in (session, frames) if state.entries else (session,):
        assert left_ms - SLACK_MS < client.pttl(key) < left_ms + SLACK_MS


def plain(reply: Any) -> Any:
    """A reply without the difference between a list and a tuple."""
    return [plain(value) for value in reply] if isinstance(reply, list | tuple) else reply
