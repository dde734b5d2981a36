"""The training loop of both stages, on one device or several.

Everything random in step k is a pure function of (seed, k, rank): the batch, the masks, and the dropout, whose
generator is seeded before every step. So a checkpoint with the network, the optimiser and the step is enough for the
losses of a resumed run to equal those of an uninterrupted one; on a GPU up to rounding, because some sums have no fixed
order there.

The run folder holds `checkpoint.pt` (the last one), `losses.jsonl` (one line per step), `validation.jsonl` and
TensorBoard events. With several devices all processes must see the same run folder; only the first one writes.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from poselift.errors import InvalidRecipe
from poselift_training.loop.checkpoint import (
    CHECKPOINT_FORMAT,
    atomic_save,
    check_same_recipe,
    checkpoint_path,
    read_checkpoint,
)
from poselift_training.loop.journal import Journal
from poselift_training.loop.optimisers import make_optimisers
from poselift_training.loop.prefetch import Prefetch, side_stream
from poselift_training.loop.schedule import learning_rate
from poselift_training.loop.seeds import step_seed
from poselift_training.loop.stop import Stop, TrainingStopped
from poselift_training.loop.weight_average import WeightAverage
from poselift_training.recipe import DataSource, Recipe


@dataclass(frozen=True)
class Job:
    """What a stage passes to the loop."""

    objective: nn.Module
    """Maps the inputs of one step to a scalar loss; the loss is part of it so that autocast and gradient averaging
    cover it."""
    inputs: Callable[[int], tuple[Tensor, ...]]
    """Inputs of the objective in one step, this process's part of the batch; a pure function of the step."""
    validate: Callable[[], dict[str, float]]
    """Scores on fixed data; called in evaluation mode, by the first process only."""
    steps: int
    steps_per_epoch: int
    sources: tuple[DataSource, ...] = ()
    """The data that the run learns from, including those of the runs it starts from; stored in the checkpoint."""


def train(fabric: Fabric, recipe: Recipe, job: Job, *, time_limit_s: float | None = None) -> None:
    """Train `job.objective` in place up to the job's last step, resuming from the run folder's checkpoint if any.

    Raises:
        TrainingStopped: a signal or the time limit ended this part of the run; its checkpoint is saved.
        InvalidRecipe: the loss is no longer finite, or the run folder belongs to another recipe.
    """
    training = Training(fabric, recipe, job)
    if training.step < job.steps:
        training.run(time_limit_s)
    training.finish()
    fabric.barrier()


