"""The training loop of both stages, on one device or several.

Everything random in step k is a pure function of (seed, k, rank): the batch, the masks, and the dropout, whose
generator is set anew before every step. A checkpoint therefore holds the network, the optimiser and the step, and
nothing else is needed for the losses after a break to equal those without it.

The run folder holds `checkpoint.pt` (the last one), `losses.jsonl` (one line per step), `validation.jsonl` and
TensorBoard events. With several devices all processes must see the same run folder; only the first one writes.
"""

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self, TextIO, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from poselift.errors import InvalidRecipe
from poselift_training.recipe import OptimiserConfig, Origin, Recipe, flat, recipe_from

CHECKPOINT_FORMAT = 1
LINE_EVERY_S = 30.0

Precision = Literal["32-true", "bf16-mixed"]

# These may change between the parts of a run: they say how it runs, not what it learns.
FREE_KEYS = frozenset(
    "data.root data.also publish runs accelerator devices num_nodes "
    "log_every_steps checkpoint_every_s validate_every_steps validation_batches".split()
)


class TrainingStopped(Exception):
    """The run was asked to stop and has saved its checkpoint: no error, but no result yet either.

    Attributes:
        exit_code: 0 when the time limit was reached, 128 + the signal's number for a signal.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Job:
    """What a stage brings to the loop."""

    objective: nn.Module
    """Inputs of one step to scalar loss; the loss lives inside so that autocast and gradient averaging cover it."""
    inputs: Callable[[int], tuple[Tensor, ...]]
    """Inputs of the objective in one step, this process's share of the batch; a pure function of the step."""
    validate: Callable[[], dict[str, float]]
    """Scores on fixed data; called in evaluation mode, by the first process only."""
    steps: int
    steps_per_epoch: int
    sources: tuple[Origin, ...] = ()
    """The data that the run learns from, that of runs before it included; kept with the checkpoint."""


