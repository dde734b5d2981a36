"""Annotation files of COCO."""

import numpy as np
import pytest

from poselift.errors import InvalidFile, PoseliftError
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.skeletons import skeleton
from tests.unit.formats.readers.detector_files import (
    FPS,
    assert_keypoints,
    changed,
    flat,
    keypoints,
    with_holes,
    without,
)

COCO = list(skeleton("coco17").joint_names)


def annotated(detected, *, names=COCO, **more):
    """Joints that were not annotated have visibility 0, the others 2."""
    visible = np.where(
        np.isnan(detected[..., :1]), 0, np.append(detected[..., :2], np.full((*detected.shape[:2], 1), 2), 2)
    )
    annotations = [
        {"id": index, "image_id": 10 + index, "category_id": 1, "keypoints": flat(frame), "iscrowd": 0, **more}
        for index, frame in enumerate(visible)
        if frame.any()
    ]
    images = [
        {"id": 10 + index, "file_name": f"a_{index + 3:05}.png", "width": 640, "height": 480}
        for index in range(len(detected))
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": list(names)}]}


def expected(detected):
    seen = detected.copy()
    seen[..., 2] = np.where(np.isnan(seen[..., 0]), 0, 1)
    return seen


def test_annotations_of_one_person(write):
    detected = with_holes(keypoints())
    ((track,), warnings) = read_keypoints(write(annotated(detected)), fps=FPS)
    assert (track.sequence.skeleton.name, track.track_id, track.first_frame) == ("coco17", None, 3)
    assert (track.sequence.width_px, track.sequence.height_px) == (640, 480)
    assert_keypoints(track.sequence, expected(detected))
    assert not warnings


def test_joints_are_known_by_their_names(write):
    detected = keypoints()
    order = list(reversed(range(17)))
    document = annotated(detected[:, order], names=[COCO[place].replace("_", " ").title() for place in order])
    ((track,), _) = read_keypoints(write(document), fps=FPS)
    assert_keypoints(track.sequence, expected(detected))


@pytest.mark.parametrize("width", [[640], {"px": 640}, "640"])
def test_a_size_that_is_no_number_is_refused(write, width):
    document = annotated(keypoints())
    document["images"] = [image | {"width": width} for image in document["images"]]
    with pytest.raises(PoseliftError, match=r"images\[0\]"):
        read_keypoints(write(document), fps=FPS)


@pytest.mark.parametrize("where", [{"track_id": 7}, {"track_id": "7"}, {"attributes": {"track_id": 7}}])
def test_identities(write, where):
    ((track,), _) = read_keypoints(write(annotated(keypoints(), **where)), fps=FPS)
    assert track.track_id == "7"


def test_pictures_without_numbers_are_in_the_order_of_their_ids(write):
    document = annotated(keypoints())
    document["images"] = [image | {"file_name": "x.png"} for image in document["images"]][::-1]
    ((track,), _) = read_keypoints(write(document), fps=FPS)
    assert track.first_frame == 0
    assert_keypoints(track.sequence, expected(keypoints()))


def test_pictures_of_several_sizes_need_one(write):
    document = changed(annotated(keypoints()), "images", 1, "width", to=641)
    with pytest.raises(InvalidFile, match="image size is not known"):
        read_keypoints(write(document), fps=FPS)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (annotated(keypoints()) | {"annotations": []}, "annotations"),
        (annotated(keypoints()) | {"images": [3]}, "images"),
        (changed(annotated(keypoints()), "images", 1, "id", to=10), "images"),
        (changed(annotated(keypoints()), "annotations", 1, "image_id", to=99), "annotations[1].image_id"),
        (changed(annotated(keypoints()), "annotations", 1, "image_id", to=[1]), "annotations[1].image_id"),
        (changed(annotated(keypoints()), "annotations", 1, "keypoints", to=[1, 2]), "annotations[1].keypoints"),
        (changed(annotated(keypoints()), "annotations", 1, "keypoints", 3, to="1"), "annotations[1].keypoints[3]"),
        (changed(annotated(keypoints()), "images", 1, "width", to="a"), "image_size"),
        (
            without(annotated(keypoints()), "categories") | {"annotations": [{"image_id": 10, "keypoints": [1, 2, 2]}]},
            "annotations[0].keypoints",
        ),
    ],
)
def test_what_is_wrong_is_named(write, document, field):
    with pytest.raises(PoseliftError) as refused:
        read_keypoints(write(document), fps=FPS)
    assert refused.value.path == field