class Training:
    """The state of a run: network, optimisers, weight average, and `step`, the number of finished steps."""

    def __init__(self, fabric: Fabric, recipe: Recipe, job: Job) -> None:
        """Set up the run, or load the checkpoint in its folder.

        Raises:
            InvalidRecipe: the run folder belongs to another recipe.
        """
        self.fabric, self.recipe, self.job = fabric, recipe, job
        optimisers = make_optimisers(recipe.optimiser, job.objective, recipe.network.channels)
        objective = cast(nn.Module, torch.compile(job.objective)) if recipe.compile else job.objective
        self.network, *self.optimisers = fabric.setup(objective, *optimisers)
        decay = recipe.optimiser.average
        self.average = WeightAverage(job.objective, decay) if decay else None
        self.step = self._resume()
        self._inputs = Prefetch(job.inputs, job.steps, side_stream(fabric.device))
        self._unread_losses: list[Tensor] = []
        self._saved_at = time.monotonic()

    def run(self, time_limit_s: float | None) -> None:
        """Train up to the last step, and save the checkpoint.

        Raises:
            TrainingStopped, InvalidRecipe: as `train`.
        """
        first_process = self.fabric.is_global_zero
        with Stop(time_limit_s) as stop, Journal(self.recipe, self.job.steps, self.step, active=first_process) as log:
            self.network.train()
            while self.step < self.job.steps:
                self._advance()
                if self._flush_is_due(stop):
                    self._flush(log, stop)
            self.save()

    def finish(self) -> None:
        """Replace the last weights with their average, if the run keeps one."""
        if self.average is not None:
            self.average.copy_to_module()

    def _advance(self) -> None:
        """One optimiser step."""
        torch.manual_seed(step_seed(self.recipe.seed, self.step, self.fabric.global_rank))  # dropout
        rate = learning_rate(self.recipe.optimiser, self.step, self.job.steps, self.job.steps_per_epoch)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        loss = self.network(*self._inputs.take(self.step))
        self.fabric.backward(loss)
        if self.recipe.optimiser.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.clip_norm)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if self.average is not None:
            self.average.update(self.step)
        self._unread_losses.append(loss.detach())
        self.step += 1
        self._inputs.draw_next(self.step)

    def _flush_is_due(self, stop: Stop) -> bool:
        """Whether to read the losses from the device now.

        Several processes must agree on it without communication, so with several only the step counts.
        """
        if self.step % self.recipe.log_every_steps == 0 or self.step == self.job.steps:
            return True
        return self.fabric.world_size == 1 and stop.requested

    def _flush(self, journal: Journal, stop: Stop) -> None:
        """Read the losses from the device and write them, then validate, stop or save if that is due."""
        losses, stopping = self._collect(stop.requested)
        rate = self.optimisers[0].param_groups[0]["lr"]
        journal.write_losses(self.step - len(losses) + 1, losses, rate, self.recipe.batch_size * len(losses))
        self._check_finite(losses, rate)
        if self.fabric.is_global_zero and self._validation_is_due(len(losses)):
            journal.write_scores(self.step, self._validate())
        if stopping and self.step < self.job.steps:
            self.save()
            raise TrainingStopped(self._stop_message(stop), stop.exit_code)
        if time.monotonic() - self._saved_at >= self.recipe.checkpoint_every_s:
            self.save()

    def _collect(self, stopping: bool) -> tuple[list[float], bool]:
        """Mean loss over all processes of every unread step, and whether any process was asked to stop."""
        flag = torch.full((), float(stopping), device=self.fabric.device)
        mean = self.fabric.all_reduce(torch.stack([*self._unread_losses, flag]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        self._unread_losses.clear()
        *losses, stopped = mean.tolist()
        return losses, stopped > 0

    def _check_finite(self, losses: list[float], rate: float) -> None:
        for offset, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise self._divergence(f"The loss became {loss} in step {self.step - len(losses) + 1 + offset}", rate)

    def _divergence(self, finding: str, rate: float) -> InvalidRecipe:
        kept = (
            f"the checkpoint in {self.recipe.folder} is kept"
            if self._checkpoint.exists()
            else "there is no checkpoint yet"
        )
        return InvalidRecipe(
            f"{finding} at learning rate {rate:.3g}: lower optimiser.learning_rate, lengthen its warm-up or set "
            f"optimiser.clip_norm, and look for broken input; {kept}.",
            path="optimiser.learning_rate",
        )

    def _validation_is_due(self, new_steps: int) -> bool:
        every = self.recipe.validate_every_steps
        return self.step // every > (self.step - new_steps) // every or self.step == self.job.steps

    def _validate(self) -> dict[str, float]:
        """Scores of the averaged weights, if there are any, else of the last ones."""
        self.network.eval()
        with torch.no_grad(), self.average.applied() if self.average is not None else nullcontext():
            scores = self.job.validate()
        self.network.train()
        return scores

    def _stop_message(self, stop: Stop) -> str:
        return (
            f"Stopped at step {self.step} of {self.job.steps} ({stop.reason}); {self._checkpoint} is saved. "
            "The same command resumes from there."
        )

    @property
    def _checkpoint(self) -> Path:
        return checkpoint_path(self.recipe.folder)

    def save(self) -> None:
        """Write the checkpoint atomically, in the first process only.

        Raises:
            InvalidRecipe: a weight is not finite; the previous checkpoint is kept.
        """
        self._saved_at = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        finite = torch.stack([parameter.isfinite().all() for parameter in self.job.objective.parameters()])
        if not bool(finite.all()):
            raise self._divergence(
                f"A weight is no longer finite after step {self.step}", self.optimisers[0].param_groups[0]["lr"]
            )
        state = {
            "format": CHECKPOINT_FORMAT,
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            "steps": self.job.steps,
            "objective": self.job.objective.state_dict(),
            "optimiser": [optimiser.state_dict() for optimiser in self.optimisers],
            "average": None if self.average is None else self.average.state_dict(),
            "data": [(source.source, source.licence) for source in self.job.sources],
        }
        atomic_save(self._checkpoint, state)

    def _resume(self) -> int:
        """Load the run folder's checkpoint, if any, and return the number of finished steps."""
        if not self._checkpoint.exists():
            return 0
        state = read_checkpoint(self.recipe.folder)
        check_same_recipe(state["recipe"], self.recipe)
        self.job.objective.load_state_dict(state["objective"])
        states = state["optimiser"]
        # Older checkpoints hold the state of their one optimiser.
        for optimiser, one in zip(self.optimisers, states if isinstance(states, list) else [states], strict=True):
            optimiser.load_state_dict(one)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        step: int = state["step"]
        return step
