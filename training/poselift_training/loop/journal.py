"""The records of a run: JSON lines, TensorBoard events, and progress on standard error."""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from torch.utils.tensorboard import SummaryWriter

from poselift.progress import LINE_EVERY_S, ProgressBar
from poselift_training.recipe import Recipe


class Journal:
    """Writes the losses and validation scores of a run into its folder, and reports its progress.

    Args:
        recipe: names the run and its folder.
        steps: length of the whole run.
        step: finished steps; entries beyond it, from a run that was killed after its last checkpoint, are dropped.
        active: False in all processes but the first one, where nothing is written.
    """

    def __init__(self, recipe: Recipe, steps: int, step: int, *, active: bool) -> None:
        self._active = active
        if not active:
            return
        recipe.folder.mkdir(parents=True, exist_ok=True)
        self._losses = _reopen(recipe.folder / "losses.jsonl", step)
        self._scores = _reopen(recipe.folder / "validation.jsonl", step)
        self._board = SummaryWriter(str(recipe.folder), purge_step=step + 1)
        self._display = _ProgressDisplay(f"{recipe.stage} {recipe.name}", steps, step)
        self._written_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._display.close()
            for file in (self._losses, self._scores, self._board):
                file.close()

    def write_losses(self, first_step: int, losses: list[float], learning_rate: float, windows: int) -> None:
        """Write the losses of consecutive steps.

        Args:
            learning_rate: that of the last of these steps.
            windows: number of windows in all of these steps together.
        """
        if not self._active:
            return
        self._losses.writelines(
            json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in enumerate(losses, start=first_step)
        )
        self._losses.flush()
        now = time.monotonic()
        step, speed = first_step + len(losses) - 1, windows / max(now - self._written_at, 1e-9)
        self._written_at = now
        for name, value in (("loss", losses[-1]), ("learning_rate", learning_rate), ("windows_per_s", speed)):
            self._board.add_scalar(name, value, step)
        self._display.update(step, losses[-1], windows)

    def write_scores(self, step: int, scores: Mapping[str, float]) -> None:
        """Write the validation scores after a step."""
        self._scores.write(json.dumps({"step": step, **scores}) + "\n")
        self._scores.flush()
        for name, value in scores.items():
            self._board.add_scalar(f"validation/{name}", value, step)
        self._display.print(
            f"step {step}: validation " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        )
        self._written_at = time.monotonic()


def _reopen(path: Path, step: int) -> TextIO:
    """Open a log of JSON lines for appending, without its entries beyond `step`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    # A killed process may leave half a line; it can only be beyond the checkpoint.
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    path.write_text("".join(kept), encoding="utf-8")
    return path.open("a", encoding="utf-8")


class _ProgressDisplay:
    """A progress bar on a terminal, a line every half minute elsewhere."""

    def __init__(self, title: str, steps: int, step: int) -> None:
        self._title, self._steps = title, steps
        self._bar = ProgressBar(title, steps, completed=step)
        self._line_at, self._line_step, self._windows = time.monotonic(), step, 0
        if step:
            self.print(f"resuming after step {step} of {steps}")

    def update(self, step: int, loss: float, windows: int) -> None:
        self._windows += windows
        elapsed = time.monotonic() - self._line_at
        if not self._bar.is_shown and elapsed < LINE_EVERY_S and step < self._steps:
            return
        speed = self._windows / max(elapsed, 1e-9)
        text = f"loss {loss:.5f}, {speed:,.0f} windows/s"
        if self._bar.is_shown:
            self._bar.update(step, text)
        else:
            left_s = (self._steps - step) * elapsed / max(1, step - self._line_step)
            self.print(f"step {step} of {self._steps}, {text}, {timedelta(seconds=round(left_s))} left")
        if elapsed >= LINE_EVERY_S:
            self._line_at, self._line_step, self._windows = time.monotonic(), step, 0

    def print(self, text: str) -> None:
        self._bar.print(f"{self._title}: {text}")

    def close(self) -> None:
        self._bar.close()
