"""Draw lifted poses beside the keypoints they come from, for looking at.

    python -m tests.render_poses service/poselift_service/web/sample.json poses.png --frames 0 30 60 90

With `--model` and the options of `poselift lift` for other models and files. One row per frame: keypoints in the
picture, then the pose as the camera sees it, from the side with the camera to the left, and from above with the camera
below. The person's left is red, the right is blue: of somebody who faces the camera, red is on the right-hand side.
"""

import argparse
from pathlib import Path

from poselift_training.cards.figures import clip, save
from poselift_training.cards.real_clip import lift_clip

from poselift.artifacts.artifact import load_artifact
from poselift.artifacts.repository import look_up


def main() -> None:
    options = _options()
    artifact = load_artifact(look_up(options.models, options.model).location)
    lifted = lift_clip(
        artifact, options.source, skeleton=options.skeleton, fps=options.fps, image_size=options.image_size
    )
    save(clip(lifted, options.frames or ()), options.picture)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a file or folder with keypoints")
    parser.add_argument("picture", type=Path, help="the PNG or SVG to write")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--model", default="pstmo-tiny-27")
    parser.add_argument("--skeleton")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--image-size", type=lambda text: tuple(map(float, text.split("x"))), metavar="WxH")
    parser.add_argument("--frames", type=int, nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    main()
