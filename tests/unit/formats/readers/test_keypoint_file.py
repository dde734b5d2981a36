"""Any file of keypoints: recognised by its content; errors name the file and the field."""

import shutil

import numpy as np
import pytest

from poselift.errors import InvalidFile, InvalidKeypoints, PoseliftError, UnknownSkeleton
from poselift.formats.readers import keypoint_file
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.formats.readers.recording import Recording
from poselift.input_warnings import InputWarning
from tests.unit.formats.readers.detector_files import (
    FPS,
    SIZE,
    assert_keypoints,
    changed,
    clip,
    coco_results,
    flat,
    keypoints,
    mmpose,
    request,
    without,
)


def test_a_file_is_recognised_by_content_not_by_name(tmp_path, write):
    path = tmp_path / "archive.json"
    np.savez(tmp_path / "a.npz", keypoints=keypoints(), skeleton="coco17", fps=FPS, image_size=[640, 480])
    shutil.move(tmp_path / "a.npz", path)
    assert_keypoints(read_keypoints(path).tracks[0].sequence, keypoints())
    assert_keypoints(read_keypoints(write(request(keypoints()), "request.txt")).tracks[0].sequence, keypoints())


def test_arguments_override_the_file(write):
    document = without(request(keypoints(), skeleton="h36m17"), "fps") | {"timestamps_s": [0, 1, 2, 3]}
    ((_, sequence, *_),) = read_keypoints(write(document), skeleton="coco17", fps=10, image_size=(100, 200)).tracks
    assert sequence.skeleton.name == "coco17"
    assert sequence.times_s[1] == pytest.approx(0.1)
    assert (sequence.width_px, sequence.height_px) == (100, 200)


def test_what_a_reader_noticed_comes_with_the_tracks(write, monkeypatch):
    noticed = InputWarning("unused_array", "the array extra was not read.", "extra")

    def read(document):
        return Recording([(None, [None])], "coco17", 30.0, (640, 480), warnings=[noticed])

    monkeypatch.setattr(keypoint_file, "_JSON_READERS", ((lambda document: True, read),))
    assert read_keypoints(write({})).warnings == (noticed,)
    assert read_keypoints(write({}), fps=25).warnings == (noticed,)


def numbered(*numbers):
    return [{"image_id": number, "keypoints": flat(keypoints(frames=1)[0])} for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "frames", "step"),
    [
        (range(0, 60, 5), 12, 5),  # every fifth frame was looked at
        ((10, 20, 30), 3, 10),
        ((0, 4, 8, 16, 20, 24), 7, 4),  # the person was missed in one of them
        ((3, 13, 43), 41, None),  # by chance
        ((0, 5), 6, None),
        ((7,), 1, None),
        ((1, 2, 3, 5), 5, None),
    ],
)
def test_frames_numbered_in_steps_are_consecutive_ones(write, numbers, frames, step):
    (track,), warnings = read_keypoints(write(numbered(*numbers)), fps=12, image_size=SIZE)
    assert len(track.sequence.keypoints) == frames
    assert track.first_frame == numbers[0]
    assert [warning.code for warning in warnings] == (["frame_step"] if step else [])
    assert all(f"in steps of {step};" in warning.message for warning in warnings)


def test_frames_of_a_clip_keep_their_times(write):
    document = clip(keypoints())
    document["frames"] = [frame | {"frame": 5 * frame["frame"]} for frame in document["frames"]]
    (track,), warnings = read_keypoints(write(document))
    assert len(track.sequence.keypoints) == 16  # its frame rate is that of the numbers
    assert not warnings


def test_shares_of_the_picture_are_multiplied_by_its_size(write):
    document = request(keypoints() / np.array((*SIZE, 1), np.float32))
    (track,), _ = read_keypoints(write(document), coordinates="normalised")
    np.testing.assert_allclose(track.sequence.keypoints, keypoints(), atol=4)  # written with two decimals
    with pytest.raises(InvalidKeypoints, match='leave "coordinates": "normalised"'):
        read_keypoints(write(request(keypoints())), coordinates="normalised")