class Stop:
    """Notices SIGTERM, Ctrl-C and the time limit. A second signal ends the process at once, as it would without us."""

    def __init__(self, time_limit_s: float | None) -> None:
        self._deadline = math.inf if time_limit_s is None else time.monotonic() + time_limit_s
        self._signal: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        return self._signal is not None or time.monotonic() >= self._deadline

    @property
    def reason(self) -> str:
        if self._signal is not None:
            return self._signal.name
        return "time limit" if time.monotonic() >= self._deadline else "another process was told to stop"

    @property
    def exit_code(self) -> int:
        return 128 + self._signal if self._signal else 0

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _notice(self, number: int, _frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


class Journal:
    """What a run writes down: JSON lines, TensorBoard events, and the progress for whoever watches."""

    def __init__(self, recipe: Recipe, steps: int, step: int, *, active: bool) -> None:
        self._active = active
        if not active:
            return
        recipe.folder.mkdir(parents=True, exist_ok=True)
        self._losses = _reopen(recipe.folder / "losses.jsonl", step)
        self._scores = _reopen(recipe.folder / "validation.jsonl", step)
        self._board = SummaryWriter(str(recipe.folder), purge_step=step + 1)
        self._display = Display(f"{recipe.stage} {recipe.name}", steps, step)
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._display.close()
            for file in (self._losses, self._scores, self._board):
                file.close()

    def losses(self, first_step: int, losses: list[float], rate: float, windows: int) -> None:
        """Losses of consecutive steps, the learning rate of the last one, and the windows they consumed together."""
        if not self._active:
            return
        self._losses.writelines(
            json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in enumerate(losses, start=first_step)
        )
        self._losses.flush()
        now = time.monotonic()
        step, speed = first_step + len(losses) - 1, windows / max(now - self._since, 1e-9)
        self._since = now
        for name, value in (("loss", losses[-1]), ("learning_rate", rate), ("windows_per_s", speed)):
            self._board.add_scalar(name, value, step)
        self._display.update(step, losses[-1], windows)

    def scores(self, step: int, scores: Mapping[str, float]) -> None:
        """Validation scores after a step."""
        self._scores.write(json.dumps({"step": step, **scores}) + "\n")
        self._scores.flush()
        for name, value in scores.items():
            self._board.add_scalar(f"validation/{name}", value, step)
        self._display.note(
            f"step {step}: validation " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        )
        self._since = time.monotonic()


def _reopen(path: Path, step: int) -> TextIO:
    """Open a log of JSON lines for appending, after dropping what lies beyond `step`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    # A kill can leave half a line behind; it lies beyond the checkpoint by construction.
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    path.write_text("".join(kept), encoding="utf-8")
    return path.open("a", encoding="utf-8")


class Display:
    """A progress bar on a terminal, a plain line every half minute elsewhere."""

    def __init__(self, title: str, steps: int, step: int) -> None:
        self._console = Console(stderr=True)
        self._title, self._steps = title, steps
        self._bar: Progress | None = None
        self._line_at, self._line_step, self._windows = time.monotonic(), step, 0
        if step:
            self.note(f"going on after step {step} of {steps}")
        if self._console.is_terminal:
            columns = (
                TextColumn(title),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("", total=steps, completed=step)
            self._bar.start()

    def update(self, step: int, loss: float, windows: int) -> None:
        self._windows += windows
        elapsed = time.monotonic() - self._line_at
        if self._bar is None and elapsed < LINE_EVERY_S and step < self._steps:
            return
        speed = self._windows / max(elapsed, 1e-9)
        text = f"loss {loss:.5f}, {speed:,.0f} windows/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        else:
            left_s = (self._steps - step) * elapsed / max(1, step - self._line_step)
            self.note(f"step {step} of {self._steps}, {text}, {timedelta(seconds=round(left_s))} left")
        if elapsed >= LINE_EVERY_S:
            self._line_at, self._line_step, self._windows = time.monotonic(), step, 0

    def note(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", soft_wrap=True, highlight=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def launch(recipe: Recipe) -> tuple[Fabric, Recipe]:
    """Start the devices the recipe asks for, or take those that `torchrun` has started.

    Returns:
        The devices, and the recipe with its precision settled.
    Raises:
        InvalidRecipe: the machine lacks these devices, or the batch cannot be shared among them.
    """
    devices, num_nodes = recipe.devices, recipe.num_nodes
    if TorchElasticEnvironment.detect():
        devices, num_nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    if recipe.batch_size % (devices * num_nodes):
        raise InvalidRecipe(
            f"'batch_size' must be a multiple of the {devices * num_nodes} devices, got {recipe.batch_size}.",
            path="batch_size",
        )
    _refuse_missing_devices(recipe, devices)
    precision = _precision(recipe)
    fabric = Fabric(accelerator=recipe.accelerator, devices=devices, num_nodes=num_nodes, precision=precision)
    fabric.launch()
    return fabric, replace(recipe, precision=precision)


def _on_gpu(recipe: Recipe) -> bool:
    return recipe.accelerator == "cuda" or (recipe.accelerator == "auto" and torch.cuda.is_available())


def _refuse_missing_devices(recipe: Recipe, devices: int) -> None:
    present = torch.cuda.device_count()
    if _on_gpu(recipe) and devices > present:
        raise InvalidRecipe(
            f"The recipe asks for {devices} of the machine's CUDA devices, and there are {present or 'none'}.",
            path="accelerator" if present == 0 else "devices",
        )


def _precision(recipe: Recipe) -> Precision:
    """The recipe's precision; for `auto` what the run began with, or else what suits the device."""
    if recipe.precision == "auto" and checkpoint_path(recipe.folder).exists():
        recipe = replace(recipe, precision=recipe_from(read_checkpoint(recipe.folder)["recipe"]).precision)
    if recipe.precision == "auto":
        return "bf16-mixed" if _on_gpu(recipe) else "32-true"
    return recipe.precision


def train(fabric: Fabric, recipe: Recipe, job: Job, *, time_limit_s: float | None = None) -> None:
    """Train `job.objective` in place to the job's last step, going on from the run folder's checkpoint if any.

    Raises:
        TrainingStopped: a signal or the time limit ended this part of the run; its checkpoint is saved.
        InvalidRecipe: the loss is no longer finite, or the run folder belongs to another recipe.
    """
    training = Training(fabric, recipe, job)
    if training.step < job.steps:
        training.run(time_limit_s)
    training.take_average()
    fabric.barrier()


class Training:
    """The state of a run: network, optimiser, step."""

    def __init__(self, fabric: Fabric, recipe: Recipe, job: Job) -> None:
        self.fabric, self.recipe, self.job = fabric, recipe, job
        optimiser = make_optimiser(recipe.optimiser, job.objective)
        objective = cast(nn.Module, torch.compile(job.objective)) if recipe.compile else job.objective
        self.network, self.optimiser = fabric.setup(objective, optimiser)
        decay = recipe.optimiser.average
        self.average = AveragedModel(job.objective, multi_avg_fn=self._average_in, use_buffers=True) if decay else None
        self.step = self._resume()
        self.pending: list[Tensor] = []
        self.saved_at = time.monotonic()

    def run(self, time_limit_s: float | None) -> None:
        """Train to the last step, and save."""
        leader = self.fabric.is_global_zero
        with Stop(time_limit_s) as stop, Journal(self.recipe, self.job.steps, self.step, active=leader) as journal:
            self.network.train()
            while self.step < self.job.steps:
                self._advance()
                if self._is_due(stop):
                    self._settle(journal, stop)
            self.save()

    def _advance(self) -> None:
        """One optimiser step."""
        torch.manual_seed(seed_of(self.recipe.seed, self.step, self.fabric.global_rank))  # dropout
        rate = learning_rate(self.recipe.optimiser, self.step, self.job.steps, self.job.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self.network(*self.job.inputs(self.step))
        self.fabric.backward(loss)
        if self.recipe.optimiser.clip_norm is not None:
            self.fabric.clip_gradients(
                self.network, self.optimiser, max_norm=self.recipe.optimiser.clip_norm, error_if_nonfinite=False
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.job.objective)
        self.pending.append(loss.detach())
        self.step += 1

    def _is_due(self, stop: Stop) -> bool:
        """Whether to read the losses back now. Several processes must agree, so there only the step counts."""
        if self.step % self.recipe.log_every_steps == 0 or self.step == self.job.steps:
            return True
        return self.fabric.world_size == 1 and stop.requested

    def _settle(self, journal: Journal, stop: Stop) -> None:
        """Read the losses back, write them down, and do what has become due."""
        losses, stopping = self._collect(stop.requested)
        rate = self.optimiser.param_groups[0]["lr"]
        journal.losses(self.step - len(losses) + 1, losses, rate, self.recipe.batch_size * len(losses))
        self._refuse_divergence(losses, rate)
        if self.fabric.is_global_zero and self._validation_is_due(len(losses)):
            journal.scores(self.step, self._validate())
        if stopping and self.step < self.job.steps:
            self.save()
            raise TrainingStopped(self._stop_message(stop), stop.exit_code)
        if time.monotonic() - self.saved_at >= self.recipe.checkpoint_every_s:
            self.save()

    def _collect(self, stopping: bool) -> tuple[list[float], bool]:
        """Mean loss over processes of every pending step, and whether any process was asked to stop."""
        flag = torch.full((), float(stopping), device=self.fabric.device)
        mean = self.fabric.all_reduce(torch.stack([*self.pending, flag]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        self.pending.clear()
        *losses, stopped = mean.tolist()
        return losses, stopped > 0

    def _refuse_divergence(self, losses: list[float], rate: float) -> None:
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

    def _validation_is_due(self, settled: int) -> bool:
        every = self.recipe.validate_every_steps
        return self.step // every > (self.step - settled) // every or self.step == self.job.steps

    def _validate(self) -> dict[str, float]:
        self.network.eval()
        with torch.no_grad(), self._averaged():
            scores = self.job.validate()
        self.network.train()
        return scores

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """With the average of the weights, if there is one, in the place of the last ones."""
        if self.average is None:
            yield
            return
        last = {name: tensor.clone() for name, tensor in self.job.objective.state_dict().items()}
        self.take_average()
        yield
        self.job.objective.load_state_dict(last)

    @torch.no_grad()
    def _average_in(self, average: Sequence[Tensor], last: Sequence[Tensor], _seen: Tensor | int) -> None:
        """Let the average keep its share of itself, and less at first, when it has seen little.

        The step says how much that is; the count that comes along lies on the device, which would be waited for.
        """
        kept = min(self.recipe.optimiser.average, (1 + self.step) / (10 + self.step))
        for tensor, newer in zip(average, last, strict=True):
            if tensor.is_floating_point():
                tensor.lerp_(newer, 1 - kept)
            else:
                tensor.copy_(newer)

    def take_average(self) -> None:
        """Put the average of the weights, if there is one, in the place of the last ones."""
        if self.average is not None:
            self.job.objective.load_state_dict(self.average.module.state_dict())

    def _stop_message(self, stop: Stop) -> str:
        return (
            f"Stopped at step {self.step} of {self.job.steps} ({stop.reason}); {self._checkpoint} is saved. "
            "The same command goes on from there."
        )

    @property
    def _checkpoint(self) -> Path:
        return checkpoint_path(self.recipe.folder)

    def save(self) -> None:
        """Write the checkpoint (the first process only), whole or not at all.

        Raises:
            InvalidRecipe: a weight is not finite; the checkpoint before it stays.
        """
        self.saved_at = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        weights = torch.stack([parameter.isfinite().all() for parameter in self.job.objective.parameters()])
        if not bool(weights.all()):
            raise self._divergence(
                f"A weight is no longer finite after step {self.step}", self.optimiser.param_groups[0]["lr"]
            )
        state = {
            "format": CHECKPOINT_FORMAT,
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            "steps": self.job.steps,
            "objective": self.job.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "data": [(origin.source, origin.licence) for origin in self.job.sources],
        }
        write_whole(self._checkpoint, state)

    def _resume(self) -> int:
        """Load the run folder's checkpoint, if any, and return the number of finished steps."""
        if not self._checkpoint.exists():
            return 0
        state = read_checkpoint(self.recipe.folder)
        _refuse_other_recipe(state["recipe"], self.recipe)
        self.job.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        step: int = state["step"]
        return step


def seed_of(seed: int, step: int, rank: int) -> int:
    """The seed of everything random in one step of one process; neighbours have nothing in common."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def make_optimiser(config: OptimiserConfig, module: nn.Module) -> torch.optim.Optimizer:
    kind: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.kind]
    return kind(
        module.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
        fused=True,
    )


def learning_rate(config: OptimiserConfig, step: int, steps: int, steps_per_epoch: int) -> float:
    """Learning rate of one step (from 0) out of `steps`."""
    schedule = config.schedule
    if schedule.kind == "exponential":
        return config.learning_rate * schedule.decay_per_epoch ** (step // steps_per_epoch)
    if step < schedule.warmup_steps:
        return config.learning_rate * (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, steps - schedule.warmup_steps)
    share = schedule.final_share + (1 - schedule.final_share) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * share


def checkpoint_path(folder: Path) -> Path:
    return folder / "checkpoint.pt"


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """A run folder's checkpoint: format, recipe, step, steps, objective, optimiser; tensors on the CPU.

    Raises:
        InvalidRecipe: there is none, it is broken, or another version of the code wrote it.
    """
    path = checkpoint_path(folder)
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InvalidRecipe(f"{folder} is no run folder: it holds no {path.name}.") from error
    except OSError:
        raise
    except Exception as error:  # a broken pickle fails in more ways than can be listed
        raise InvalidRecipe(f"{path} is not a checkpoint, or a broken one.") from error
    if not isinstance(state, dict):
        raise InvalidRecipe(f"{path} is not a checkpoint, or a broken one.")
    if state.get("format") != CHECKPOINT_FORMAT:
        raise InvalidRecipe(
            f"{path} has checkpoint format {state.get('format')}; this code reads format {CHECKPOINT_FORMAT}."
        )
    return state


def learnt(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the objective that a run would be judged by if it ended here."""
    average = checkpoint.get("average")
    if average is None:
        return dict(checkpoint["objective"])
    return {name.removeprefix("module."): tensor for name, tensor in average.items() if name != "n_averaged"}


def sources_in(checkpoint: Mapping[str, Any]) -> tuple[Origin, ...]:
    """The data behind a checkpoint; older ones do not tell."""
    return tuple(Origin(source, licence) for source, licence in checkpoint.get("data", ()))


def write_whole(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _refuse_other_recipe(before: Mapping[str, Any], recipe: Recipe) -> None:
    # Read again, so that keys that are younger than the checkpoint take their defaults.
    there, here = flat(recipe_from(dict(before)).as_dict()), flat(recipe.as_dict())
    for key in sorted(there.keys() | here.keys()):
        if key.split(".")[0] not in FREE_KEYS and key not in FREE_KEYS and there.get(key) != here.get(key):
            raise InvalidRecipe(
                f"{recipe.folder} holds a run with another '{key}' ({there.get(key)} there, {here.get(key)} here): "
                "choose another name for this run, or delete that folder.",
                path=key,
            )
