"""Frames of people in JSON, as many programs write them: the same detections come out of all of them."""

import json

import numpy as np
import pytest

from poselift.errors import InvalidFile, InvalidKeypoints
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.skeletons import skeleton
from tests.unit.formats.readers.detector_files import FPS, SIZE, assert_keypoints, flat, keypoints, openpose, with_holes

COCO = skeleton("coco17").joint_names
CAMEL = [name.split("_")[0] + "".join(word.title() for word in name.split("_")[1:]) for name in COCO]
BODY = [f"{side}_{joint}" for joint in ("shoulder", "elbow", "hip", "knee") for side in ("left", "right")]


def numbers(detected):
    """The columns of a frame as Python numbers, zeros for what is missing."""
    return np.nan_to_num(detected).astype(float).round(2).T.tolist()


def ultralytics(frame):
    x, y, score = numbers(frame)
    return [
        {"name": "person", "class": 0, "box": {}, "track_id": 5, "keypoints": {"x": x, "y": y, "visible": score}},
        {"name": "dog", "class": 16, "box": {}},
    ]


def movenet(frame):
    rows = zip(*numbers(frame), COCO, strict=True)
    return [{"score": 0.9, "keypoints": [{"x": x, "y": y, "score": s, "name": name} for x, y, s, name in rows]}]


def reversed_movenet(frame):
    return [{"keypoints": movenet(frame)[0]["keypoints"][::-1]}]


def posenet(frame):
    rows = zip(*numbers(frame), CAMEL, strict=True)
    joints = [{"part": part, "position": {"x": x, "y": y}, "score": score} for x, y, score, part in rows]
    return {"score": 0.9, "keypoints": joints}


def mmpose_picture(frame):
    x, y, scores = numbers(frame)
    return [
        {"keypoints": [list(pair) for pair in zip(x, y, strict=True)], "keypoint_scores": scores, "bbox": [[0] * 4]}
    ]


def mmpose_picture_with_meta(frame):
    return {"meta_info": {"dataset_name": "coco"}, "instance_info": mmpose_picture(frame)}


FORMS = [ultralytics, movenet, reversed_movenet, posenet, mmpose_picture, mmpose_picture_with_meta]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nobody", [None, []])
def test_a_list_of_frames(write, form, nobody):
    detected = with_holes(keypoints())
    frames = [nobody if np.isnan(frame[:, 0]).all() else form(frame) for frame in detected]
    for document in (frames, {"frames": frames}):
        ((track,), warnings) = read_keypoints(write(document), fps=FPS, image_size=SIZE)
        assert track.sequence.skeleton.name == "coco17"
        assert track.track_id == ("5" if form is ultralytics else None)
        assert_keypoints(track.sequence, detected)
        assert not warnings


@pytest.mark.parametrize("form", [*FORMS, openpose])
@pytest.mark.parametrize("naming", ["{}.json", "clip_{:06}.json", "a1_{:012}_keypoints.json", "frame {}.JSON"])
def test_a_folder_with_a_file_per_frame(tmp_path, form, naming):
    detected = with_holes(keypoints(joints=17))
    for number, frame in enumerate(detected):
        document = [] if np.isnan(frame[:, 0]).all() else form(frame)
        (tmp_path / naming.format(number + 8)).write_text(json.dumps(document))
    (tmp_path / "settings.json").write_text('{"model": "x"}')
    (tmp_path / "video.mp4").write_bytes(b"")
    ((track,), _) = read_keypoints(tmp_path, fps=FPS, image_size=SIZE)
    assert track.sequence.skeleton.name == "coco17"
    assert track.first_frame == 8
    assert_keypoints(track.sequence, detected)


@pytest.mark.parametrize("form", [*FORMS, openpose])
def test_a_single_frame(write, form):
    detected = keypoints(frames=1)
    ((track,), _) = read_keypoints(write(form(detected[0])), fps=FPS, image_size=SIZE)
    assert_keypoints(track.sequence, detected)


@pytest.mark.parametrize("frames", [2, 20])
def test_a_list_of_the_poses_of_one_person(write, frames):
    """As single-person detectors in browsers give them, one per frame."""
    walking = np.stack([person("coco17", at=(100 + 4 * step, 100)) for step in range(frames)])
    ((track,), _) = read_keypoints(write([posenet(frame) for frame in walking]), fps=FPS, image_size=SIZE)
    assert_keypoints(track.sequence, walking)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_a_list_of_the_people_of_a_picture(write, count):
    beside = [person("coco17", at=(60 + 50 * place, 100)) for place in range(count)]
    tracks, _ = read_keypoints(write([posenet(one) for one in beside]), fps=FPS, image_size=SIZE)
    assert [len(track.sequence.keypoints) for track in tracks] == [1] * count
    for track, one in zip(tracks, beside, strict=True):
        assert_keypoints(track.sequence, one[None])


