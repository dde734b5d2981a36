"""Lift the keypoints of a video, and write one line per frame and joint.

python docs/examples/clip_to_csv.py clip.json poses.csv http://127.0.0.1:8000

The clip has the fields of POST /lift: keypoints [frames][joints][3], skeleton, image_size, and fps or timestamps_s.
"""

import csv
import json
import sys
from pathlib import Path

from poselift.client import Client


def main(clip_file: str, csv_file: str, url: str) -> None:
    clip = json.loads(Path(clip_file).read_text(encoding="utf-8"))
    with Client(url) as client:
        answer = client.lift(**clip)
    for warning in answer.warnings:
        print(warning.message, file=sys.stderr)
    with Path(csv_file).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["frame", "joint", "x_m", "y_m", "z_m", "imputed"])
        for frame, (pose, imputed) in enumerate(zip(answer.poses, answer.imputed, strict=True)):
            for name, position, filled_in in zip(answer.joint_names, pose, imputed, strict=True):
                rows.writerow([frame, name, *position, int(filled_in)])


if __name__ == "__main__":
    main(*sys.argv[1:])
