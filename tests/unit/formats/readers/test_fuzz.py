"""Damaged files of every kind: they are read, or refused in one sentence, within bounds of memory.

`FUZZ_EFFORT=2500` reads 100 000 files of each kind. A failure names the seed of the file.
"""

import io
import json
import os
import pickle
import random
import resource
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from poselift.errors import PoseliftError
from poselift.formats.readers.keypoint_file import read_keypoints
from tests.unit.formats.readers.detector_files import clip, coco_results, flat, keypoints, mmpose, openpose, request
from tests.unit.formats.readers.mutations import damaged, damaged_archive
from tests.unit.formats.readers.tables.tables import COCO, shifted

EFFORT = int(os.environ.get("FUZZ_EFFORT", "1"))
FILES = 40
MOST_MEMORY = 1 << 30
"""Of the whole process beyond what it had, so that an array of what a file claims is noticed."""

DETECTED = keypoints()
FRAMES = range(len(DETECTED))


def npz(**arrays):
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


def npy(array):
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def videopose3d():
    metadata = {"layout_name": "coco", "video_metadata": {"a.mp4": {"w": 640, "h": 480}}}
    positions = {"a.mp4": {"custom": [DETECTED[..., :2]]}}
    return npz(positions_2d=np.array(positions, dtype=object), metadata=np.array(metadata, dtype=object))


def hdf5(**datasets):
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        for name, content in datasets.items():
            file[name] = content
    return target.getvalue()


def sleap():
    names = np.array(COCO, dtype="S")
    return hdf5(tracks=DETECTED[None, ..., :2].transpose(0, 3, 2, 1), node_names=names, track_names=np.array([b"a"]))


def table(header, rows):
    return "\n".join([*header, *(",".join(map(str, row)) for row in rows), ""]).encode()


def wide():
    names = ",".join(f"{joint}_{axis}" for joint in COCO for axis in ("x", "y", "score"))
    return table([f"frame,person,{names}"], ([frame, "a", *DETECTED[frame].ravel()] for frame in FRAMES))


def long():
    rows = ([frame, joint, *DETECTED[frame, place]] for frame in FRAMES for place, joint in enumerate(COCO))
    return table(["frame,joint,x,y,score"], rows)


def deeplabcut():
    count = 3 * len(COCO)
    header = [
        "scorer" + ",DLC" * count,
        "individuals" + ",a" * count,
        "bodyparts," + ",".join(joint for joint in COCO for _ in range(3)),
        "coords" + ",x,y,likelihood" * len(COCO),
    ]
    return table(header, ([frame, *DETECTED[frame].ravel()] for frame in FRAMES))


def trc():
    lines = [
        "PathFileType\t4\t(X/Y/Z)\ta.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "60\t60\t4\t17\tm\t60\t0\t4",
        "Frame#\tTime\t" + "\t\t\t".join(COCO) + "\t\t",
        "\t\t" + "\t".join(f"X{number}\tY{number}\tZ{number}" for number in range(1, 18)),
    ]
    for frame in FRAMES:
        cells = [cell for x, y, _ in DETECTED[frame] for cell in (x, y, 0)]
        lines.append("\t".join(map(str, [frame, frame / 60, *cells])))
    return "\n".join(lines).encode()


def labels():
    numbers = np.concatenate([[0, 0.5, 0.5, 0.2, 0.4], (DETECTED[0] / (640, 480, 1)).ravel(), [0.9, 3]])
    return " ".join(f"{number:g}" for number in numbers).encode()


KINDS: dict[str, tuple[bytes, Callable[[bytes, random.Random], bytes]]] = {
    "npz": (npz(keypoints=DETECTED[..., :2], scores=DETECTED[..., 2], fps=30, skeleton="coco17"), damaged_archive),
    "people": (npz(keypoints=np.stack([DETECTED, shifted(DETECTED)], 1), skeleton="coco17"), damaged_archive),
    "reconstruction": (npz(reconstruction=DETECTED[None, ..., :2]), damaged_archive),
    "videopose3d": (videopose3d(), damaged_archive),
    "npy": (npy(DETECTED), damaged),
    "pickle": (pickle.dumps({"keypoint": DETECTED[None], "img_shape": (480, 640)}), damaged),
    "sleap": (sleap(), damaged),
    "wide": (wide(), damaged),
    "long": (long(), damaged),
    "deeplabcut": (deeplabcut(), damaged),
    "trc": (trc(), damaged),
    "labels": (labels(), damaged),
}


