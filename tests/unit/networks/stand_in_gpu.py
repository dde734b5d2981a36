"""A stand-in for a GPU on which networks run on the CPU, and recorded graphs compute again when they are replayed."""

import contextlib
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poselift.networks.cuda_device import CudaDevice


class StandInStream:
    def __init__(self, handle: int) -> None:
        self.handle = handle

    def synchronize(self) -> None: ...


class StandInGraph:
    def __init__(self, compute: Callable[[], Tensor], answer: Tensor) -> None:
        self._compute, self._answer = compute, answer

    def replay(self) -> None:
        self._answer.copy_(self._compute())


class StandInGpu(CudaDevice):
    """Fails on demand, and records how it is used.

    Attributes:
        recorded: batch sizes of the graphs, by stream, in the order in which they were recorded.
        destroyed: number of graphs destroyed, by stream.
        capture_failure: raised by recordings, if any.
        probe_failure: raised by the check whether the GPU still works, if any.
        replays_right: whether a replayed graph answers for its present input, and not for the recorded one.
    """

    def __init__(self) -> None:
        super().__init__("cpu")
        self.recorded: dict[int, list[int]] = {}
        self.destroyed: Counter[int] = Counter()
        self.products_while_recording: set[str] = set()
        self.capture_failure: Exception | None = None
        self.probe_failure: Exception | None = None
        self.replays_right = True
        self._launching = threading.local()
        self._handles = 0

    @contextlib.contextmanager
    def on(self, stream: StandInStream) -> Iterator[None]:
        before = getattr(self._launching, "stream", None)
        self._launching.stream = stream
        try:
            yield
        finally:
            self._launching.stream = before

    @property
    def launches_on(self) -> StandInStream | None:
        """The current stream of this thread."""
        return getattr(self._launching, "stream", None)

    def new_pool(self) -> object:
        return object()

    def upload(self, array: NDArray[Any]) -> Tensor:
        assert self.launches_on is not None
        return torch.from_numpy(array)

    def download(self, tensor: Tensor, stream: StandInStream) -> NDArray[np.float32]:
        assert self.launches_on is stream
        assert self._work._holders, "a recording may run beside this"
        return np.array(tensor.numpy())

    def capture(
        self, compute: Callable[[], Tensor], pool: object, stream: StandInStream
    ) -> tuple[StandInGraph, Tensor]:
        assert self._work._holders == 0, "a graph is recorded beside other work"
        if self.capture_failure is not None:
            raise self.capture_failure
        self.products_while_recording.add(torch.backends.cuda.matmul.fp32_precision)
        answer = compute()
        again = compute if self.replays_right else lambda: answer
        graph = StandInGraph(again, answer)
        self.recorded.setdefault(stream.handle, []).append(len(answer))
        weakref.finalize(graph, self.destroyed.update, [stream.handle])
        return graph, answer

    def free_memory(self, stream: StandInStream) -> None:
        assert self._work._entry.locked(), "others may use the GPU meanwhile"
        assert not self._work._holders, "others use the GPU meanwhile"

    def _make_stream(self) -> StandInStream:
        self._handles = (self._handles + 1) % 32  # as in PyTorch, the same ones come again
        return StandInStream(self._handles)

    def _handle(self, stream: StandInStream) -> int:
        return stream.handle

    def _follow_current(self, stream: StandInStream) -> None: ...

    def _probe(self) -> None:
        if self.probe_failure is not None:
            raise self.probe_failure
