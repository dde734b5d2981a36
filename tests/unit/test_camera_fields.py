"""What callers say of cameras and people, in all forms that it comes in."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from poselift_service.codecs.json.forms import LiftForm, OpeningForm, TrackForm
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.live import read_opening as read_json_opening
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.protobuf.lift import read_lift as read_protobuf
from poselift_service.codecs.protobuf.live import read_opening as read_protobuf_opening
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import LiftRequest, Limits

from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person
from poselift.camera_fields import CameraFields, PersonFields, camera_from, person_from
from poselift.errors import PoseliftError
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.pb import lifter_pb2 as pb

LIMITS = Limits(frames=100, tracks=3)
WIDTH, HEIGHT = 1920, 1080
FRAMES = [[[100.0 + joint, 200.0 + 3 * joint, 0.9] for joint in range(17)]]
SIDEWAYS = math.sin(math.radians(20))


def in_json(keypoints: Any = FRAMES, **fields: Any) -> dict[str, Any]:
    clip = {"keypoints": keypoints, "skeleton": "coco17", "image_size": [WIDTH, HEIGHT], "fps": 30, **fields}
    return {name: value for name, value in clip.items() if value is not None}


def in_protobuf(clip: dict[str, Any]) -> pb.LiftRequest:
    message = pb.LiftRequest(skeleton="coco17", image_size=pb.ImageSize(width_px=WIDTH, height_px=HEIGHT), fps=30)
    message.keypoints.extend(number for frame in clip.get("keypoints") or [] for joint in frame for number in joint)
    for track in clip.get("tracks", ()):
        numbers = [number for frame in track["keypoints"] for joint in frame for number in joint]
        person = pb.Person(**track["person"]) if "person" in track else None
        message.tracks.add(track_id=track["track_id"], keypoints=numbers, person=person)
    if "camera" in clip:
        message.camera.CopyFrom(pb.Camera(**clip["camera"]))
    if "person" in clip:
        message.person.CopyFrom(pb.Person(**clip["person"]))
    return message


async def read(clip: dict[str, Any], form: str) -> LiftRequest:
    if form == "json":
        return await JsonLiftCodec(JsonReader(LIMITS)).read_lift(json.dumps(clip).encode())
    return read_protobuf(in_protobuf(clip).SerializeToString(), LIMITS)


def opened(camera: dict[str, Any], form: str) -> Any:
    fixed: dict[str, Any] = {"skeleton": "coco17", "fps": 30}
    if form == "json":
        document = {**fixed, "image_size": [WIDTH, HEIGHT], "camera": camera, "person": {"height_m": 1.7}}
        return read_json_opening(json.dumps(document).encode())[0]
    size, person = pb.ImageSize(width_px=WIDTH, height_px=HEIGHT), pb.Person(height_m=1.7)
    message = pb.CreateSessionRequest(**fixed, image_size=size, camera=pb.Camera(**camera), person=person)
    return read_protobuf_opening(message.SerializeToString())[0]


both_forms = pytest.mark.parametrize("form", ["json", "protobuf"])

READ: list[tuple[dict[str, Any], Camera]] = [
    ({}, UNKNOWN_CAMERA),
    ({"focal_px": 1100}, Camera(1100.0)),
    ({"fov_deg": 90}, Camera(WIDTH / 2)),
    ({"principal_point_px": [900, 500.5]}, Camera(None, (900.0, 500.5))),
    (
        {"fov_deg": 150, "distortion": [0, 0, 0, 0], "fisheye": True},  # a place is its angle times the focal length
        Camera(WIDTH / math.radians(150), distortion=(0.0, 0.0, 0.0, 0.0), fisheye=True),
    ),
    (
        {"fov_deg": 120, "distortion": [0.1, 0, 0, 0], "fisheye": True},
        Camera(WIDTH / 2 / (math.pi / 3 + 0.1 * (math.pi / 3) ** 3), distortion=(0.1, 0.0, 0.0, 0.0), fisheye=True),
    ),
    (
        {"focal_px": 1100.5, "distortion": [0.1, -0.2, 0.001, 0.002, 0.05]},
        Camera(1100.5, None, (0.1, -0.2, 0.001, 0.002, 0.05)),
    ),
    ({"gravity": [0, 9.81, 0]}, Camera(gravity=(0.0, 1.0, 0.0))),
    ({"gravity": [3, 0, 4]}, Camera(gravity=(0.6, 0.0, 0.8))),
    ({"pitch_deg": 0}, Camera(gravity=(0.0, 1.0, 0.0))),
    ({"pitch_deg": 90, "roll_deg": 12}, Camera(gravity=(0.0, 0.0, 1.0))),
    ({"pitch_deg": 0, "roll_deg": 20}, Camera(gravity=(SIDEWAYS, math.sqrt(1 - SIDEWAYS**2), 0.0))),
]


def rounded(camera: Camera) -> tuple[Any, ...]:
    gravity = None if camera.gravity is None else tuple(round(axis, 9) + 0.0 for axis in camera.gravity)
    focal_px = None if camera.focal_px is None else round(camera.focal_px, 6)
    return focal_px, camera.principal_point_px, camera.distortion, camera.fisheye, gravity


@both_forms
@pytest.mark.parametrize(("said", "camera"), READ)
async def test_a_camera_is_read(said: dict[str, Any], camera: Camera, form: str):
    (track,) = (await read(in_json(camera=said), form)).tracks
    assert rounded(track.sequence.camera) == rounded(camera)
    assert rounded(opened(said, form).camera) == rounded(camera)


@both_forms
async def test_nothing_said_is_nothing_known(form: str):
    (track,) = (await read(in_json(), form)).tracks
    assert track.sequence.camera is UNKNOWN_CAMERA
    assert track.sequence.person is UNKNOWN_PERSON


@both_forms
async def test_a_person_is_that_of_the_track_or_else_of_the_request(form: str):
    (single,) = (await read(in_json(person={"height_m": 1.9}), form)).tracks
    assert single.sequence.person == Person(1.9)
    assert opened({}, form).person == Person(1.7)
    tracks = [
        {"track_id": "a", "keypoints": FRAMES, "person": {"height_m": 1.2}},
        {"track_id": "b", "keypoints": FRAMES},
        {"track_id": "c", "keypoints": FRAMES, "person": {}},
    ]
    several = await read(in_json(None, tracks=tracks, person={"height_m": 1.9}), form)
    assert [track.sequence.person.height_m for track in several.tracks] == [1.2, 1.9, 1.9]
    unsaid = await read(in_json(None, tracks=tracks), form)
    assert [track.sequence.person.height_m for track in unsaid.tracks] == [1.2, None, None]


WRONG_CAMERAS: list[tuple[dict[str, Any], str, str]] = [
    ({"focal_px": 1000, "fov_deg": 60}, "camera", "focal_px or fov_deg, and not both"),
    ({"focal_px": 35}, "camera.focal_px", "millimetres are no pixels"),
    ({"focal_px": 0}, "camera.focal_px", "greater than 0"),
    ({"focal_px": -5}, "camera.focal_px", "greater than 0"),
    ({"fov_deg": 0.5}, "camera.fov_deg", "at least 1"),
    ({"fov_deg": 171}, "camera.fov_deg", "at most 170"),
    ({"principal_point_px": [1]}, "camera.principal_point_px", "at least 2 entries"),
    (
        {"fov_deg": 150, "distortion": [-1, 0, 0, 0], "fisheye": True},
        "camera.distortion",
        "no ray 75 degrees off its axis",
    ),
    ({"principal_point_px": [1, 2, 3]}, "camera.principal_point_px", "at most 2 entries"),
    ({"principal_point_px": [1e6, 2]}, "camera.principal_point_px", "far outside"),
    ({"focal_px": 1000, "distortion": [1, 2, 3]}, "camera.distortion", "at least 4 entries"),
    ({"focal_px": 1000, "distortion": [0.1] * 6}, "camera.distortion", "at most 5 entries"),
    ({"focal_px": 1000, "distortion": [0.1, 1e4, 0, 0]}, "camera.distortion[1]", "at most 1000"),
    ({"distortion": [0.1, 0, 0, 0]}, "camera", "focal_px or fov_deg beside distortion"),
    ({"focal_px": 1000, "fisheye": True}, "camera", "four numbers if it is fisheye"),
    ({"focal_px": 1000, "fisheye": True, "distortion": [0.1] * 5}, "camera", "four numbers if it is fisheye"),
    ({"gravity": [0, 0, 0]}, "camera", "cannot all be 0"),
    ({"gravity": [0, 1]}, "camera.gravity", "at least 3 entries"),
    ({"gravity": [0, 1, 0], "pitch_deg": 3}, "camera", "and not both"),
    ({"gravity": [0, 1, 0], "roll_deg": 3}, "camera", "and not both"),
    ({"roll_deg": 3}, "camera", "pitch_deg beside roll_deg"),
    ({"pitch_deg": 90.5}, "camera.pitch_deg", "at most 90"),
    ({"pitch_deg": 0, "roll_deg": -181}, "camera.roll_deg", "at least -180"),
]


@both_forms
@pytest.mark.parametrize(("said", "path", "clause"), WRONG_CAMERAS)
async def test_a_camera_that_cannot_be_is_refused(said: dict[str, Any], path: str, clause: str, form: str):
    with pytest.raises((InvalidRequest, PoseliftError)) as refused:
        await read(in_json(camera=said), form)
    error: Any = refused.value
    assert (error.path, clause in error.message) == (path, True), error.message
    assert re.fullmatch(r"[A-Z].*\.", error.message)
    with pytest.raises((InvalidRequest, PoseliftError)) as refused:
        opened(said, form)
    error = refused.value
    assert error.path == path


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["focal_px", "fov_deg", "pitch_deg", "gravity", "principal_point_px"])
@both_forms
async def test_numbers_are_finite(field: str, number: float, form: str):
    lists = {"gravity": [0, 1, number], "principal_point_px": [3, number]}
    with pytest.raises(InvalidRequest) as refused:
        await read(in_json(camera={field: lists.get(field, number)}), form)
    assert str(refused.value.path).startswith(f"camera.{field}")


@pytest.mark.parametrize("height_m", [0.39, 2.61, 180, -1, math.nan])
@both_forms
async def test_a_height_that_nobody_has_is_refused(height_m: float, form: str):
    with pytest.raises(InvalidRequest) as refused:
        await read(in_json(person={"height_m": height_m}), form)
    assert refused.value.path == "person.height_m"
    tracks = [{"track_id": name, "keypoints": FRAMES, "person": {"height_m": height_m}} for name in "ab"]
    with pytest.raises(InvalidRequest) as refused:
        await read(in_json(None, tracks=tracks), form)
    assert refused.value.path == "tracks[0].person.height_m"


@pytest.mark.parametrize(
    "said", [{"focal": 1}, {"focal_px": "1"}, {"fisheye": 1}, {"gravity": {"x": 1}}, {"gravity": 1}, [], 7, True]
)
async def test_json_of_another_kind_is_refused(said: Any):
    with pytest.raises(InvalidRequest) as refused:
        await read(in_json(camera=said), "json")
    assert str(refused.value.path).startswith("camera")


def test_many_numbers_are_refused_before_they_are_parsed():
    message = in_protobuf(in_json(camera={"gravity": [0.0] * 2000}))
    with pytest.raises(InvalidRequest) as refused:
        read_protobuf(message.SerializeToString(), LIMITS)
    assert refused.value.path == "gravity"


def test_all_forms_say_the_same():
    assert LiftForm.model_fields.keys() >= {"camera", "person"}
    assert OpeningForm.model_fields.keys() >= {"camera", "person"}
    assert TrackForm.model_fields.keys() >= {"person"}
    assert {field.name for field in pb.Camera.DESCRIPTOR.fields} == set(CameraFields.model_fields)
    assert {field.name for field in pb.Person.DESCRIPTOR.fields} == set(PersonFields.model_fields)


def test_who_says_more_overrides_what_was_said_in_another_way():
    first = CameraFields(focal_px=1100, pitch_deg=10, roll_deg=3, principal_point_px=[900, 500])
    second = first.overridden(CameraFields(fov_deg=90))
    assert second == CameraFields(fov_deg=90, pitch_deg=10, roll_deg=3, principal_point_px=[900, 500])
    assert second.overridden(CameraFields(gravity=[0, 1, 0])) == CameraFields(
        fov_deg=90, gravity=[0, 1, 0], principal_point_px=[900, 500]
    )


def test_files_say_it_as_requests_do(tmp_path: Path):
    file = tmp_path / "clip.json"
    tracks = [
        {"track_id": "a", "keypoints": FRAMES, "person": {"height_m": 1.2}},
        {"track_id": "b", "keypoints": FRAMES},
    ]
    file.write_text(json.dumps(in_json(None, tracks=tracks, camera={"focal_px": 1100}, person={"height_m": 1.9})))
    read_tracks = read_keypoints(file).tracks
    assert [track.sequence.person.height_m for track in read_tracks] == [1.2, 1.9]
    assert [track.sequence.camera for track in read_tracks] == [Camera(1100.0)] * 2
    told = read_keypoints(file, camera=CameraFields(pitch_deg=0), about=PersonFields(height_m=1.5)).tracks
    assert [track.sequence.person.height_m for track in told] == [1.5, 1.5]
    assert told[0].sequence.camera == Camera(1100.0, gravity=(0.0, 1.0, 0.0))
    file.write_text(json.dumps(in_json(camera={"focal_px": "far"})))
    with pytest.raises(PoseliftError, match=r"clip.json: camera.focal_px cannot be used: it must be a number"):
        read_keypoints(file)


def test_without_fields_all_is_unknown():
    assert camera_from(None, WIDTH, HEIGHT) is UNKNOWN_CAMERA
    assert person_from(None) is UNKNOWN_PERSON
    assert person_from(PersonFields(), Person(1.8)) == Person(1.8)
