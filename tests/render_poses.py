"""Draw lifted poses beside the keypoints they come from, for looking at.

    python -m tests.render_poses service/web/sample.json poses.png --frames 0 30 60 90

With `--model` and the options of `poselift lift` for other models and files. One row per frame: keypoints in the
picture, then the pose as the camera sees it, from the side with the camera to the left, and from above with the camera
below. The person's left is red, the right is blue: of somebody who faces the camera, red is on the right-hand side.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poselift import formats, lifting
from poselift.artifact import find_artifact, load_artifact
from poselift.skeletons import Skeleton

LEFT, RIGHT, MIDDLE = "tab:red", "tab:blue", "black"
RADIUS_M = 1.1


def main() -> None:
    options = _options()
    track = formats.read(options.source, skeleton=options.skeleton, fps=options.fps, image_size=options.image_size)[0]
    artifact = load_artifact(find_artifact(options.models, options.model))
    lifted = lifting.lift(artifact, track.sequence)
    frames = options.frames or np.linspace(0, len(lifted.joints) - 1, 4).astype(int).tolist()
    figure = draw(track.sequence, lifted, artifact.manifest.target, frames)
    figure.savefig(options.picture, dpi=80)


def draw(sequence: lifting.Sequence, lifted: lifting.Lifted, target: Skeleton, frames: list[int]) -> Figure:
    """Draw some frames of a sequence, one row each."""
    mpl.use("agg")
    figure = Figure(figsize=(14, 3.6 * len(frames)), layout="constrained")
    rows = figure.subplots(len(frames), 4, squeeze=False)
    for frame, (picture, front, side, top) in zip(frames, rows, strict=True):
        detected, pose = sequence.keypoints[frame], lifted.joints[frame]
        _bones(picture, detected[:, 0], detected[:, 1], sequence.skeleton)
        picture.set(title=f"frame {frame}, pixels", xlim=(0, sequence.width_px), ylim=(sequence.height_px, 0))
        x, y, z = pose.T
        for axes, title, across, up in ((front, "front", x, y), (side, "side: camera to the left", z, y)):
            _bones(axes, across, up, target)
            axes.set(title=title, xlim=(-RADIUS_M, RADIUS_M), ylim=(RADIUS_M, -RADIUS_M))
        _bones(top, x, z, target)
        top.set(title="top: camera below", xlim=(-RADIUS_M, RADIUS_M), ylim=(-RADIUS_M, RADIUS_M))
        for axes in (picture, front, side, top):
            axes.set_aspect("equal")
    return figure


def _bones(axes: Axes, across: NDArray[np.float32], up: NDArray[np.float32], skeleton: Skeleton) -> None:
    for joint, parent in enumerate(skeleton.parents):
        colour = LEFT if joint in skeleton.left else RIGHT if joint in skeleton.right else MIDDLE
        if parent >= 0:
            axes.plot([across[joint], across[parent]], [up[joint], up[parent]], color=colour)
        axes.plot(across[joint], up[joint], ".", color=colour)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a file or folder with keypoints")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--model", default="pstmo-tiny-27")
    parser.add_argument("--skeleton")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--image-size", type=lambda text: tuple(map(float, text.split("x"))), metavar="WxH")
    parser.add_argument("--frames", type=int, nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    main()
