"""The exponential moving average of a network's weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage:
    """Exponential moving average (EMA) of all weights and buffers of a module.

    Args:
        module: is averaged; it stays as it is until `copy_to_module`.
        decay: share of itself that the average keeps in each step, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._step = 0
        self._average = AveragedModel(module, multi_avg_fn=self._lerp, use_buffers=True)

    def update(self, step: int) -> None:
        """Take in the weights after an optimiser step, of which `step` were done before it."""
        self._step = step
        self._average.update_parameters(self._module)

    @torch.no_grad()
    def _lerp(self, average: Sequence[Tensor], last: Sequence[Tensor], _count: Tensor | int) -> None:
        """Update in place, with a smaller decay at first so that the initial weights are soon forgotten.

        The decay depends on the step of the run and not on `_count`, which is on the device: reading it would block.
        """
        decay = min(self._decay, (1 + self._step) / (10 + self._step))
        for tensor, newer in zip(average, last, strict=True):
            if tensor.is_floating_point():
                tensor.lerp_(newer, 1 - decay)
            else:
                tensor.copy_(newer)

    def copy_to_module(self) -> None:
        """Replace the module's weights with their average."""
        self._module.load_state_dict(self._average.module.state_dict())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the module's weights with their average inside a `with` block."""
        last = {name: tensor.clone() for name, tensor in self._module.state_dict().items()}
        self.copy_to_module()
        yield
        self._module.load_state_dict(last)

    def state_dict(self) -> dict[str, Any]:
        return self._average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._average.load_state_dict(state)
