"""Random numbers on a device."""

import pytest
import torch
from poselift_training.data.synthetic.draws import last_step


@pytest.mark.parametrize("frames", [1, 2, 27, 81, 243, 500])
@pytest.mark.parametrize("dt_s", [0.02, 1 / 30, 0.04, 0.12])
@pytest.mark.parametrize("unit_s", [0.25, 1.6])
def test_the_last_step_is_that_of_the_tensor(frames: int, dt_s: float, unit_s: float):
    step = dt_s / unit_s
    assert last_step(frames, step) == int((torch.arange(frames) * step).long()[-1])
