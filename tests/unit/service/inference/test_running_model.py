"""Engines that are warmed up, fail, and are closed."""

import asyncio
import gc
import threading
import weakref

import pytest

from poselift.errors import InvalidArtifact
from poselift.networks.network import DeviceLost, EngineUnavailable
from tests.unit.service.inference.driven_loader import DrivenLoader, lift
from tests.unit.service.inference.scripted_engine import settle

WAIT_S = 60.0


async def test_a_model_is_served_once_it_is_warm_and_others_meanwhile(started: DrivenLoader):
    started.prepare = lambda engine: engine.may_warm_up.clear()
    task = asyncio.create_task(started.loader.load("a", "3"))
    engine = await started.engine(1)
    assert engine.thread is not threading.current_thread()
    assert started.references == ["a@1"]
    await lift(started.served.find(None))
    engine.may_warm_up.set()
    model = await task
    assert model is started.served.find("a@canary")
    assert started.served.find(None).reference == "a@1"
    await lift(model)


@pytest.mark.parametrize(
    ("failure", "error", "sentence"),
    [
        (FloatingPointError("numbers that are not finite"), InvalidArtifact, "a@2 cannot be run: numbers that are not"),
        (EngineUnavailable("too far off"), InvalidArtifact, "a@2 cannot be run: too far off"),
        (RuntimeError("out of memory"), RuntimeError, "out of memory"),
        (DeviceLost("gone"), DeviceLost, "gone"),
    ],
)
async def test_a_network_that_cannot_be_run_changes_nothing(started: DrivenLoader, failure, error, sentence):
    lost: list[bool] = []
    started.loader._device_lost = lambda: lost.append(True)
    started.prepare = lambda engine: setattr(engine, "failure", failure)
    with pytest.raises(error, match=sentence):
        await started.loader.load("a", "2")
    assert lost == [True] * isinstance(failure, DeviceLost)
    assert started.engines[1].closed.is_set()
    assert started.references == ["a@1"]
    await lift(started.served.find(None))


async def test_a_cancelled_load_leaves_nothing(started: DrivenLoader):
    started.prepare = lambda engine: engine.may_warm_up.clear()
    task = asyncio.create_task(started.loader.load("a", "2"))
    engine = await started.engine(1)
    await asyncio.wait_for(engine.is_warming.wait(), WAIT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.closed.is_set()
    started.prepare = lambda engine: None
    await started.loader.load("a", "2")
    assert started.references == ["a@1", "a@2"]


async def test_admitted_requests_are_finished_before_a_model_is_closed(started: DrivenLoader):
    model = await started.loader.load("a", "2")
    engine = started.engines[1]
    engine.may_lift.clear()
    answers = [asyncio.create_task(lift(model)) for _ in range(3)]
    await settle()
    task = asyncio.create_task(started.loader.unload("a", "2"))
    await settle()
    assert started.references == ["a@1"]
    assert not task.done()
    assert not engine.closed.is_set()
    await lift(started.served.find(None))
    engine.may_lift.set()
    await task
    assert engine.closed.is_set()
    assert all(len(lifted.answers) == 1 for lifted in await asyncio.gather(*answers))
    assert (await started.loader.load("a", "2")).reference == "a@2"


async def test_an_unloaded_model_is_released(started: DrivenLoader):
    await started.loader.load("a", "2")
    engine = weakref.ref(started.engines.pop())
    gc.disable()  # a server collects rarely, and never the objects of its start
    try:
        await started.loader.unload("a", "2")
        # The thread that closed it may take a moment to release it.
        async with asyncio.timeout(60):
            while engine() is not None:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
