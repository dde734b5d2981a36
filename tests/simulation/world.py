"""Schedules of live sessions: clients, replicas and a store, of which anything may fail until the world calms down."""

import asyncio
import contextlib
import itertools
import random
from types import SimpleNamespace
from unittest import mock

from poselift_service.errors import Overloaded, SessionStoreDown
from poselift_service.sessions import redis_cluster, redis_store, sessions
from poselift_service.sessions.redis_client import PipelinedClient, ScriptClient
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.session import Caller
from poselift_service.sessions.store import SessionStore

from tests.simulation.checked_store import CheckedMemoryStore
from tests.simulation.client import RETRYABLE, Client
from tests.simulation.engine import EngineFaults, SimulatedEngine
from tests.simulation.frames import Expectation, Source, manifest_of, opening_of
from tests.simulation.judge import TIMEOUT_S, Judge
from tests.simulation.replica import TTL_S, Replica
from tests.simulation.sequential_store import SequentialStore
from tests.simulation.simulated_cluster import SimulatedCluster
from tests.simulation.simulated_redis import Faults, Network, ScriptedServer
from tests.simulation.trail import Trail
from tests.simulation.violation import require

_VERSIONS = (1, 2)
_MANIFESTS = {
    kind: [manifest_of(version, *kind) for version in _VERSIONS]
    for kind in itertools.product(("pstmo", "mixste"), (3, 5), ("token", "hold"))
}
_MAX_CHAOS_S = 4.0
_OPENING_S = 5.0
_MAX_CALM_DELAY_S = 0.1
# More frames than any stream here has. With fewer, frames are soon too old to be sent again.
_RESENDABLE = 32
_EVENTS = ("crash", "stop", "add")
_REDIS_EVENTS = ("crash", "fail_over", "fail_over", "evict")
_CLUSTER_EVENTS = ("fail_over", "move_slots", "change_health")
_NETWORK_FAULTS = ("slow", "lose_request", "lose_reply", "break_request", "break_reply", "cut", "repeat", "refuse")


