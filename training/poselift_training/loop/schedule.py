"""Learning rate schedules."""

import math

from poselift_training.optimiser_config import OptimiserConfig


def learning_rate(config: OptimiserConfig, step: int, steps: int, steps_per_epoch: int) -> float:
    """Learning rate of one step (counted from 0) of a run of `steps`."""
    schedule = config.schedule
    if schedule.kind == "exponential":
        return config.learning_rate * schedule.decay_per_epoch ** (step // steps_per_epoch)
    if step < schedule.warmup_steps:
        return config.learning_rate * (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, steps - schedule.warmup_steps)
    share = schedule.final_share + (1 - schedule.final_share) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * share
