"""Batchers and model loaders whose engines and clocks are driven by the test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from poselift_service.inference.batcher import Batcher
from poselift_service.inference.queue import EntryResult, Priority

from poselift.artifacts.repository import set_label
from poselift.networks.slice import Slice
from tests.unit.service.inference.driven_loader import DrivenLoader, publish_untrained
from tests.unit.service.inference.scripted_engine import ScriptedEngine, settle

CAPACITY = 40
BATCH = 8
DEADLINE_S = 100.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class RecordingObserver:
    """Records all events of a batcher."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int | str]] = []

    def batch_started(self, windows: int) -> None:
        self.events.append(("batch", windows))

    def batch_failed(self) -> None:
        self.events.append(("failed", 0))

    def windows_refused(self, windows: int) -> None:
        self.events.append(("refused", windows))

    def entry_finished(self, outcome: str) -> None:
        self.events.append(("entry", outcome))


class DrivenBatcher:
    """A batcher with a scripted engine, a clock set by the test, and the tasks of its callers."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine(BATCH)
        self.clock = Clock()
        self.observer = RecordingObserver()
        self.devices_lost = 0
        self.traced: list[tuple[float, float | None, float]] = []
        self.batcher = Batcher(
            self.engine,
            capacity_windows=CAPACITY,
            observer=self.observer,
            trace=lambda *times: self.traced.append(times),
            device_lost=self._lose_device,
            clock=self.clock,
        )
        self._callers: list[asyncio.Task[EntryResult]] = []

    async def call(
        self, *sequences: Slice, priority: Priority = Priority.BULK, deadline: float = DEADLINE_S
    ) -> asyncio.Task[EntryResult]:
        """Start a caller. Returns once it waits for the batcher, or has been refused."""

        async def caller() -> EntryResult:
            windows = sum(len(one.index) for one in sequences)
            with self.batcher.admit(windows, priority=priority, deadline=deadline):
                return await self.batcher.lift(sequences, priority=priority, deadline=deadline)

        task = asyncio.create_task(caller())
        self._callers.append(task)
        await settle()
        return task

    def _lose_device(self) -> None:
        self.devices_lost += 1

    async def stop(self) -> None:
        await self.batcher.stop()
        await asyncio.gather(*self._callers, return_exceptions=True)


@pytest.fixture
async def driven() -> AsyncIterator[DrivenBatcher]:
    driven = DrivenBatcher()
    driven.batcher.start()
    yield driven
    await driven.stop()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    publish_untrained(tmp_path, "a", "a", "a")
    set_label(tmp_path, "a", "stable", 1)
    set_label(tmp_path, "a", "canary", 3)
    return tmp_path


@pytest.fixture
async def loading(repository: Path) -> AsyncIterator[DrivenLoader]:
    loading = DrivenLoader(repository)
    yield loading
    await loading.loader.close(drain=False)
    assert all(engine.closed.is_set() for engine in loading.engines)


@pytest.fixture
async def started(loading: DrivenLoader) -> DrivenLoader:
    """Serves a@1, which has the label stable."""
    await loading.loader.start(default=None, references=())
    return loading