class World:
    """One schedule. What can happen in it is drawn first, so that schedules differ in kind and not only in detail."""

    def __init__(self, rng: random.Random, trail: Trail) -> None:
        self.rng = rng
        self.trail = trail
        self.is_calm = False
        self.store = SequentialStore()
        self._loop = asyncio.get_running_loop()
        kind = rng.choice(list(_MANIFESTS))
        self._frames = kind[1]
        self._manifests = _MANIFESTS[kind][: rng.choice((1, 2))]
        self._network = self._draw_network()
        self._memory = CheckedMemoryStore(self.store, ttl_s=TTL_S, clock=self._loop.time)
        self._engine_faults = EngineFaults(
            delay_s=rng.choice((0.0, 0.02, 0.5)), fail=rng.choice((0.0, 0.0, 0.2)), shrink=rng.choice((0.0, 0.2))
        )
        self._batch_windows = rng.randint(1, 6)
        self._capacity_sessions = rng.choice((1, 2, 10))
        self._resendable = rng.choice((_RESENDABLE, _RESENDABLE, 4))
        self._mixed_versions = len(self._manifests) > 1 and rng.random() < 0.4
        self.judge = Judge(self.store, self._network)
        self._replicas: list[Replica] = []
        self._all_replicas: list[Replica] = []

    async def run(self) -> None:
        """Run it to its end. Raises Violation."""
        with contextlib.ExitStack() as patches:
            patches.enter_context(mock.patch.object(redis_store, "connect", self._connect_client))
            patches.enter_context(mock.patch.object(sessions, "RESENDABLE_FRAMES", self._resendable))
            if isinstance(self._network, SimulatedCluster):
                patches.enter_context(mock.patch.object(redis_cluster, "Redis", self._network.connect))
                patches.enter_context(
                    mock.patch.object(redis_cluster, "time", SimpleNamespace(monotonic=self._loop.time))
                )
            await self._run()

    async def _run(self) -> None:
        self._replicas += [self._start_replica() for _ in range(self.rng.choice((1, 2, 2, 3)))]
        self._all_replicas += self._replicas
        chaos = asyncio.ensure_future(self._fail_now_and_then())
        clients = await asyncio.gather(*(self._stream(number) for number in range(self.rng.choice((1, 1, 1, 2, 3)))))
        await chaos
        self._check_answers([client for group in clients for client in group])
        for replica in self._all_replicas:
            await replica.close()

    def pick_replica(self) -> Replica | None:
        return self.rng.choice(self._replicas) if self._replicas else None

    def _draw_network(self) -> Network | None:
        """How sessions are kept: in memory, in one Redis, or in a cluster."""
        kind = self.rng.random()
        if kind < 0.25:
            return None
        if kind < 0.85:
            return Network(ScriptedServer(self.store), self._draw_faults(), self.rng)
        return SimulatedCluster(self.store, self._draw_faults(), self.rng)

    def _draw_faults(self) -> Faults:
        chances = {kind: self.rng.choice((0.05, 0.3)) for kind in _NETWORK_FAULTS if self.rng.random() < 0.25}
        return Faults(delay_s=self.rng.choice((0.0, 0.02, 0.1)), lag_s=self.rng.choice((0.0, 0.5, 3.0)), **chances)

    def _start_replica(self) -> Replica:
        served = self._manifests
        if self._mixed_versions and not self.is_calm and self.rng.random() < 0.5:
            served = [self.rng.choice(self._manifests)]
        engines = {
            manifest.identity: SimulatedEngine(
                manifest.version,
                self._batch_windows,
                self._engine_faults,
                self.rng,
                answers_whole=manifest.sequence_to_sequence,
            )
            for manifest in served
        }
        return Replica(
            self._connect(), engines, served, capacity_windows=self.rng.choice((8, 10, 50)),
            capacity_sessions=self._capacity_sessions,
        )  # fmt: skip

    def _connect(self) -> SessionStore:
        """A store of its own for a replica: only the client of redis-py below it is simulated."""
        if self._network is None:
            return self._memory
        return RedisStore("", ttl_s=TTL_S, timeout_s=TIMEOUT_S)

    def _connect_client(self, url: str, timeout_s: float) -> ScriptClient:
        assert self._network is not None
        if isinstance(self._network, SimulatedCluster):
            return self._network.cluster_client(timeout_s)
        return PipelinedClient(self._network.client(), timeout_s)  # type: ignore[arg-type]

    async def _stream(self, number: int) -> list[Client]:
        """Open a session and stream to it, from one client or from two that disagree."""
        rng = self.rng
        lookahead, version = rng.randint(0, self._frames // 2), rng.randint(1, len(self._manifests))
        caller = Caller(rng.choice((None, f"key {number}")))
        session_id = await self._open(lookahead, version, caller)
        self.judge.expectations[session_id] = Expectation(self._manifests[version - 1], lookahead)
        sources = [Source(2 * number + rival, rng.random() < 0.5) for rival in range(rng.choice((1, 1, 1, 2)))]
        clients = [self._client(session_id, source, caller, is_alone=len(sources) == 1) for source in sources]
        await asyncio.gather(*(client.run() for client in clients))
        self.judge.check_stored(session_id, [source for client in clients for source in client.sources])
        return clients

    def _client(self, session_id: str, source: Source, caller: Caller, *, is_alone: bool) -> Client:
        rng = self.rng
        return Client(
            self, session_id, source, rng.randint(1, 7), most_ahead=rng.choice((1, 1, 4)),
            impatience=rng.choice((0.0, 0.1, 0.4)), pause_s=rng.choice((0.0, 0.1, 0.1, 1.5 * TTL_S)),
            timeout_s=rng.choice((0.3, 5.0)), is_alone=is_alone, caller=caller,
        )  # fmt: skip

    async def _open(self, lookahead: int, version: int, caller: Caller) -> str:
        """Open a session, however often it takes."""
        while True:
            replica = self.pick_replica()
            if replica is not None and replica.serves(self._manifests[version - 1].identity):
                deadline_s = self._loop.time() + _OPENING_S
                opening = replica.live.open(opening_of(lookahead), f"simulated@{version}", caller, deadline=deadline_s)
                try:
                    return (await replica.call(opening)).session_id
                except Overloaded as error:
                    held, capacity = replica.sessions.held, replica.capacity_sessions
                    require(held >= capacity, "a session was refused although there was room", held, capacity)
                    await asyncio.sleep(error.retry_after_s)
                except RETRYABLE as error:
                    is_down = isinstance(error, SessionStoreDown) and self._network is None
                    require(not is_down, "a store in memory is down")
            await asyncio.sleep(0.2 * self.rng.random())

    async def _fail_now_and_then(self) -> None:
        """Let replicas and servers fail, until the world calms down and everything is whole again."""
        rng = self.rng
        possible = _EVENTS if self._network is None else (*_EVENTS, *_REDIS_EVENTS)
        if isinstance(self._network, SimulatedCluster):
            possible = (*possible, *_CLUSTER_EVENTS)
        events = [event for event in possible if rng.random() < 0.4]
        end_s = rng.random() * _MAX_CHAOS_S
        while events and self._loop.time() < end_s:
            await asyncio.sleep(2 * rng.random())
            event = rng.choice(events)
            self.trail.note("event", event)
            await getattr(self, f"_{event}")()
        await asyncio.sleep(max(0.0, end_s - self._loop.time()))
        self.is_calm = True
        self._engine_faults.fail = self._engine_faults.shrink = 0.0
        # Slower than the deadlines of some clients, an engine would keep refusing them for good reason.
        self._engine_faults.delay_s = min(self._engine_faults.delay_s, _MAX_CALM_DELAY_S)
        if self._network is not None:
            self._network.heal()
        if self._mixed_versions or not self._replicas:
            self._add_replica()
        self._replicas = self._replicas[-1:] if self._mixed_versions else self._replicas

    async def _crash(self) -> None:
        if self._replicas:
            self._replicas.pop(self.rng.randrange(len(self._replicas))).crash()
        if self.rng.random() < 0.7:
            self._add_replica()

    async def _stop(self) -> None:
        self._add_replica()
        await self._replicas.pop(0).stop()

    async def _add(self) -> None:
        if len(self._replicas) < 3:
            self._add_replica()

    async def _fail_over(self) -> None:
        self.store.rewind(self._loop.time())
        assert self._network is not None
        self._network.fail_over()

    async def _move_slots(self) -> None:
        assert isinstance(self._network, SimulatedCluster)
        self._network.move_slots()

    async def _change_health(self) -> None:
        assert isinstance(self._network, SimulatedCluster)
        self._network.change_health()

    async def _evict(self) -> None:
        if self.judge.expectations and self.rng.random() < 0.3:
            self.store.evict(self.rng.choice(list(self.judge.expectations)), self._loop.time())

    def _add_replica(self) -> None:
        self._replicas.append(self._start_replica())
        self._all_replicas.append(self._replicas[-1])

    def _check_answers(self, clients: list[Client]) -> None:
        """Check that no frame of a client that was alone has been lost."""
        for client in clients:
            # Frames can be sent again, unless there are many of them, or the client sends others now.
            may_skip = self._resendable < _RESENDABLE or len(client.sources) > 1
            require(may_skip or not client.has_skipped or not client.is_complete, "frames could not be sent again")
            hears_of_losses = client.says_how_many or not self.store.rewinds
            if client.is_complete and not client.has_skipped and hears_of_losses:
                missing = set(range(client.frames)) - client.answered
                require(not missing, "frames were lost", missing)
