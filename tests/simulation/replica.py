"""One simulated replica: the real parts of the server, put together around a simulated engine and a simulated store."""

import asyncio
from collections.abc import Coroutine
from collections.abc import Sequence as Items
from typing import Any, TypeVar

from poselift_service.inference.models import Model, ServedModels
from poselift_service.pipeline.lift import Pipeline
from poselift_service.pipeline.live import LiveLifter
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import SessionStore

from poselift.artifacts.manifest import Manifest
from tests.simulation.engine import SimulatedEngine
from tests.simulation.virtual_time import current_loop
from tests.simulation.watched_batcher import WatchedBatcher

TTL_S = 20.0

Done = TypeVar("Done")


class Lost(Exception):
    """The replica died, or the connection to it did, before it answered."""


class Replica:
    """Serves sessions until it is stopped or crashes.

    Attributes:
        live: the part that transports call.
        is_stopping: whether it takes no more requests.
    """

    def __init__(
        self,
        store: SessionStore,
        engines: dict[str, SimulatedEngine],
        manifests: Items[Manifest],
        *,
        capacity_windows: int,
        capacity_sessions: int,
    ) -> None:
        loop = current_loop()
        self.engines = engines
        self.is_stopping = False
        self.batchers: dict[str, WatchedBatcher] = {}
        models = ServedModels()
        for manifest in manifests:
            batcher = WatchedBatcher(engines[manifest.identity], capacity_windows, loop)
            batcher.start()
            self.batchers[manifest.identity] = batcher
            models.add(Model(manifest, (), batcher))
        models.set_default(manifests[0].name)
        self.sessions = Sessions(store, ttl_s=TTL_S, limits=SessionLimits(capacity_sessions), clock=loop.time)
        self.capacity_sessions = capacity_sessions
        self.live = LiveLifter(Pipeline(models, limits=Limits(frames=100, tracks=1)), self.sessions, clock=loop.time)
        self._calls: dict[asyncio.Task[Any], None] = {}  # ordered, for a schedule is repeated exactly

    def serves(self, identity: str) -> bool:
        return identity in self.batchers

    async def call(self, request: Coroutine[Any, Any, Done], patience_s: float | None = None) -> Done:
        """Run a request inside this replica.

        Args:
            patience_s: time after which the client hangs up.
        Raises:
            Lost: the replica crashed meanwhile, or the client hung up.
        """
        task = asyncio.ensure_future(request)
        self._calls[task] = None
        try:
            await asyncio.wait([task], timeout=patience_s)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
            del self._calls[task]
        if task.cancelled():
            raise Lost
        return task.result()

    def crash(self) -> None:
        """Die at once: nothing that was begun is finished, except for what the store has been sent."""
        self.is_stopping = True
        for batcher in self.batchers.values():
            batcher.is_open = False
        for task in self._calls:
            task.cancel()

    async def stop(self) -> None:
        """Stop in order: finish what was admitted."""
        self.is_stopping = True
        for batcher in self.batchers.values():
            await batcher.drain()
            await batcher.stop()

    async def close(self) -> None:
        """Check, when all clients have gone, that nothing is left; and end."""
        for batcher in self.batchers.values():
            batcher.check_rest()
            await batcher.stop()
