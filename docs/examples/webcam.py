"""Lift the person before a webcam. Each frame carries its time, so a rate that wanders and lost frames do no harm.

pip install 'poselift[client]' opencv-python rtmlib onnxruntime
python docs/examples/webcam.py 0 http://127.0.0.1:8000

The first argument is the number of a webcam, or the name of a video file.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2

from poselift.client import Client, Pose

Image = Any
LEAST_SCORE = 0.3
LOOKAHEAD = 5


def detector() -> Callable[[Image], list[list[float]] | None]:
    """Make a function from an image to the keypoints [17][3] of COCO, None where nobody is. Put your own here."""
    from rtmlib import Body  # RTMPose; it downloads its networks when it is first used

    people = Body(mode="lightweight")

    def detect(image: Image) -> list[list[float]] | None:
        keypoints, scores = people(image)  # [people, 17, 2] in pixels, [people, 17]
        clearest = scores.mean(axis=1).argmax()
        if scores[clearest].mean() < LEAST_SCORE:
            return None
        return [
            [x, y, score] for (x, y), score in zip(keypoints[clearest].tolist(), scores[clearest].tolist(), strict=True)
        ]

    return detect


def frames(camera: cv2.VideoCapture, is_file: bool) -> Iterator[tuple[Image, float]]:
    """Images, and when they were taken in seconds: as the driver says, or else when they arrived."""
    driver_tells = True if is_file else None
    while camera.grab():
        arrived_s, told_s = time.monotonic(), camera.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if driver_tells is None:
            driver_tells = told_s > 0
        yield camera.retrieve()[1], told_s if driver_tells else arrived_s


def main(source: str, url: str) -> None:
    detect, is_file = detector(), not source.isdigit()
    camera = cv2.VideoCapture(source if is_file else int(source))
    if not camera.isOpened():
        sys.exit(f"There is no camera or video {source}.")
    size = (int(camera.get(cv2.CAP_PROP_FRAME_WIDTH)), int(camera.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    with Client(url) as client, client.stream(skeleton="coco17", image_size=size, lookahead=LOOKAHEAD) as stream:
        head = stream.session.joint_names.index("head")

        def show(poses: list[Pose]) -> None:
            for pose in poses:
                print(pose.frame_index, *(f"{metres:.3f}" for metres in pose.joints[head]))

        for image, time_s in frames(camera, is_file):
            show(stream.send(detect(image), time_s=time_s))
        show(stream.end())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