def landmarks(frame):
    return [
        {"x": x / SIZE[0], "y": y / SIZE[1], "z": -0.1, "visibility": score}
        for x, y, score in zip(*numbers(frame), strict=True)
    ]


LANDMARKS = {
    "bare": lambda one: one,
    "landmarks": lambda one: {"landmarks": one, "worldLandmarks": one},
    "several people": lambda one: {"landmarks": [one], "worldLandmarks": [one]},
    "tasks": lambda one: {"pose_landmarks": [one], "pose_world_landmarks": [one], "timestamp_ms": 7},
    "legacy": lambda one: {"pose_landmarks": {"landmark": one}},
    "legacy in a browser": lambda one: {"poseLandmarks": one},
    "rows": lambda one: [list(point.values()) for point in one],
    "a list of one person": lambda one: [one],
}


@pytest.mark.parametrize("form", LANDMARKS)
def test_landmarks_are_shares_of_the_picture(write, form):
    detected = keypoints(joints=33)
    detected[2] = (np.nan, np.nan, 0)
    frames = [None if np.isnan(frame[0, 0]) else LANDMARKS[form](landmarks(frame)) for frame in detected]
    ((track,), warnings) = read_keypoints(write(frames), fps=FPS, image_size=SIZE)
    assert track.sequence.skeleton.name == "mediapipe33"
    np.testing.assert_allclose(track.sequence.keypoints, detected, atol=1e-3)
    assert not warnings


def test_landmarks_in_metres_are_refused(write):
    metres = [{"x": (-1) ** number * 0.3, "y": -0.4, "z": 0.1, "visibility": 1} for number in range(33)]
    with pytest.raises(InvalidFile, match="metres around the hips"):
        read_keypoints(write([metres] * 4), fps=FPS, image_size=SIZE)


def test_kinetics_skeletons_are_shares_of_the_picture(write):
    detected = with_holes(keypoints(joints=18))
    shares = np.nan_to_num(detected).astype(float) / (*SIZE, 1)
    people = [
        [{"pose": frame[:, :2].ravel().tolist(), "score": frame[:, 2].tolist()}] if frame.any() else []
        for frame in shares
    ]
    frames = [{"frame_index": index + 1, "skeleton": here} for index, here in enumerate(people)]
    ((track,), _) = read_keypoints(write({"data": frames, "label": "walk"}), fps=FPS, image_size=SIZE)
    assert (track.sequence.skeleton.name, track.first_frame) == ("coco18", 1)
    np.testing.assert_allclose(track.sequence.keypoints, detected, atol=1e-3)
    with pytest.raises(InvalidFile, match="image size"):
        read_keypoints(write({"data": frames}), fps=FPS)


@pytest.mark.parametrize("people", ["bodies", "people"])
@pytest.mark.parametrize("in_a_folder", [False, True])
def test_the_dictionaries_of_alphapose(tmp_path, write, people, in_a_folder):
    detected = keypoints(joints=18)
    key = {"bodies": "joints", "people": "pose_keypoints_2d"}[people]
    frames = {f"{index}.jpg": {"version": "x", people: [{key: flat(frame)}]} for index, frame in enumerate(detected)}
    if in_a_folder:
        for name, frame in frames.items():
            (tmp_path / name).with_suffix(".json").write_text(json.dumps(frame))
    path = tmp_path if in_a_folder else write(frames, "results.json")
    ((track,), _) = read_keypoints(path, fps=FPS, image_size=SIZE)
    assert track.sequence.skeleton.name == "coco18"
    assert_keypoints(track.sequence, detected)


def person(name, *, at=(300, 100), height=200):
    """A standing person [J, 3] in the order of a skeleton."""
    places = {"nose": (0, 0), "eye": (4, -4), "ear": (8, -2), "neck": (0, 20), "shoulder": (20, 25), "elbow": (26, 60)}
    places |= {"wrist": (28, 95), "pelvis": (0, 90), "hip": (12, 90), "knee": (13, 140), "ankle": (14, 190)}
    places |= {"big_toe": (18, 198), "small_toe": (22, 197), "heel": (12, 196), "head_top": (0, -20)}
    joints = []
    for joint in skeleton(name).joint_names:
        side, _, rest = joint.partition("_")
        x, y = places[rest if side in ("left", "right") else joint]
        joints.append((at[0] + x * (1 if side == "left" else -1) * height / 200, at[1] + y * height / 200, 0.9))
    return np.array(joints, np.float32)


