"""Draws the inputs of the next step on a GPU while the GPU computes the present one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor


class Stream(Protocol):
    """A stream beside the one on which steps are computed."""

    def mark(self) -> Any:
        """Mark the end of what steps have launched so far."""

    def behind(self, mark: Any) -> AbstractContextManager[Any]:
        """Launch on this stream inside the context, when the device has come to a mark."""

    def join(self) -> None:
        """Let steps go on when the device has done what this stream has launched so far."""


class SideStream:
    """A `Stream` of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    def behind(self, mark: torch.cuda.Event) -> AbstractContextManager[Any]:
        self._stream.wait_event(mark)
        return torch.cuda.stream(self._stream)

    def join(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)


def side_stream(device: torch.device) -> Stream | None:
    """A second stream of a GPU; None for devices that do one thing at a time."""
    return SideStream(device) if device.type == "cuda" else None


class Prefetch:
    """The inputs of one step after the other, with a stream: those of the next step drawn ahead.

    PyTorch uses the memory of inputs that are no longer referenced for those that are drawn next. So the inputs of a
    step are kept until the stream will be behind that step whenever it draws. There are never more than two steps'
    inputs, however far the host is ahead of the device.

    Args:
        draw: returns the inputs of a step; a pure function of the step.
        steps: number of steps of the run.
        stream: what to draw on; None: inputs are drawn when they are taken.
    """

    def __init__(self, draw: Callable[[int], tuple[Tensor, ...]], steps: int, stream: Stream | None) -> None:
        self._draw = draw
        self._steps = steps
        self._stream = stream
        self._drawn: tuple[int, tuple[Tensor, ...]] | None = None
        self._before: Any = None

    def take(self, step: int) -> tuple[Tensor, ...]:
        """Inputs of a step, to be launched next."""
        if self._stream is None:
            return self._draw(step)
        if self._drawn is None or self._drawn[0] != step:
            self._before = self._stream.mark()
            self._draw_ahead(self._stream, step)
        assert self._drawn is not None
        self._stream.join()
        self._before = self._stream.mark()
        return self._drawn[1]

    def draw_next(self, step: int) -> None:
        """Draw the inputs of a step, if the run has it, behind the step before the one that was launched last."""
        if self._stream is not None and step < self._steps:
            self._draw_ahead(self._stream, step)

    def _draw_ahead(self, stream: Stream, step: int) -> None:
        with stream.behind(self._before):
            # The inputs of the step before are kept until here, so their memory is not used for these.
            self._drawn = (step, self._draw(step))
