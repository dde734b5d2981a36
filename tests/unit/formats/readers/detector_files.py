"""The same detections as each kind of file holds them."""

import numpy as np

FRAMES, JOINTS = 4, 17
FPS = 30.0
SIZE = (640.0, 480.0)


def keypoints(joints=JOINTS, frames=FRAMES, seed=0, place=(300, 200)):
    """Detections [F, J, 3] of one person: float32 with two decimals, so that writing them as text loses nothing."""
    drawn = np.random.default_rng(seed).normal(size=(frames, joints, 3)) * (40, 60, 0) + (*place, 0.75)
    return drawn.round(2).astype(np.float32)


def with_holes(detected):
    """The same detections with joint 3 missing in frame 1, and frame 2 without the person."""
    holes = detected.copy()
    holes[1, 3] = holes[2] = (np.nan, np.nan, 0)
    return holes


def rows(detected):
    """Rows as in JSON: null for a missing joint or person."""
    frames = [
        [None if np.isnan(row[0]) else row for row in frame] for frame in detected.astype(float).round(2).tolist()
    ]
    return [None if all(row is None for row in frame) else frame for frame in frames]


def flat(frame):
    """One person as OpenPose and COCO write it: a flat list of x, y, score, with zeros for a missing joint."""
    return np.nan_to_num(frame).astype(float).round(2).ravel().tolist()


def request(detected, **more):
    return {"keypoints": rows(detected), "skeleton": "coco17", "image_size": [640, 480], "fps": FPS, **more}


def clip(detected):
    frames = [{"frame": frame, "keypoints": joints} for frame, joints in enumerate(rows(detected))]
    return {"image_width": 640, "image_height": 480, "fps": FPS, "skeleton": "coco17", "frames": frames}


def coco_results(detected, **more):
    return [
        {"image_id": f"{index:06}.jpg", "category_id": 1, "keypoints": flat(frame), "score": 2.5, **more}
        for index, frame in enumerate(detected)
        if not np.isnan(frame[0, 0])
    ]


def mmpose(detected, **more):
    instances = [
        [{"keypoints": frame[:, :2].astype(float).round(2).tolist(), "keypoint_scores": [0.75] * len(frame), **more}]
        for frame in detected
    ]
    frames = [{"frame_id": index + 1, "instances": people} for index, people in enumerate(instances)]
    return {"meta_info": {"dataset_name": "coco", "num_keypoints": JOINTS}, "instance_info": frames}


def openpose(*people, identity=-1):
    return {"version": 1.3, "people": [{"person_id": [identity], "pose_keypoints_2d": flat(frame)} for frame in people]}


def assert_keypoints(sequence, expected):
    np.testing.assert_allclose(sequence.keypoints, expected, atol=1e-4)
    assert sequence.keypoints.dtype == np.float32


def without_frame(sequence, frame):
    kept = np.delete(np.arange(len(sequence.keypoints)), frame)
    return type(sequence)(sequence.keypoints[kept], sequence.skeleton, *SIZE, sequence.times_s[kept])


def changed(document, *steps, to):
    """A document with the value at a path of keys replaced, in place."""
    holder = document
    for step in steps[:-1]:
        holder = holder[step]
    holder[steps[-1]] = to
    return document


def without(document, *keys):
    return {key: value for key, value in document.items() if key not in keys}
