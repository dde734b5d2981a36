"""Inputs that are drawn ahead, on stand-ins for the streams of a GPU."""

import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from lightning_fabric import Fabric
from poselift_training.loop.loop import train
from poselift_training.loop.prefetch import Prefetch, SideStream
from torch import Tensor

from tests.unit.training.loop.small_run import inputs, job, losses, recipe_in, run, same_state

STEPS = 6
SCHEDULES = 50


class RecordingStream:
    """Notes in which order it is used, and whether something is drawn on it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.draws = False

    def mark(self) -> str:
        self.events.append("mark")
        return f"mark {self.events.count('mark')}"

    @contextmanager
    def behind(self, mark: str) -> Iterator[None]:
        self.events.append(f"behind {mark}")
        self.draws = True
        yield
        self.draws = False

    def join(self) -> None:
        self.events.append("join")


def test_the_next_inputs_are_drawn_behind_the_step_before_the_present_one():
    stream = RecordingStream()

    def draw(step: int) -> tuple[Tensor, ...]:
        assert stream.draws
        stream.events.append(f"draw {step}")
        return (torch.tensor(step),)

    prefetch = Prefetch(draw, 3, stream)
    for step in range(3):
        (taken,) = prefetch.take(step)
        stream.events.append(f"step {int(taken)}")
        prefetch.draw_next(step + 1)
    assert stream.events == [
        *("mark", "behind mark 1", "draw 0", "join", "mark", "step 0"),
        *("behind mark 2", "draw 1", "join", "mark", "step 1"),
        *("behind mark 3", "draw 2", "join", "mark", "step 2"),
    ]


def test_without_a_stream_inputs_are_drawn_when_they_are_taken():
    drawn = []

    def draw(step: int) -> tuple[Tensor, ...]:
        drawn.append(step)
        return ()

    prefetch = Prefetch(draw, 3, None)
    prefetch.take(0)
    prefetch.draw_next(1)
    assert drawn == [0]


@pytest.mark.parametrize("stop", [True, False])
def test_a_run_that_draws_ahead_has_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    plain, ahead = job(), job()
    run(recipe_in(tmp_path / "plain"), plain)
    streams: list[RecordingStream] = []

    def stand_in(_: torch.device) -> RecordingStream:
        streams.append(RecordingStream())
        return streams[-1]

    monkeypatch.setattr("poselift_training.loop.loop.side_stream", stand_in)
    recipe = recipe_in(tmp_path / "ahead")
    if stop:
        with pytest.raises(BaseException, match="Stopped at step"):
            train(Fabric(accelerator="cpu", devices=1), recipe, ahead, time_limit_s=0)
        ahead = job()
    run(recipe, ahead)
    assert losses(recipe) == losses(recipe_in(tmp_path / "plain"))
    assert same_state(plain, ahead)
    assert sum(stream.events.count("join") for stream in streams) == 40


class Memory:
    """Two queues of a device that work at any speed, and memory that is given away as soon as it is not referenced."""

    def __init__(self) -> None:
        self.cells: list[int] = []
        self.free: list[int] = []
        self.steps: list[tuple[Callable[[], bool], Callable[[], object]]] = []
        self.draws: list[tuple[Callable[[], bool], Callable[[], object]]] = []
        self.done = {"steps": 0, "draws": 0}
        self.launched = {"steps": 0, "draws": 0}

    def launch(self, queue: str, work: Callable[[], object], ready: Callable[[], bool] = lambda: True) -> None:
        getattr(self, queue).append((ready, work))
        self.launched[queue] += 1

    def allocate(self) -> tuple[int, Tensor]:
        if not self.free:
            self.free.append(len(self.cells))
            self.cells.append(-1)
        cell, tensor = self.free.pop(), torch.empty(0)
        weakref.finalize(tensor, self.free.append, cell)
        return cell, tensor

    def run(self, schedule: random.Random) -> None:
        while self.steps or self.draws:
            ready = [q for q in ("steps", "draws") if getattr(self, q) and getattr(self, q)[0][0]()]
            queue = schedule.choice(ready)
            getattr(self, queue).pop(0)[1]()
            self.done[queue] += 1


class QueueStream:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def mark(self) -> int:
        return self._memory.launched["steps"]

    @contextmanager
    def behind(self, mark: int) -> Iterator[None]:
        self._memory.launch("draws", lambda: None, lambda: self._memory.done["steps"] >= mark)
        yield

    def join(self) -> None:
        launched = self._memory.launched["draws"]
        self._memory.launch("steps", lambda: None, lambda: self._memory.done["draws"] >= launched)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_no_step_computes_with_inputs_of_another_one(seed: int) -> None:
    memory, used = Memory(), []
    cell_of: dict[int, int] = {}

    def draw(step: int) -> tuple[Tensor, ...]:
        cell, tensor = memory.allocate()
        cell_of[id(tensor)] = cell
        memory.launch("draws", lambda: memory.cells.__setitem__(cell, step))
        return (tensor,)

    def read(cell: int) -> None:
        used.append(memory.cells[cell])

    prefetch = Prefetch(draw, STEPS, QueueStream(memory))
    for step in range(STEPS):
        (taken,) = prefetch.take(step)
        cell = cell_of[id(taken)]
        del taken
        memory.launch("steps", partial(read, cell))
        prefetch.draw_next(step + 1)
    memory.run(random.Random(seed))
    assert used == list(range(STEPS))
    assert len(memory.cells) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_run_on_a_gpu_has_the_same_losses_when_it_draws_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_gpu(step: int) -> tuple[Tensor, ...]:
        return tuple(tensor.cuda(non_blocking=True) * 1 for tensor in inputs(step))

    def losses_in(folder: Path) -> list[float]:
        torch.manual_seed(0)
        train(Fabric(accelerator="cuda", devices=1), recipe_in(folder), job(inputs=on_gpu, validate=dict))
        return losses(recipe_in(folder))

    ahead = losses_in(tmp_path / "ahead")
    monkeypatch.setattr("poselift_training.loop.loop.side_stream", lambda _: None)
    assert losses_in(tmp_path / "plain") == pytest.approx(ahead, rel=1e-5)


def test_a_side_stream_and_the_steps_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of PyTorch's streams, which need a GPU."""
    cuda = MagicMock()
    monkeypatch.setattr(torch, "cuda", cuda)
    stream = SideStream(torch.device("cuda"))
    mark: Any = stream.mark()
    mark.record.assert_called_once_with(cuda.current_stream.return_value)
    assert stream.behind(mark) is cuda.stream.return_value
    cuda.Stream.return_value.wait_event.assert_called_once_with(mark)
    stream.join()
    cuda.current_stream.return_value.wait_stream.assert_called_once_with(cuda.Stream.return_value)
