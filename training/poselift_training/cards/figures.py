"""Figures of poses and of scores. This is the only module that uses matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poselift.skeletons import Skeleton
from poselift_training.cards.real_clip import LiftedClip
from poselift_training.evaluation.calibration import Decile
from poselift_training.evaluation.conditions import Series

LEFT, RIGHT, MIDDLE = "tab:red", "tab:blue", "black"
RADIUS_M = 1.1
TICKS_M = (-1, 0, 1)
# Relative error of a decile's expected error that counts as good.
TOLERATED_SHARE = 0.2


def save(figure: Figure, file: Path) -> None:
    """Write a figure. Equal figures give equal files, and text in SVG stays text."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "poselift"}):
        figure.savefig(file, dpi=80, metadata={"Date": None} if file.suffix == ".svg" else None)


def clip(lifted: LiftedClip, frames: Sequence[int] = ()) -> Figure:
    """Draw some frames of a clip, one row each: the keypoints in the picture, then the pose from three sides.

    The sides are the camera's view, a side view with the camera to the left, and a top view with the camera below. The
    person's left is red and the right is blue, so red is on the right for somebody who faces the camera.

    Args:
        frames: indices of the frames to draw; empty: four from the first to the last.
    """
    sequence, target = lifted.sequence, lifted.skeleton
    frames = frames or np.linspace(0, len(lifted.joints) - 1, 4).astype(int).tolist()
    figure = Figure(figsize=(12, 3.1 * len(frames)), layout="constrained")
    rows = figure.subplots(len(frames), 4, squeeze=False)
    for frame, (picture, front, side, top) in zip(frames, rows, strict=True):
        _bones(picture, sequence.keypoints[frame, :, 0], sequence.keypoints[frame, :, 1], sequence.skeleton)
        picture.set(title=f"frame {frame}, pixels", xlim=(0, sequence.width_px), ylim=(sequence.height_px, 0))
        x, y, z = lifted.joints[frame].T
        for axes, title, across, up in ((front, "front", x, y), (side, "side: camera to the left", z, y)):
            _bones(axes, across, up, target)
            axes.set(title=title, xlim=(-RADIUS_M, RADIUS_M), ylim=(RADIUS_M, -RADIUS_M))
        _bones(top, x, z, target)
        top.set(title="top: camera below", xlim=(-RADIUS_M, RADIUS_M), ylim=(-RADIUS_M, RADIUS_M))
        picture.set(xticks=[], yticks=[])
        for axes in (front, side, top):
            axes.set(xticks=TICKS_M, yticks=TICKS_M)
        for axes in (picture, front, side, top):
            axes.set_aspect("equal")
    return figure


def _bones(axes: Axes, across: NDArray[np.floating], up: NDArray[np.floating], skeleton: Skeleton) -> None:
    for colour, joints in (
        (MIDDLE, set(range(skeleton.n_joints)) - {*skeleton.left, *skeleton.right}),
        (LEFT, skeleton.left),
        (RIGHT, skeleton.right),
    ):
        ends = [end for joint in joints for end in (skeleton.parents[joint], joint, -1)]
        # The bones of one colour are a single line with NaN between them.
        lines = [[np.nan if end < 0 else float(positions[end]) for end in ends] for positions in (across, up)]
        axes.plot(*lines, color=colour, solid_capstyle="round")


def series(panels: Mapping[str, Series]) -> Figure:
    """Draw MPJPE and P-MPJPE under the conditions of each series."""
    figure = Figure(figsize=(12, 3.2 * -(-len(panels) // 2)), layout="constrained")
    grid = figure.subplots(-(-len(panels) // 2), 2, squeeze=False).flat
    for (title, panel), axes in zip(panels.items(), grid, strict=False):
        rows = np.arange(len(panel.scores))
        for name, colour, errors in (
            ("MPJPE", "tab:blue", [scores.mpjpe_mm for scores in panel.scores.values()]),
            ("P-MPJPE", "tab:cyan", [scores.p_mpjpe_mm for scores in panel.scores.values()]),
        ):
            axes.barh(rows, errors, color=colour, label=name)
        axes.set_yticks(rows, list(panel.scores))
        axes.invert_yaxis()
        axes.set(title=title, xlabel="mm")
    for axes in grid:  # the iterator may have one left
        axes.set_axis_off()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def calibration(deciles: Mapping[str, Sequence[Decile]]) -> Figure:
    """Draw the true error over the expected one, decile by decile, for each kind of keypoints."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for name, groups in deciles.items():
        axes.plot([group.expected_mm for group in groups], [group.true_mm for group in groups], "o-", label=name)
    ends = np.array([0.0, max(group.expected_mm for groups in deciles.values() for group in groups)])
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.fill_between(
        ends, ends / (1 + TOLERATED_SHARE), ends / (1 - TOLERATED_SHARE), color="grey", alpha=0.2, linewidth=0
    )
    axes.set(xlabel="expected error, mm", ylabel="true error, mm")
    axes.legend()
    return figure
