"""Motion capture that the tests of several data modules share."""

import json

import numpy as np
import pytest
from poselift_training.data.mocap import Motion

from poselift.skeletons import skeleton

H36M, COCO = skeleton("h36m17"), skeleton("coco17")


@pytest.fixture(scope="session")
def motion(tmp_path_factory):
    """Two short clips of a person who stands, faces +y and sways."""
    root = tmp_path_factory.mktemp("mocap")
    x: dict[str, float] = {"pelvis": 0, "spine": 0, "thorax": 0, "neck_nose": 0, "head": 0}
    for side, sign in (("left", -1), ("right", 1)):
        x |= {f"{side}_hip": 0.1 * sign, f"{side}_knee": 0.1 * sign, f"{side}_ankle": 0.1 * sign}
        x |= {f"{side}_shoulder": 0.17 * sign, f"{side}_elbow": 0.2 * sign, f"{side}_wrist": 0.22 * sign}
    z = {"pelvis": 0.95, "hip": 0.95, "knee": 0.5, "ankle": 0.09, "spine": 1.17, "thorax": 1.45, "neck_nose": 1.56}
    z |= {"head": 1.7, "shoulder": 1.43, "elbow": 1.15, "wrist": 0.9}
    person = np.array(
        [[x[j], 0.1 * (j == "neck_nose"), z[j.split("_")[-1]] if j != "neck_nose" else 1.56] for j in H36M.joint_names]
    )
    sway = 0.1 * np.sin(np.arange(120) / 10)[:, None, None] * np.array([1, 0.5, 0])
    clips = {"SA/1": person + sway, "SB/1": (person + sway)[:70]}
    np.savez(root / "a.npz", **{key: np.rint(clip * 1000).astype(np.int16) for key, clip in clips.items()})
    common = {"shard": "a.npz", "split": "train", "licence": "none", "fps": 50}
    entries = [
        {**common, "key": key, "subject": key[1], "source": source, "action": "sway"}
        for key, source in zip(clips, ("CMU", "ReActIdle"), strict=True)
    ]
    (root / "index.json").write_text(json.dumps({"fps": 50, "clips": entries}))
    return Motion.load(root, ["train"])