ORDINARY = request(keypoints())
BROKEN = [
    (changed(request(keypoints()), "keypoints", 2, 5, 0, to="1"), "keypoints[2][5][0]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 0, to=True), "keypoints[2][5][0]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=float("inf")), "keypoints[2][5]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=10**400), "keypoints[2][5][1]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 1, to=2e6), "keypoints[2][5]"),
    (changed(request(keypoints()), "keypoints", 2, 5, 2, to=-1.5), "keypoints[2][5][2]"),
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
def test_errors_of_documents_name_the_file_and_the_field(write, document, field):
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
        (b"\xff\xfe\x00", "neither text in UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b'{"fps": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "form is not known"),
        (b"3", "form is not known"),
        (b"{}", "form is not known"),
        (b"PK\x05\x06" + b"\x00" * 18, "no array keypoints"),
        (b'{"people": []}', "nobody"),
    ],
)
def test_files_of_an_unknown_kind(tmp_path, content, complaint):
    path = tmp_path / "detections.json"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=complaint) as refused:
        read_keypoints(path)
    assert refused.value.message.startswith(str(path))


def test_a_score_slightly_below_zero_is_a_missing_joint(write):
    detected = keypoints()
    low = detected.copy()
    low[1, 3, 2] = -0.02
    detected[1, 3] = (np.nan, np.nan, 0)
    for document in (
        coco_results(low),
        changed(mmpose(low), "instance_info", 1, "instances", 0, "keypoint_scores", 3, to=-0.02),
    ):
        ((_, sequence, *_),) = read_keypoints(write(document), fps=FPS, image_size=SIZE).tracks
        assert np.isnan(sequence.keypoints[1, 3, :2]).all()
        assert np.isnan(sequence.keypoints[..., 0]).sum() == 1


def test_a_joint_that_is_an_object_is_refused_with_what_it_has(write):
    document = changed(request(keypoints()), "keypoints", 2, 5, to={"x": 1, "y": 2, "score": 1, "name": "nose"})
    with pytest.raises(InvalidKeypoints, match=r"\[x, y\] or null, not an object with x, y, score, name"):
        read_keypoints(write(document))


def test_a_missing_file(tmp_path):
    with pytest.raises(InvalidFile, match="cannot be read: No such file"):
        read_keypoints(tmp_path / "nothing.json")


def test_an_unknown_skeleton(write):
    with pytest.raises(UnknownSkeleton):
        read_keypoints(write(request(keypoints(), skeleton="octopus8")))


def test_a_skeleton_that_does_not_fit(write):
    with pytest.raises(
        InvalidKeypoints, match="has 17 joints, not the 33 of mediapipe33; h36m17, coco17, mpi17 would fit"
    ):
        read_keypoints(write(request(keypoints())), skeleton="mediapipe33")


def test_the_real_sample_in_every_kind_of_file(shared):
    folder = shared / "data" / "real2d"
    ((_, coco, *_),) = read_keypoints(folder / "cam01_coco17.json").tracks
    ((_, mediapipe, *_),) = read_keypoints(folder / "cam01_mediapipe33.json").tracks
    ((_, body, *_),) = read_keypoints(folder / "openpose_json", fps=60, image_size=(1080, 1920)).tracks
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


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({}, "the skeleton, the frame rate and the image size are not known; give them (--skeleton h36m17|coco17|"),
        (
            {"fps": 30},
            "the image size are not known; give them (--skeleton h36m17|coco17|mpi17, --image-size WxH).",
        ),
        ({"fps": 30, "image_size": (640, 480)}, "the skeleton is not known; give it (--skeleton h36m17|coco17|mpi17)."),
        ({"skeleton": "h36m17", "image_size": (640, 480)}, "the frame rate is not known; give it (--fps HZ)."),
    ],
)
def test_everything_that_is_missing_is_asked_for_at_once(tmp_path, known, sentence):
    np.savez(tmp_path / "bare.npz", keypoints=np.full((5, 17, 3), 0.5))
    with pytest.raises(InvalidFile) as caught:
        read_keypoints(tmp_path / "bare.npz", **known)
    assert sentence in caught.value.message
