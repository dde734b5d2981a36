import torch
from poselift_training.loop.schedule import learning_rate
from poselift_training.optimiser_config import Cosine, Exponential, OptimiserConfig


def test_exponential_schedule_falls_once_per_epoch() -> None:
    optimiser = OptimiserConfig(1e-3, schedule=Exponential("exponential", 0.5))
    rates = [learning_rate(optimiser, step, 30, 10) for step in (0, 9, 10, 29)]
    assert rates == [1e-3, 1e-3, 5e-4, 2.5e-4]


def test_cosine_schedule_rises_then_falls_to_its_floor() -> None:
    optimiser = OptimiserConfig(1.0, schedule=Cosine("cosine", warmup_steps=4, final_share=0.1))
    rates = torch.tensor([learning_rate(optimiser, step, 104, 1) for step in range(105)])
    torch.testing.assert_close(rates[:5], torch.tensor([0.25, 0.5, 0.75, 1.0, 1.0]))
    torch.testing.assert_close(rates[54], torch.tensor(0.55))
    torch.testing.assert_close(rates[104], torch.tensor(0.1))
    assert bool((rates[4:].diff() < 0).all())