def as_json(document):
    return json.dumps(document).encode()


def coco_annotations():
    images = [{"id": frame, "file_name": f"{frame}.png", "width": 640, "height": 480} for frame in FRAMES]
    found = [{"image_id": frame, "track_id": 1, "keypoints": flat(DETECTED[frame])} for frame in FRAMES]
    return {"images": images, "annotations": found, "categories": [{"keypoints": list(COCO)}]}


def browser():
    joints = [[*joint, name] for frame in DETECTED.tolist() for joint, name in zip(frame, COCO, strict=True)]
    objects = [{"x": x, "y": y, "score": score, "name": name} for x, y, score, name in joints]
    return [[{"keypoints": objects[17 * frame : 17 * (frame + 1)], "id": 3}] for frame in FRAMES]


def ultralytics():
    columns = [dict(zip(("x", "y", "visible"), frame.T.tolist(), strict=True)) for frame in DETECTED]
    return [[{"name": "person", "track_id": 1, "keypoints": one}, {"name": "dog"}] for one in columns]


def landmarks():
    points = [{"x": 0.4, "y": 0.02 * number, "z": 0, "visibility": 0.9} for number in range(33)]
    return [{"pose_landmarks": [points]}, None, {"pose_landmarks": []}, {"pose_landmarks": [points]}]


def kinetics():
    one = {"pose": [0.4, 0.3] * 18, "score": [0.9] * 18}
    return {"data": [{"frame_index": frame, "skeleton": [one]} for frame in FRAMES], "label": "x"}


KINDS |= {
    name: (as_json(document), damaged)
    for name, document in {
        "request": request(DETECTED),
        "clip": clip(DETECTED),
        "openpose": openpose(DETECTED[0], DETECTED[1]),
        "openpose frames": [openpose(frame) for frame in DETECTED],
        "alphapose": coco_results(DETECTED, idx=[[2.0]]),
        "alphapose by picture": {f"{frame}.jpg": {"bodies": [{"joints": [1.5] * 54}]} for frame in FRAMES},
        "coco annotations": coco_annotations(),
        "mmpose": mmpose(DETECTED, track_id=3),
        "mmpose picture": mmpose(DETECTED)["instance_info"][0]["instances"],
        "browser": browser(),
        "ultralytics": ultralytics(),
        "landmarks": landmarks(),
        "kinetics": kinetics(),
    }.items()
}


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(path: Path) -> str:
    """Read a file: "read", or "refused" in one sentence."""
    try:
        tracks, _ = read_keypoints(path, fps=30, image_size=(640, 480))
    except PoseliftError as error:
        refusal = error.message
    else:
        for track in tracks:
            assert track.sequence.keypoints.shape[1:] == (track.sequence.skeleton.n_joints, 3)
        return "read"
    assert refusal.startswith(str(path))
    assert "\n" not in refusal
    return "refused"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(tmp_path, kind):
    content, damage = KINDS[kind]
    path = tmp_path / "file"
    path.write_bytes(content)
    if kind not in ("npy", "pickle", "labels"):  # whose skeleton is not told
        assert outcome(path) == "read"
    before = peak_bytes()
    for seed in range(FILES * EFFORT):
        path.write_bytes(damage(content, random.Random(seed)))
        try:
            outcome(path)
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}: {error!r}") from error
        assert peak_bytes() - before < MOST_MEMORY, f"{kind}, seed {seed}"


@pytest.mark.parametrize("kind", ["deeplabcut_table", "deeplabcut_fixed"])
def test_damaged_files_of_pandas(tmp_path, data, kind):
    content = (data / f"{kind}.h5").read_bytes()
    path = tmp_path / "file"
    for seed in range(FILES * EFFORT // 2):
        path.write_bytes(damaged(content, random.Random(seed)))
        outcome(path)
