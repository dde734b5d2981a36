"""Draw the errors of models over what a pose costs.

    python docs/draw_accuracy.py docs/images/accuracy_over_cost.svg

They are the models of docs/accuracy_over_cost.toml and, after these, the shipped one, if it has no row there.
"""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from poselift_training.cards.figures import save

from docs.shipped_model import cost_and_errors

ROWS = Path(__file__).with_name("accuracy_over_cost.toml")
TICKS_MFLOP = (5, 10, 20, 50)
PANELS = {
    "clip": ("Poses of clips", {"exact": "exact keypoints", "detector": "detector-like keypoints"}),
    "live": ("Live frames, detector-like keypoints", {"lookahead_0": "lookahead 0", "lookahead_5": "lookahead 5"}),
}
COLOURS = ("#2e86ab", "#d1495b")


def models() -> list[dict[str, Any]]:
    """The models to draw, as rows of the file."""
    rows: list[dict[str, Any]] = tomllib.loads(ROWS.read_text(encoding="utf-8"))["model"]
    shipped = cost_and_errors()
    return rows if shipped["name"] in [row["name"] for row in rows] else [*rows, shipped]


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw one panel for clips and one for live frames, each with a line of models for each kind of keypoints."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (kind, (title, errors)) in zip(
        figure.subplots(1, 2, sharex=True, sharey=True), PANELS.items(), strict=True
    ):
        points = [(row["name"], row[kind]) for row in rows]
        for (key, label), colour in zip(errors.items(), COLOURS, strict=True):
            _draw_models(axes, [(name, point["mflop"], point[key]) for name, point in points], label, colour)
        axes.set(title=title, xlabel="MFLOP per pose", xscale="log")
        axes.set_xticks(TICKS_MFLOP, [str(tick) for tick in TICKS_MFLOP])
        axes.minorticks_off()
        axes.margins(x=0.25, y=0.15)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel("MPJPE, mm")
    return figure


def _draw_models(axes: Axes, points: Sequence[tuple[str, float, float]], label: str, colour: str) -> None:
    _, mflop, errors = zip(*points, strict=True)
    axes.plot(mflop, errors, "o-", color=colour, label=label, linewidth=0.8)
    for name, cost, error in points:
        axes.annotate(name, (cost, error), xytext=(5, 4), textcoords="offset points", fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    save(draw(models()), parser.parse_args().file)


if __name__ == "__main__":
    main()