@pytest.mark.parametrize("name", ["body25", "body25b"])
@pytest.mark.parametrize("hidden", [(), ("nose",), ("left_hip", "right_hip"), ("left_ear", "right_ear", "left_eye")])
def test_the_two_models_of_25_joints_are_told_apart(write, name, hidden):
    frames = np.stack([person(name, at=(300 + 5 * step, 100)) for step in range(4)])
    frames[1:3, [skeleton(name).joint_names.index(joint) for joint in hidden]] = (np.nan, np.nan, 0)
    ((track,), _) = read_keypoints(write([openpose(frame) for frame in frames]), fps=FPS, image_size=SIZE)
    assert track.sequence.skeleton.name == name
    assert_keypoints(track.sequence, frames)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_text_in_any_encoding(tmp_path, encoding):
    detected = keypoints(joints=26)
    for number, frame in enumerate(detected):
        (tmp_path / f"{number}.json").write_bytes(json.dumps(openpose(frame)).encode(encoding))
    ((track,), _) = read_keypoints(tmp_path, fps=FPS, image_size=SIZE)
    assert_keypoints(track.sequence, detected)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON from line 1, column 1"),
        (b'{"people": [{"pose_keypoints_2d": [1, 2', "not JSON from line 1"),
        (b"\xff\xfe\xff", "neither text"),
        (b'{"version": 1}', "not a frame as OpenPose"),
        (
            b'{"people": [{"pose_keypoints_2d": [1, 2]}]}',
            r"people\[0\].pose_keypoints_2d must be a list of x, y, score",
        ),
        (b'{"people": [[1]]}', r"people\[0\] must be an object"),
    ],
)
def test_the_file_of_a_folder_that_is_broken_is_named(tmp_path, content, complaint):
    for number, frame in enumerate(keypoints(joints=25)):
        (tmp_path / f"a_{number}_keypoints.json").write_text(json.dumps(openpose(frame)))
    (tmp_path / "a_2_keypoints.json").write_bytes(content)
    with pytest.raises((InvalidFile, InvalidKeypoints), match=rf"a_2_keypoints\.json: .*{complaint}"):
        read_keypoints(tmp_path, fps=FPS, image_size=SIZE)


def test_two_files_of_the_same_number(tmp_path):
    for name in ("1.json", "01.json"):
        (tmp_path / name).write_text(json.dumps(openpose(keypoints(joints=25)[0])))
    with pytest.raises(InvalidFile, match=r"01\.json and 1\.json have the same frame number"):
        read_keypoints(tmp_path, fps=FPS, image_size=SIZE)


def test_an_unknown_number_of_joints(write):
    document = [openpose(frame) for frame in keypoints(joints=19)]
    with pytest.raises(InvalidKeypoints, match=r"has 19 joints; skeletons are h36m17 \(17\), .*coco18 \(18\)"):
        read_keypoints(write(document), fps=FPS, image_size=SIZE)
    with pytest.raises(InvalidKeypoints, match=r"has 19 joints, not the 17 of coco17; skeletons are"):
        read_keypoints(write(document), fps=FPS, image_size=SIZE, skeleton="coco17")


def test_joints_of_browsers_that_are_left_out_are_missing(write):
    detected = keypoints()
    frames = [movenet(frame) for frame in detected]
    frames[1][0]["keypoints"] = [joint for joint in frames[1][0]["keypoints"] if joint["name"] in BODY]
    detected[1, [index for index, name in enumerate(COCO) if name not in BODY]] = (np.nan, np.nan, 0)
    ((track,), _) = read_keypoints(write(frames), fps=FPS, image_size=SIZE)
    assert_keypoints(track.sequence, detected)


@pytest.mark.parametrize("name", ["coco17", "h36m17", "mpi17", "mediapipe33", "halpe26"])
def test_the_names_of_joints_tell_the_skeleton(write, name):
    """Not their number, which several skeletons have."""
    joints = skeleton(name).joint_names
    positions = np.random.default_rng(0).uniform(100, 900, size=(4, len(joints), 2))
    frames = [
        [{"keypoints": [{"x": x, "y": y, "name": joint} for (x, y), joint in zip(frame.tolist(), joints, strict=True)]}]
        for frame in positions
    ]
    ((track,), _) = read_keypoints(write(frames), fps=FPS, image_size=SIZE)
    assert track.sequence.skeleton.name == name
    np.testing.assert_allclose(track.sequence.keypoints[..., :2], positions, atol=1e-3)


def test_frames_that_name_their_skeleton_are_in_pixels(write):
    detected = keypoints()
    frames = [
        {"frame": number, "skeleton": "coco17", "people": [{"keypoints": flat(frame)}]}
        for number, frame in enumerate(detected)
    ]
    ((track,), _) = read_keypoints(write(frames), fps=FPS, image_size=SIZE)
    assert_keypoints(track.sequence, detected)
