"""A simulated Redis: a server that executes the scripts, and clients whose messages are delayed, lost and repeated."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Any

from poselift_service.sessions.redis_scripts import ADVANCE, END, EXISTS, OPEN, Command, Script
from poselift_service.sessions.store import Append, ReplicaCursor
from redis import exceptions

from tests.simulation.sequential_store import SequentialStore

Reply = Any


def command_of(command: Command) -> tuple[str, Items[bytes], str]:
    """The script, the session and the arguments of a command, as the server receives them: all are bytes."""
    _, script, _, key, _, *arguments = command
    sent = [value if isinstance(value, bytes) else str(value).encode() for value in arguments]
    return str(script), sent, str(key).partition("{")[2].partition("}")[0]


class ScriptedServer:
    """Executes the scripts on a sequential store, under the names by which EVALSHA and EVAL call them."""

    def __init__(self, store: SequentialStore) -> None:
        self._store = store
        self._known: set[str] = set()
        self._scripts: dict[str, Callable[[str, Items[bytes], float, float], Reply]] = {}
        self._digests: dict[str, str] = {}
        for script, run in ((OPEN, self._open), (ADVANCE, self._advance), (EXISTS, self._exists), (END, self._end)):
            text, digest = _names(script)
            self._digests[text] = digest
            self._scripts[digest] = run

    def forget_scripts(self) -> None:
        self._known.clear()

    def execute(self, command: Command, now_s: float, lag_s: float = 0.0) -> Reply:
        """Execute a command. Returns its reply, or the error that the client library makes of it."""
        name, arguments, session_id = command_of(command)
        digest = self._digests.get(name, name)
        if command[0] == "EVAL":
            self._known.add(digest)
        if digest not in self._known:
            return exceptions.NoScriptError("No matching script. Please use EVAL.")
        return self._scripts[digest](session_id, arguments, now_s, lag_s)

    def _open(self, session_id: str, arguments: Items[bytes], now_s: float, lag_s: float) -> Reply:
        ttl_ms, opening = arguments
        self._store.open(session_id, opening, int(ttl_ms) / 1000, now_s, lag_s)
        return 0  # it demands no replicas

    def _advance(self, session_id: str, arguments: Items[bytes], now_s: float, lag_s: float) -> Reply:
        ttl_ms, first, needed, kept, stop, stamp, include_ended, new_stamp, *frames = arguments
        reply = self._store.advance(
            session_id,
            Append(int(first), frames, new_stamp, int(needed), int(kept)) if frames else None,
            ReplicaCursor(int(stop), stamp),
            include_ended=include_ended == b"1",
            ttl_s=int(ttl_ms) / 1000,
            now_s=now_s,
            lag_s=lag_s,
        )
        return list(reply)

    def _exists(self, session_id: str, arguments: Items[bytes], now_s: float, lag_s: float) -> Reply:
        state = self._store.state(session_id)
        return int(state is not None and state.is_readable(now_s, include_ended=True))

    def _end(self, session_id: str, arguments: Items[bytes], now_s: float, lag_s: float) -> Reply:
        self._store.end(session_id, int(arguments[0]) / 1000, now_s, lag_s)


def _names(script: Script) -> tuple[str, str]:
    text, digest = script.eval((), ())[1], script.evalsha((), ())[1]
    return str(text), str(digest)


@dataclass
class Faults:
    """How often the network between replicas and Redis fails; a probability each.

    Attributes:
        delay_s: longest time that a message takes each way without a fault.
        slow: a message or its reply takes up to `slow_s`.
        lose_request, lose_reply: the other side never hears of it.
        break_request, break_reply: the connection breaks at once, before or after the commands were executed.
        cut: the connection breaks after some of the commands were executed.
        repeat: the connection breaks after the commands were executed, and the client library sends them again.
        refuse: the server answers with an error and does nothing.
        lag_s: longest time until a change survives a failover.
    """

    delay_s: float = 0.02
    slow: float = 0.0
    slow_s: float = 2.0
    lose_request: float = 0.0
    lose_reply: float = 0.0
    break_request: float = 0.0
    break_reply: float = 0.0
    cut: float = 0.0
    repeat: float = 0.0
    refuse: float = 0.0
    lag_s: float = 0.0
    last_s: float = field(default=-math.inf, init=False)
    """Time of the last fault."""


_KINDS = ("lose_request", "lose_reply", "break_request", "break_reply", "cut", "repeat", "refuse", "slow")
HEALTHY = Faults()


class Network:
    """Carries the messages of all replicas to one server."""

    def __init__(self, server: ScriptedServer, faults: Faults, rng: random.Random) -> None:
        self.faults = faults
        self._server = server
        self._rng = rng

    def client(self) -> "SimulatedRedis":
        return SimulatedRedis(self)

    def fail_over(self) -> None:
        self._server.forget_scripts()

    def heal(self) -> None:
        last_s = self.faults.last_s
        self.faults = Faults(delay_s=self.faults.delay_s)
        self.faults.last_s = last_s

    async def send(self, commands: list[Command]) -> list[Reply]:
        """Send one message. Raises ConnectionError when the connection breaks; waits for ever when it is lost."""
        loop = asyncio.get_running_loop()
        fault = self._draw_fault(loop.time())
        there_s, back_s = (self._rng.random() * self.faults.delay_s for _ in range(2))
        if fault == "slow":
            there_s, back_s = (self._rng.random() * self.faults.slow_s for _ in range(2))
        if fault == "lose_request":
            await loop.create_future()
        replies: asyncio.Future[list[Reply]] = loop.create_future()
        loop.call_later(there_s, self._arrive, commands, fault, replies)
        answers = await asyncio.shield(replies)
        await asyncio.sleep(back_s)
        if fault == "lose_reply":
            await loop.create_future()
        if fault == "repeat":
            return await self.send(commands)
        if fault == "break_request" and self._rng.random() < 0.5:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        if fault in ("break_request", "break_reply", "cut"):
            raise exceptions.ConnectionError("Connection closed by server.")
        return answers

    def _draw_fault(self, now_s: float) -> str | None:
        for kind in _KINDS:
            chance = getattr(self.faults, kind)
            if chance and self._rng.random() < chance:
                self.faults.last_s = now_s
                return kind
        return None

    def _arrive(self, commands: list[Command], fault: str | None, replies: asyncio.Future[list[Reply]]) -> None:
        """Execute the commands of a message, whether or not its sender is still there."""
        replies.set_result(list(self._execute(commands, fault)))

    def _execute(self, commands: list[Command], fault: str | None) -> Iterator[Reply]:
        if fault == "break_request":
            return
        now_s = asyncio.get_running_loop().time()
        stop = self._rng.randrange(len(commands)) if fault == "cut" else len(commands)
        for command in commands[:stop]:
            if fault == "refuse":
                yield exceptions.ReadOnlyError("You can't write against a read only replica.")
            else:
                yield self._run(command, now_s, self._rng.random() * self.faults.lag_s)

    def _run(self, command: Command, now_s: float, lag_s: float) -> Reply:
        return self._server.execute(command, now_s, lag_s)


class SimulatedRedis:
    """What `PipelinedClient` needs of a client of redis-py."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def pipeline(self, *, transaction: bool) -> "_Pipeline":
        assert not transaction
        return _Pipeline(self._network)

    async def aclose(self) -> None: ...


class _Pipeline:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._commands: list[Command] = []

    def execute_command(self, *command: Any) -> None:
        self._commands.append(command)

    async def execute(self, *, raise_on_error: bool) -> list[Reply]:
        assert not raise_on_error
        return await self._network.send(self._commands)
