"""The exponential moving average of a network's weights."""

from collections.abc import Iterator, Mapping
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
        self._average = AveragedModel(module, use_buffers=True)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after an optimiser step, of which `step` were done before it.

        The decay is smaller at first, so that the initial weights are soon forgotten. It depends on the step of the run
        and not on the average's own counter, which `AveragedModel.update_parameters` copies to the device each time.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        if self._average.n_averaged == 0:  # on the CPU
            decay = 0.0
        pairs = list(zip(_tensors(self._average.module), _tensors(self._module), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [last for _, last in floats], 1 - decay)
        for average, last in pairs:
            if not average.is_floating_point():
                average.copy_(last)
        self._average.n_averaged += 1

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


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
