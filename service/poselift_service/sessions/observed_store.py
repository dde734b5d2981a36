"""A session store whose calls are timed, counted and traced."""

import contextlib
import time
from collections.abc import Iterator, Mapping

from poselift_service.errors import SessionStoreDown
from poselift_service.sessions.store import Append, MotionStates, ReplicaCursor, SessionStore, StoreReply
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.spans import SpanRecorder


class ObservedStore:
    """Forwards every call to another store, one that is reached over the network, and observes it."""

    def __init__(self, store: SessionStore, metrics: Metrics, spans: SpanRecorder | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._spans = spans

    async def open(self, session_id: str, opening: bytes) -> None:
        with self._observed("open"):
            await self._store.open(session_id, opening)

    async def advance(
        self, session_id: str, append: Append | None, *, cursor: ReplicaCursor, include_ended: bool = False
    ) -> StoreReply:
        with self._observed("read" if append is None else "advance"):
            return await self._store.advance(session_id, append, cursor=cursor, include_ended=include_ended)

    async def keep_motion(self, session_id: str, motion: MotionStates, *, cursor: ReplicaCursor) -> None:
        with self._observed("motion"):
            await self._store.keep_motion(session_id, motion, cursor=cursor)

    async def read_motion(self, session_id: str) -> Mapping[int, bytes]:
        with self._observed("read"):
            return await self._store.read_motion(session_id)

    async def is_shared(self, session_id: str) -> bool:
        with self._observed("read"):
            return await self._store.is_shared(session_id)

    async def close_session(self, session_id: str) -> None:
        with self._observed("close"):
            await self._store.close_session(session_id)

    async def close(self) -> None:
        await self._store.close()

    @contextlib.contextmanager
    def _observed(self, operation: str) -> Iterator[None]:
        started, failed = time.monotonic(), False
        try:
            yield
        except SessionStoreDown:
            failed = True
            raise
        finally:
            ended = time.monotonic()
            self._metrics.observe_store_call(operation, ended - started, failed=failed)
            if self._spans is not None:
                self._spans.record_store_call(operation, started, ended, failed=failed)
