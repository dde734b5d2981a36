"""Draw the picture of the README: keypoints of the sample clip, and its poses from three sides.

    python docs/draw_sample.py docs/images/sample.png

Left limbs are red, right limbs are blue. The faint figures are earlier and later poses of the same clip.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from docs.shipped_model import SAMPLE, shipped
from poselift import lifting
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.sequence import Sequence
from poselift.skeletons import Skeleton

FRAME, OTHER_FRAMES = 90, (30, 54, 66, 78)
LEFT, RIGHT, MIDDLE, INK, PAPER = "#d1495b", "#2e86ab", "#3d4451", "#57606a", "#ffffff"
VIEW_M = 1.0
# The person fills the same share of the first panel as of the others.
CROP_PX = 500
# COCO's own bones leave the trunk open.
TRUNK = (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"))

Positions = NDArray[np.floating]


def draw(sequence: Sequence, joints: Positions, skeleton: Skeleton) -> Figure:
    """Draw one row: the picture's keypoints, then the pose from the camera, from its right, and from above.

    Args:
        joints: [F, J, 3] metres, camera axes.
    """
    figure = Figure(figsize=(10, 2.82), facecolor=PAPER, layout="constrained")
    panels = figure.subplots(1, 4)
    x, y, z = np.moveaxis(joints, -1, 0)
    views = {"front": (x, -y), "side": (z, -y), "above": (x, z)}
    figures_2d = np.stack([sequence.keypoints[..., 0], -sequence.keypoints[..., 1]], axis=-1)
    figures = [(figures_2d, sequence.skeleton), *((np.stack(view, axis=-1), skeleton) for view in views.values())]
    for panel, title, (places, shape) in zip(panels, ["2D keypoints", *views], figures, strict=True):
        for frame in () if panel is panels[0] else OTHER_FRAMES:
            _draw_person(panel, places[frame], shape, alpha=0.13)
        _draw_person(panel, places[FRAME], shape)
        panel.set_title(title, fontsize=11, color=INK, pad=8)
    centre = (np.nanmin(figures_2d[FRAME], axis=0) + np.nanmax(figures_2d[FRAME], axis=0)) / 2
    _frame(panels[0], centre, CROP_PX)
    for panel in panels[1:]:
        _frame(panel, np.zeros(2), VIEW_M)
    _draw_scale(panels[1])
    return figure


def _draw_person(panel: Axes, places: Positions, skeleton: Skeleton, alpha: float = 1.0) -> None:
    strong = alpha == 1.0
    bones = [(parent, joint) for joint, parent in enumerate(skeleton.parents) if parent >= 0]
    if skeleton.root is None:
        bones += [(skeleton.joint_names.index(left), skeleton.joint_names.index(right)) for left, right in TRUNK]
    for parent, joint in bones:
        crosses = parent in skeleton.left and joint in skeleton.right
        colour = LEFT if joint in skeleton.left else RIGHT if joint in skeleton.right and not crosses else MIDDLE
        panel.plot(
            *places[[parent, joint]].T, color=colour, alpha=alpha, linewidth=3.2 if strong else 2,
            solid_capstyle="round" if strong else "butt", zorder=2 if strong else 1,
        )  # fmt: skip
    if strong:
        panel.scatter(places[:, 0], places[:, 1], s=13, color=PAPER, edgecolors=INK, linewidths=0.9, zorder=3)


def _frame(panel: Axes, centre: Positions, radius: float) -> None:
    panel.set(xlim=(centre[0] - radius, centre[0] + radius), ylim=(centre[1] - radius, centre[1] + radius))
    panel.set(xticks=[], yticks=[], aspect="equal", facecolor="#f6f8fa")
    for side in panel.spines.values():
        side.set_visible(False)


def _draw_scale(panel: Axes) -> None:
    panel.plot([-0.9, -0.4], [-0.93, -0.93], color=INK, linewidth=1.5, solid_capstyle="butt")
    panel.text(-0.65, -0.9, "0.5 m", color=INK, fontsize=8, ha="center", va="bottom")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="the PNG to write")
    picture: Path = parser.parse_args().picture
    artifact = shipped()
    (track,) = read_keypoints(SAMPLE).tracks
    lifted = lifting.lift(artifact, track.sequence)
    figure = draw(track.sequence, lifted.joints, artifact.manifest.target)
    figure.savefig(picture, dpi=150, bbox_inches="tight", pad_inches=0.06)


if __name__ == "__main__":
    main()
