"""Every form of file comes to the same arrays, and every broken one to a sentence that names the file and the field."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from poselift.errors import InvalidFile, InvalidKeypoints, PoseliftError, UnknownSkeleton
from poselift.formats.readers.keypoint_file import read_keypoints

FRAMES, JOINTS = 4, 17
FPS = 30.0
SIZE = (640.0, 480.0)


def keypoints(joints=JOINTS, frames=FRAMES, seed=0, place=(300, 200)):
    """Detections [F, J, 3] of one person: two decimals, so that they survive being written, and float32."""
    drawn = np.random.default_rng(seed).normal(size=(frames, joints, 3)) * (40, 60, 0) + (*place, 0.75)
    return drawn.round(2).astype(np.float32)


def with_holes(detected):
    """The same with joint 3 missing in frame 1, and frame 2 without the person."""
    holes = detected.copy()
    holes[1, 3] = holes[2] = (np.nan, np.nan, 0)
    return holes


def rows(detected):
    """As JSON: null for what is missing."""
    frames = [
        [None if np.isnan(row[0]) else row for row in frame] for frame in detected.astype(float).round(2).tolist()
    ]
    return [None if all(row is None for row in frame) else frame for frame in frames]


def flat(frame):
    """As OpenPose and COCO write one person: x, y, score without brackets, zeros for what is missing."""
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


@pytest.fixture
def write(tmp_path):
    def write(document, name="detections.json"):
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def openpose_folder(tmp_path):
    def write(frames, video="clip"):
        folder = tmp_path / "openpose"
        folder.mkdir(exist_ok=True)
        for number, frame in frames.items():
            (folder / f"{video}_{number:012}_keypoints.json").write_text(json.dumps(frame))
        return folder

    return write


def assert_keypoints(sequence, expected):
    np.testing.assert_allclose(sequence.keypoints, expected, atol=1e-4)
    assert sequence.keypoints.dtype == np.float32


def test_a_request_with_holes(write):
    detected = with_holes(keypoints())
    ((track_id, sequence, *_),) = read_keypoints(write(request(detected)))
    assert track_id is None
    assert_keypoints(sequence, detected)
    assert sequence.skeleton.name == "coco17"
    assert (sequence.width_px, sequence.height_px) == SIZE
    np.testing.assert_allclose(sequence.times_s, np.arange(FRAMES) / FPS)


def test_a_request_with_tracks_and_times(write):
    document = request(keypoints(), timestamps_s=[1e9, 1e9 + 0.04, 1e9 + 0.1, 1e9 + 0.2])
    del document["keypoints"], document["fps"]
    document["tracks"] = [{"track_id": name, "keypoints": rows(keypoints(seed=seed))} for seed, name in enumerate("ab")]
    tracks = read_keypoints(write(document))
    assert [track_id for track_id, *_ in tracks] == ["a", "b"]
    assert_keypoints(tracks[1].sequence, keypoints(seed=1))
    np.testing.assert_allclose(tracks[0].sequence.times_s, [0, 0.04, 0.1, 0.2], atol=1e-6)


def test_joints_without_scores_count_as_certain(write):
    document = request(keypoints())
    document["keypoints"] = [[row[:2] for row in frame] for frame in document["keypoints"]]
    ((_, sequence, *_),) = read_keypoints(write(document))
    assert (sequence.keypoints[..., 2] == 1).all()


def test_a_clip_in_any_order_with_a_frame_left_out(write):
    detected = with_holes(keypoints())
    document = clip(detected)
    document["frames"] = [document["frames"][number] for number in (3, 0, 1)]
    ((_, sequence, *_),) = read_keypoints(write(document))
    assert_keypoints(sequence, detected)
    assert sequence.times_s[-1] == pytest.approx(3 / FPS)


def test_an_openpose_folder_with_holes(openpose_folder):
    detected = with_holes(keypoints(joints=25))
    folder = openpose_folder(
        {0: openpose(detected[0]), 1: openpose(detected[1]), 2: openpose(), 3: openpose(detected[3])}
    )
    ((track_id, sequence, *_),) = read_keypoints(folder, fps=FPS, image_size=SIZE)
    assert track_id is None
    assert sequence.skeleton.name == "body25"
    assert_keypoints(sequence, detected)


def test_a_missing_openpose_file_is_a_frame_without_anybody(openpose_folder):
    detected = with_holes(keypoints(joints=25))
    folder = openpose_folder({number: openpose(detected[number]) for number in (0, 1, 3)})
    ((_, sequence, *_),) = read_keypoints(folder, fps=FPS, image_size=SIZE)
    assert_keypoints(sequence, detected)


def test_a_single_openpose_file(write):
    detected = keypoints(joints=25, frames=1)
    ((_, sequence, *_),) = read_keypoints(write(openpose(detected[0])), fps=FPS, image_size=SIZE)
    assert_keypoints(sequence, detected)


def test_openpose_people_in_a_steady_order_are_tracks(openpose_folder):
    left, right = keypoints(joints=25, place=(100, 200)), keypoints(joints=25, seed=1, place=(500, 200))
    frames = {number: openpose(left[number], right[number]) for number in range(FRAMES)}
    frames[2] = openpose()
    tracks = read_keypoints(openpose_folder(frames), fps=FPS, image_size=SIZE)
    assert [track_id for track_id, *_ in tracks] == ["0", "1"]
    for (_, sequence, *_), detected in zip(tracks, (left, right), strict=True):
        assert np.isnan(sequence.keypoints[2, :, 0]).all()
        assert_keypoints(_without(sequence, 2), np.delete(detected, 2, axis=0))


def _without(sequence, frame):
    kept = np.delete(np.arange(len(sequence.keypoints)), frame)
    return type(sequence)(sequence.keypoints[kept], sequence.skeleton, *SIZE, sequence.times_s[kept])


def test_openpose_people_who_change_places_are_refused(openpose_folder):
    left, right = keypoints(joints=25, place=(100, 200)), keypoints(joints=25, seed=1, place=(500, 200))
    frames = {number: openpose(left[number], right[number]) for number in range(FRAMES)}
    frames[2] = openpose(right[2], left[2])
    with pytest.raises(InvalidFile, match=r"clip_000000000002_keypoints.json: people\[0\].*who is who"):
        read_keypoints(openpose_folder(frames), fps=FPS, image_size=SIZE)


def test_a_changing_number_of_people_is_refused(openpose_folder):
    detected = keypoints(joints=25)
    frames = {0: openpose(detected[0]), 1: openpose(detected[1], detected[2])}
    with pytest.raises(InvalidFile, match="2 people at clip_000000000001"):
        read_keypoints(openpose_folder(frames), fps=FPS, image_size=SIZE)


def test_tracked_openpose_people_may_come_and_go(openpose_folder):
    first, second = keypoints(joints=25), keypoints(joints=25, seed=1)
    both = {"people": openpose(second[1], identity=7)["people"] + openpose(first[1], identity=3)["people"]}
    tracks = read_keypoints(openpose_folder({0: openpose(first[0], identity=3), 1: both}), fps=FPS, image_size=SIZE)
    assert [track_id for track_id, *_ in tracks] == ["3", "7"]
    assert_keypoints(tracks[0].sequence, first[:2])
    assert np.isnan(tracks[1].sequence.keypoints[0, :, 0]).all()


@pytest.mark.parametrize(("joints", "skeleton"), [(17, "coco17"), (26, "halpe26")])
def test_coco_results(write, joints, skeleton):
    detected = with_holes(keypoints(joints))
    ((track_id, sequence, *_),) = read_keypoints(write(coco_results(detected)), fps=FPS, image_size=SIZE)
    assert track_id is None
    assert sequence.skeleton.name == skeleton
    assert_keypoints(sequence, detected)


def test_alphapose_tracks(write):
    first, second = keypoints(), keypoints(seed=1)
    document = coco_results(first, idx=1) + coco_results(second, idx=[2.0])
    tracks = read_keypoints(write(document), fps=FPS, image_size=SIZE)
    assert [track_id for track_id, *_ in tracks] == ["1", "2"]
    assert_keypoints(tracks[1].sequence, second)


@pytest.mark.parametrize("bare", [False, True])
def test_mmpose_predictions(write, bare):
    document = mmpose(keypoints())
    ((_, sequence, *_),) = read_keypoints(
        write(document["instance_info"] if bare else document),
        skeleton="coco17" if bare else None,
        fps=FPS,
        image_size=SIZE,
    )
    assert sequence.skeleton.name == "coco17"
    assert_keypoints(sequence, keypoints())


def test_arrays(tmp_path):
    detected = with_holes(keypoints())
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=detected, skeleton="coco17", fps=FPS, image_size=[640, 480])
    ((_, sequence, *_),) = read_keypoints(path)
    assert_keypoints(sequence, detected)
    np.savez(path, kpts=detected[..., :2])
    ((_, sequence, *_),) = read_keypoints(path, skeleton="coco17", fps=FPS, image_size=SIZE)
    np.testing.assert_allclose(sequence.keypoints[..., :2], detected[..., :2], atol=1e-4)


def test_the_form_is_told_by_content_not_by_name(tmp_path, write):
    path = tmp_path / "archive.json"
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), skeleton="coco17", fps=FPS, image_size=[640, 480])
    shutil.move(tmp_path / "a.npz", path)
    assert_keypoints(read_keypoints(path)[0].sequence, keypoints())
    assert_keypoints(read_keypoints(write(request(keypoints()), "request.txt"))[0].sequence, keypoints())


def test_what_the_caller_knows_stands_above_the_file(write):
    document = without(request(keypoints(), skeleton="h36m17"), "fps") | {"timestamps_s": [0, 1, 2, 3]}
    ((_, sequence, *_),) = read_keypoints(write(document), skeleton="coco17", fps=10, image_size=(100, 200))
    assert sequence.skeleton.name == "coco17"
    assert sequence.times_s[1] == pytest.approx(0.1)
    assert (sequence.width_px, sequence.height_px) == (100, 200)


def changed(document, *steps, to):
    """A document with the value at a path of keys replaced."""
    holder = document
    for step in steps[:-1]:
        holder = holder[step]
    holder[steps[-1]] = to
    return document


def without(document, *keys):
    return {key: value for key, value in document.items() if key not in keys}


ORDINARY = request(keypoints())
BROKEN = [
    (changed(request(keypoints()), "keypoints", 2, 5, 0, to="1"), "keypoints[2][5][0]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 0, to=True), "keypoints[2][5][0]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=None), "keypoints[2][5][1]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=float("nan")), "keypoints[2][5][1]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=float("inf")), "keypoints[2][5][1]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=10**400), "keypoints[2][5][1]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=2e6), "keypoints[2][5]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 2, to=-0.1), "keypoints[2][5][2]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 2, to=10.5), "keypoints[2][5][2]"),
    (changed(request(keypoints()), "keypoints", 2, 5, to=[1, 2, 3, 4]), "keypoints[2][5]"),
    (changed(request(keypoints()), "keypoints", 2, 5, to=[1]), "keypoints[2][5]"),
    (changed(request(keypoints()), "keypoints", 2, 5, to="x"), "keypoints[2][5]"),
    (changed(request(keypoints()), "keypoints", 2, to=[[1, 2, 1]] * 16), "keypoints[2]"),
    (changed(request(keypoints()), "keypoints", 2, to=5), "keypoints[2]"),
    (request(keypoints()) | {"keypoints": []}, "keypoints"),
    (request(keypoints()) | {"keypoints": {}}, "keypoints"),
    (request(keypoints()) | {"tracks": []}, "tracks"),
    (without(ORDINARY, "keypoints") | {"tracks": []}, "tracks"),
    (without(ORDINARY, "keypoints") | {"tracks": [{"track_id": 1, "keypoints": ORDINARY["keypoints"]}]}, "tracks[0]"),
    (without(ORDINARY, "keypoints") | {"tracks": [{"track_id": "1"}]}, "tracks[0]"),
    (
        without(ORDINARY, "keypoints") | {"tracks": [{"track_id": "1", "keypoints": ORDINARY["keypoints"]}] * 2},
        "tracks[1].track_id",
    ),
    (request(keypoints()) | {"skeleton": 17}, "skeleton"),
    (request(keypoints()) | {"fps": 0}, "fps"),
    (request(keypoints()) | {"fps": "30"}, "fps"),
    (request(keypoints()) | {"image_size": 640}, "image_size"),
    (request(keypoints()) | {"image_size": [640, 0]}, "image_size[1]"),
    (request(keypoints()) | {"image_size": [640, None]}, "image_size"),
    (request(keypoints()) | {"timestamps_s": [0, 1, 2, 3]}, "fps"),
    (without(ORDINARY, "fps") | {"timestamps_s": 3}, "timestamps_s"),
    (without(ORDINARY, "fps") | {"timestamps_s": [0, 1]}, "timestamps_s"),
    (without(ORDINARY, "fps") | {"timestamps_s": [0, 1, 1, 2]}, "timestamps_s"),
    (without(ORDINARY, "fps"), "fps"),
    (without(ORDINARY, "skeleton"), "skeleton"),
    (without(ORDINARY, "image_size"), "image_size"),
    (clip(keypoints()) | {"frames": []}, "frames"),
    (changed(clip(keypoints()), "frames", 1, to=[]), "frames[1]"),
    (changed(clip(keypoints()), "frames", 1, "frame", to=0), "frames[1].frame"),
    (changed(clip(keypoints()), "frames", 1, "frame", to="1"), "frames[1]"),
    (changed(clip(keypoints()), "frames", 1, "keypoints", 4, to=7), "frames[1].keypoints[4]"),
    (clip(keypoints()) | {"image_width": None}, "image_width, image_height"),
    (changed(coco_results(keypoints()), 2, "keypoints", to=[1, 2]), "[2].keypoints"),
    (changed(coco_results(keypoints()), 2, "keypoints", to=None), "[2].keypoints"),
    (changed(coco_results(keypoints()), 2, "keypoints", 4, to="a"), "[2].keypoints[4]"),
    (changed(coco_results(keypoints()), 2, "image_id", to="frame.jpg"), "[2].image_id"),
    (coco_results(keypoints(), idx=float("nan")), "[0].idx"),
    (coco_results(keypoints(), idx=[float("inf")]), "[0].idx"),
    (coco_results(keypoints(), track_id=1.5), "[0].track_id"),
    (changed(mmpose(keypoints()), "instance_info", 1, "frame_id", to=None), "instance_info[1]"),
    (changed(mmpose(keypoints()), "instance_info", 1, "instances", 0, to=3), "instance_info[1].instances[0]"),
    (
        changed(mmpose(keypoints()), "instance_info", 1, "instances", 0, "keypoints", 2, to=[1]),
        "instance_info[1].instances[0].keypoints[2]",
    ),
    (
        changed(mmpose(keypoints()), "instance_info", 1, "instances", 0, "keypoint_scores", to=[1]),
        "instance_info[1].instances[0].keypoint_scores",
    ),
    ({"people": [3]}, "people[0]"),
    ({"people": [{"pose_keypoints_2d": [1, 2]}]}, "people[0].pose_keypoints_2d"),
]


@pytest.mark.parametrize(
    ("document", "field"), BROKEN, ids=[f"{place}-{field}" for place, (_, field) in enumerate(BROKEN)]
)
def test_broken_documents_name_the_file_and_the_field(write, document, field):
    path = write(document)
    of_a_detector = isinstance(document, list) or not {"keypoints", "tracks", "frames"} & document.keys()
    with pytest.raises(PoseliftError) as refused:
        read_keypoints(path, fps=FPS if of_a_detector else None, image_size=SIZE if of_a_detector else None)
    assert refused.value.path == field
    assert refused.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON from line 1"),
        (b'{"keypoints": [1,', "not JSON from line 1, column 18"),
        (b"\xff\xfe\x00", "neither JSON nor an npz"),
        (b"[" * 100_000, "not JSON"),
        (b'{"fps": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "form is not known"),
        (b"3", "form is not known"),
        (b"{}", "form is not known"),
        (b"PK\x05\x06" + b"\x00" * 18, "no array keypoints"),
        (b'{"people": []}', "nobody"),
    ],
)
def test_files_of_no_known_form(tmp_path, content, complaint):
    path = tmp_path / "detections.json"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=complaint) as refused:
        read_keypoints(path)
    assert refused.value.message.startswith(str(path))


def test_a_pickle_in_an_archive_is_never_opened(tmp_path):
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidFile, match="plain arrays"):
        read_keypoints(path)


def test_arrays_of_a_wrong_shape(tmp_path):
    path = tmp_path / "detections.npz"
    np.savez(path, keypoints=np.zeros((17, 3)))
    with pytest.raises(InvalidFile, match=r"keypoints must be numbers \[frames, joints, 2 or 3\]"):
        read_keypoints(path)


def test_an_archive_may_hold_more_than_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), skeleton="coco17", fps=FPS, image_size=SIZE)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("README.txt", "Recorded in June.")
    assert_keypoints(read_keypoints(tmp_path / "a.npz")[0].sequence, keypoints())
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("keypoints", "1 2 3")
    with pytest.raises(InvalidFile, match="no array keypoints"):
        read_keypoints(tmp_path / "b.npz")


def test_times_that_are_no_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), timestamps_s=["noon"] * FRAMES, skeleton="coco17")
    with pytest.raises(InvalidFile, match="must be numbers of seconds"):
        read_keypoints(tmp_path / "a.npz", image_size=SIZE)


def test_a_score_a_little_below_zero_is_a_missing_joint(write):
    detected = keypoints()
    low = detected.copy()
    low[1, 3, 2] = -0.02
    detected[1, 3] = (np.nan, np.nan, 0)
    for document in (
        coco_results(low),
        changed(mmpose(low), "instance_info", 1, "instances", 0, "keypoint_scores", 3, to=-0.02),
    ):
        ((_, sequence, *_),) = read_keypoints(write(document), fps=FPS, image_size=SIZE)
        assert np.isnan(sequence.keypoints[1, 3, :2]).all()
        assert np.isnan(sequence.keypoints[..., 0]).sum() == 1


def test_an_openpose_person_without_a_body_is_not_there(openpose_folder):
    detected = keypoints(joints=25)
    frames = {index: openpose(frame) for index, frame in enumerate(detected)}
    frames[2] = {"people": [{"person_id": [-1], "pose_keypoints_2d": []}]}
    detected[2] = (np.nan, np.nan, 0)
    ((_, sequence, *_),) = read_keypoints(openpose_folder(frames), fps=FPS, image_size=SIZE)
    assert_keypoints(sequence, detected)


def test_coco_results_with_names(write):
    document = coco_results(keypoints(), track_id="left") + coco_results(keypoints(seed=1), track_id="right")
    tracks = read_keypoints(write(document), fps=FPS, image_size=SIZE)
    assert [track_id for track_id, *_ in tracks] == ["left", "right"]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidFile, match="cannot be read: No such file"):
        read_keypoints(tmp_path / "nothing.json")


def test_a_folder_that_is_none_of_openpose(tmp_path):
    with pytest.raises(InvalidFile, match="no files named like"):
        read_keypoints(tmp_path)


def test_a_folder_of_two_videos(openpose_folder):
    detected = keypoints(joints=25)
    openpose_folder({0: openpose(detected[0])}, video="one")
    with pytest.raises(InvalidFile, match="several videos in it: one, two"):
        read_keypoints(openpose_folder({0: openpose(detected[0])}, video="two"))


def test_frame_numbers_that_leap(openpose_folder):
    detected = keypoints(joints=25)
    with pytest.raises(InvalidFile, match="not of one video"):
        read_keypoints(openpose_folder({0: openpose(detected[0]), 10**9: openpose(detected[1])}))


def test_one_identity_twice_in_a_frame(write):
    with pytest.raises(InvalidFile, match="person 1 is there twice"):
        read_keypoints(write(coco_results(keypoints(), idx=1) * 2))


def test_an_unknown_skeleton(write):
    with pytest.raises(UnknownSkeleton):
        read_keypoints(write(request(keypoints(), skeleton="octopus8")))


def test_a_skeleton_that_does_not_fit(write):
    with pytest.raises(InvalidKeypoints, match="33 joints"):
        read_keypoints(write(request(keypoints())), skeleton="mediapipe33")


def test_the_real_sample_in_all_its_forms(shared):
    folder = shared / "data" / "real2d"
    ((_, coco, *_),) = read_keypoints(folder / "cam01_coco17.json")
    ((_, mediapipe, *_),) = read_keypoints(folder / "cam01_mediapipe33.json")
    ((_, body, *_),) = read_keypoints(folder / "openpose_json", fps=60, image_size=(1080, 1920))
    assert coco.keypoints.shape == (100, 17, 3)
    assert mediapipe.skeleton.name == "mediapipe33"
    for joint in ("left_wrist", "right_ankle", "nose", "right_hip"):
        place = [
            sequence.keypoints[:, sequence.skeleton.joint_names.index(joint)] for sequence in (coco, mediapipe, body)
        ]
        np.testing.assert_allclose(place[1], place[0], atol=0.01)
        np.testing.assert_allclose(place[2], place[0], atol=0.01)
    assert np.isnan(body.keypoints[:, body.skeleton.joint_names.index("left_small_toe")][:, 0]).all()
    np.testing.assert_allclose(coco.times_s, np.arange(100) / 60)
