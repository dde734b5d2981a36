"""A store of sessions whose calls are timed, counted and traced."""

import contextlib
import time
from collections.abc import Iterator

from poselift_service.errors import SessionStoreDown
from poselift_service.sessions.store import Arrival, Held, SessionStore, Stored
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.spans import SpanRecorder


class ObservedStore:
    """Passes every call on to another store, which is one that the calls travel to."""

    def __init__(self, store: SessionStore, metrics: Metrics, spans: SpanRecorder | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._spans = spans

    async def open(self, session_id: str, opened: bytes) -> None:
        with self._observed("open"):
            await self._store.open(session_id, opened)

    async def advance(self, session_id: str, arrival: Arrival | None, *, held: Held, to_end: bool = False) -> Stored:
        with self._observed("read" if arrival is None else "advance"):
            return await self._store.advance(session_id, arrival, held=held, to_end=to_end)

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
