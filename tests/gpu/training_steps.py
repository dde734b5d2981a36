"""Training on a GPU: both stages to the end, resumed runs, time per step and waits in it."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tests.gpu.context import REPOSITORY, Context, sync_warnings

if TYPE_CHECKING:
    from poselift_training.loop.loop import Training


def stages(context: Context) -> None:
    """Run the smoke recipes to publication, and one of them in two parts."""
    from poselift_training.finetune import finetune
    from poselift_training.loop.stop import TrainingStopped
    from poselift_training.pretrain import pretrain
    from poselift_training.recipe import load_recipe

    with _data() as data:
        options = _options(context, data, steps=4 if context.tiny else 60)
        pretrain(load_recipe(Path("smoke-pretrain"), options))
        started = time.monotonic()
        finetune(load_recipe(Path("smoke"), options))
        context.report("smoke: seconds to publication", time.monotonic() - started)
        whole = _losses(data / "runs" / "smoke")
        parts = load_recipe(Path("smoke"), [*options, f"runs={data}/parts", "log_every_steps=2"])
        try:
            finetune(parts, time_limit_s=0)
        except TrainingStopped:
            finetune(parts)
        again = _losses(data / "parts" / "smoke")
        worst = max(abs(a - b) / abs(a) for a, b in zip(whole, again, strict=True))
        context.at_most("relative difference of losses after a stop", worst, 1e-3 if context.device == "cuda" else 0.0)
        context.report("loss, first and last", [round(whole[0], 4), round(whole[-1], 4)])


def torchrun(context: Context) -> None:
    """Train through torchrun: NCCL on a GPU, gloo with two processes on the CPU."""
    processes = 1 if context.device == "cuda" else 2
    with _data() as data:
        options = [f"-o{option}" for option in _options(context, data, steps=4 if context.tiny else 20)]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["-m", "poselift_training.pretrain", "smoke-pretrain", *options]
        paths = os.pathsep.join(str(REPOSITORY / folder) for folder in ("", "service", "training"))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        run = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        context.report(f"torchrun with {processes}", run.returncode, "0", ok=run.returncode == 0)
        if run.returncode:
            context.report("its last lines", run.stderr.splitlines()[-5:])


def step_times(context: Context) -> None:
    """Time per step of recipes of full size, in parts, and waits of the host in a step."""
    for name in ("pstmo-s-81-mocap", "mixste-243-mocap", "mpm-completion-27"):
        if context.is_over:
            context.report("cut short at", name)
            return
        with _data() as data:
            _time_steps(context, name, data)


def _time_steps(context: Context, name: str, data: Path) -> None:
    steps, warm_up = (2, 1) if context.tiny else (100 if "pstmo" in name else 20, 10)
    training = _training(context, name, data)
    recipe = training.recipe
    for _ in range(warm_up):
        training._advance()
    context.synchronize()
    if context.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step_s = _step_s(context, training, steps)
    context.report(f"{name} ({recipe.precision}): ms per step", 1e3 * step_s)
    context.report(f"{name}: windows/s", recipe.batch_size / step_s)
    training._inputs._stream = None
    context.report(f"{name}: ms per step, nothing drawn ahead", 1e3 * _step_s(context, training, steps))
    context.report(f"{name}: ms of that for data", 1e3 * _median_s(context, lambda: training.job.inputs(steps)))
    _report_waits(context, name, training)
    losses = torch.stack(training._unread_losses).tolist()
    context.report(f"{name}: first and last loss", losses[:: max(1, len(losses) - 1)])
    if context.device == "cuda":
        context.report(f"{name}: GB, most", torch.cuda.max_memory_allocated() / 1e9)


def _training(context: Context, name: str, data: Path) -> "Training":
    """The second stage of a recipe, without validation and publication."""
    from poselift_training.lifting_objective import Lifting
    from poselift_training.loop.devices import launch
    from poselift_training.loop.loop import Job, Training
    from poselift_training.loop.seeds import step_seed
    from poselift_training.recipe import load_recipe
    from poselift_training.recipe_data import load_data

    small = ["batch_size=4", "network.frames=9", "network.channels=16", "network.hidden=32", "network.layers=1"]
    fabric, recipe = launch(load_recipe(Path(name), [*_options(context, data), *(small if context.tiny else [])]))
    objective = Lifting(recipe)
    batches = load_data(recipe, fabric.device).training

    def inputs(step: int) -> tuple[torch.Tensor, ...]:
        batch = batches.batch(step)
        return objective.inputs(batch, step_seed(recipe.seed, step, 0)), batch.joints

    training = Training(fabric, recipe, Job(objective, inputs, dict, steps=10**6, steps_per_epoch=1000))
    training.network.train()
    return training


def _step_s(context: Context, training: "Training", steps: int) -> float:
    """Mean time of some steps."""
    started = time.perf_counter()
    for _ in range(steps):
        training._advance()
    context.synchronize()
    return (time.perf_counter() - started) / steps


def _report_waits(context: Context, name: str, training: "Training") -> None:
    with sync_warnings(context) as waits:
        training._advance()
    is_right = len(waits) < 5 if context.device == "cuda" else None
    context.report(f"{name}: waits in a step", len(waits), "< 5", ok=is_right)
    for place in sorted(set(waits)):
        context.report("waits at", place)


def _median_s(context: Context, work: Callable[[], object]) -> float:
    taken = []
    for _ in range(2 if context.tiny else 10):
        context.synchronize()
        started = time.perf_counter()
        work()
        context.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _options(context: Context, data: Path, *, steps: int | None = None) -> list[str]:
    accelerator = "cuda" if context.device == "cuda" else "cpu"
    options = [
        f"data.root={data}",
        f"runs={data}/runs",
        f"publish.repository={data}/models",
        f"accelerator={accelerator}",
    ]
    splits = ['data.splits=["train"]', 'data.validation_splits=["train"]']
    given = [] if steps is None else [f"steps={steps}"]
    return [*options, *splits, *given, "validate_every_steps=1000", "validation_batches=1"]


class _data:
    """A folder with one short recording."""

    def __enter__(self) -> Path:
        import numpy as np
        from poselift_training.data.clips import Clip, write_clips

        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        phases = np.arange(200)[:, None, None] / 12 + np.arange(17)[:, None]
        joints = _standing() + 0.05 * np.sin(phases) * np.array([1.0, 1.0, 0.3])
        write_clips(folder / "made_up.npz", [Clip("sway", "one", joints, "train", "made up", "CC0-1.0", "swaying")])
        return folder

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _standing() -> object:
    from tests.integration.training.conftest import STANDING

    return STANDING


def _losses(folder: Path) -> list[float]:
    from tests.integration.training.runs import losses

    return losses(folder)
