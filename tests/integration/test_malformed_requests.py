"""Malformed requests: each is answered with the field at fault, none with a 500, and the server keeps serving."""

import json
from typing import Any, NamedTuple

import httpx
import pytest

from tests.integration.conftest import MAX_BODY_BYTES, MAX_FRAMES, MAX_TRACKS

JOINT = [500.0, 400.0, 0.9]
FRAME = [JOINT] * 17


class Malformed(NamedTuple):
    """An invalid body, the path that its refusal must name, and the status if it is not 422."""

    name: str
    body: Any
    path: str | None
    status: int = 422


def request(**changes: Any) -> dict[str, Any]:
    """A good request of six frames, with fields replaced; `...` removes one."""
    fields = {"keypoints": [FRAME] * 6, "skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def frame(replaced: Any) -> dict[str, Any]:
    return request(keypoints=[*[FRAME] * 3, replaced, *[FRAME] * 2])


def joint(replaced: Any) -> dict[str, Any]:
    return frame([*FRAME[:5], replaced, *FRAME[6:]])


def tracks(*people: Any) -> dict[str, Any]:
    return request(keypoints=..., tracks=list(people))


def person(track_id: Any = "1", keypoints: Any = (FRAME,), **fields: Any) -> dict[str, Any]:
    return {"track_id": track_id, "keypoints": keypoints, **fields}


def text(body: Any, old: str, new: str) -> bytes:
    """Write JSON with a replacement that no JSON library would write."""
    content = json.dumps(body)
    assert content.count(old) == 1
    return content.replace(old, new).encode()


# Makes a body long enough to be read in pieces, and changes nothing else.
PADDING = b" " * 130 * 1024
MARK = 123456.5
AT = "keypoints[3][5]"

TABLE = [
    Malformed("nothing", b"", None),
    Malformed("no JSON", b"keypoints=1", None),
    Malformed("half a body", json.dumps(request()).encode()[:-40], None),
    Malformed("two bodies", json.dumps(request()).encode() * 2, None),
    Malformed("trailing comma", text(request(fps=MARK), "123456.5", "30,"), None),
    Malformed("invalid UTF-8", text(request(skeleton="coco"), "coco", "co").replace(b"co", b"\xff\xfe"), None),
    Malformed("UTF-16", json.dumps(request()).encode("utf-16"), None),
    Malformed("a NUL byte", b"\0", None),
    Malformed("deep nesting", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    Malformed("deep nesting of keypoints", text(request(keypoints=MARK), "123456.5", "[" * 9999 + "]" * 9999), None),
    Malformed("nesting", text(request(a=MARK), "123456.5", "[" * 300 + "]" * 300), None),
    Malformed("deep nesting of objects", b'{"a":' * 50_000, None),
    Malformed("a number of five thousand digits", text(joint([MARK, 1, 1]), "123456.5", "9" * 5000), None),
    Malformed("an array", [], None),
    Malformed("null", None, None),
    Malformed("a string", "keypoints", None),
    Malformed("a number", 17, None),
    Malformed("an empty object", {}, "skeleton"),
    Malformed("Infinity", text(joint([1, MARK, 1]), "123456.5", "Infinity"), f"{AT}[1]"),
    Malformed("-Infinity", text(joint([1, 1, MARK]), "123456.5", "-Infinity"), f"{AT}[2]"),
    Malformed("a number beyond double", text(joint([MARK, 1, 1]), "123456.5", "1e999"), f"{AT}[0]"),
    Malformed("a number beyond float32", joint([1e300, 1, 1]), f"{AT}[0]"),
    Malformed("a position of a million and one", joint([1_000_001, 1, 1]), f"{AT}[0]"),
    Malformed("a position of minus two million", joint([1, -2e6, 1]), f"{AT}[1]"),
    Malformed("an integer beyond 64 bits", joint([10**30, 1, 1]), f"{AT}[0]"),
    Malformed("a score of minus two", joint([1, 1, -2]), f"{AT}[2]"),
    Malformed("a score in percent", joint([1, 1, 87]), f"{AT}[2]"),
    Malformed("a coordinate as a string", joint(["1", 1, 1]), f"{AT}[0]"),
    Malformed("a coordinate as a word", joint([1, "x", 1]), f"{AT}[1]"),
    Malformed("a coordinate as a boolean", joint([1, 1, True]), f"{AT}[2]"),
    Malformed("a coordinate as an array", joint([[1], 1, 1]), f"{AT}[0]"),
    Malformed("a coordinate as an object", joint([{}, 1, 1]), f"{AT}[0]"),
    Malformed("a joint of one number", joint([1]), AT),
    Malformed("a joint of four numbers", joint([1, 2, 0.5, 3]), AT),
    Malformed("a joint of nothing", joint([]), AT),
    Malformed("a joint as a number", joint(1), AT),
    Malformed("a joint as an object", joint({"x": 1, "y": 2}), AT),
    Malformed("a joint as a string", joint("12"), AT),
    Malformed("a joint as false", joint(False), AT),
    Malformed("a frame of 16 joints", frame(FRAME[:16]), "keypoints[3]"),
    Malformed("a frame of 18 joints", frame([*FRAME, JOINT]), "keypoints[3]"),
    Malformed("a frame of no joints", frame([]), "keypoints[3]"),
    Malformed("a flat frame", frame([1.0] * 51), "keypoints[3][0]"),
    Malformed("a frame as a number", frame(7), "keypoints[3]"),
    Malformed("a frame as an object", frame({"keypoints": FRAME}), "keypoints[3]"),
    Malformed("a frame nested too deep", frame([FRAME]), "keypoints[3][0][0]"),
    Malformed("frames of 17 joints as body25", request(skeleton="body25"), "keypoints[0]"),
    Malformed("a single frame without its array", request(keypoints=FRAME), "keypoints[0][0]"),
    Malformed("no frames", request(keypoints=[]), "keypoints"),
    Malformed("keypoints as an object", request(keypoints={"0": FRAME}), "keypoints"),
    Malformed("keypoints as a string", request(keypoints="[[]]"), "keypoints"),
    Malformed("keypoints null", request(keypoints=None), "keypoints"),
    Malformed("no keypoints", request(keypoints=...), "keypoints"),
    Malformed("one frame too many", request(keypoints=[[None] * 17] * (MAX_FRAMES + 1)), "keypoints"),
    Malformed("one null frame too many", request(keypoints=[None] * (MAX_FRAMES + 1)), "keypoints"),
    Malformed("both keypoints and tracks", request(tracks=[person()]), "keypoints"),
    Malformed("no tracks", tracks(), "tracks"),
    Malformed("tracks as an object", request(keypoints=..., tracks={"1": [FRAME]}), "tracks"),
    Malformed("a track as an array", tracks([FRAME]), "tracks[0]"),
    Malformed("a track as null", tracks(person(), None), "tracks[1]"),
    Malformed("a track without a name", tracks({"keypoints": [FRAME]}), "tracks[0].track_id"),
    Malformed("a track without keypoints", tracks({"track_id": "1"}), "tracks[0].keypoints"),
    Malformed("a track with a number for a name", tracks(person(7)), "tracks[0].track_id"),
    Malformed("a track with an empty name", tracks(person("")), "tracks[0].track_id"),
    Malformed("a track with a name of 1000 characters", tracks(person("x" * 1000)), "tracks[0].track_id"),
    Malformed("a name twice", tracks(person("1"), person("2"), person("1")), "tracks[2].track_id"),
    Malformed("an empty track", tracks(person(), person("2", [])), "tracks[1].keypoints"),
    Malformed("a wrong joint in a track", tracks(person(), person("2", [FRAME, ["x"]])), "tracks[1].keypoints[1][0]"),
    Malformed("too few joints in a track", tracks(person("1", [FRAME, [JOINT]])), "tracks[0].keypoints[1]"),
    Malformed("a huge number in a track", tracks(person("1", [[[1e7, 0]] * 17])), "tracks[0].keypoints[0][0][0]"),
    Malformed("an unknown field in a track", tracks(person(colour="red")), "tracks[0].colour"),
    Malformed("too many tracks", tracks(*(person(str(n)) for n in range(MAX_TRACKS + 1))), "tracks"),
    Malformed("too many frames in all", tracks(person("1", [None] * 400), person("2", [None] * 400)), "tracks"),
    Malformed("no skeleton", request(skeleton=...), "skeleton"),
    Malformed("an unknown skeleton", request(skeleton="coco19"), "skeleton"),
    Malformed("a skeleton in capitals", request(skeleton="COCO17"), "skeleton"),
    Malformed("a skeleton as a list", request(skeleton=["coco17"]), "skeleton"),
    Malformed("a skeleton null", request(skeleton=None), "skeleton"),
    Malformed("no image size", request(image_size=...), "image_size"),
    Malformed("an image size of one number", request(image_size=[1920]), "image_size[1]"),
    Malformed("an image size of three numbers", request(image_size=[1920, 1080, 3]), "image_size"),
    Malformed("an image size as an object", request(image_size={"width": 1920, "height": 1080}), "image_size"),
    Malformed("an image size as text", request(image_size="1920x1080"), "image_size"),
    Malformed("an image without width", request(image_size=[0, 1080]), "image_size[0]"),
    Malformed("an image of negative height", request(image_size=[1920, -1080]), "image_size[1]"),
    Malformed("an image of half a pixel", request(image_size=[1920.5, 1080]), "image_size[0]"),
    Malformed("an image of a billion pixels each way", request(image_size=[10**9, 10**9]), "image_size[0]"),
    Malformed("no frame rate", request(fps=...), "fps"),
    Malformed("a frame rate of 0", request(fps=0), "fps"),
    Malformed("a negative frame rate", request(fps=-30), "fps"),
    Malformed("a frame rate as text", request(fps="30"), "fps"),
    Malformed("a frame rate as true", request(fps=True), "fps"),
    Malformed("a frame rate as an array", request(fps=[30]), "fps"),
    Malformed("a frame rate of NaN", text(request(fps=MARK), "123456.5", "NaN"), "fps"),
    Malformed("an infinite frame rate", text(request(fps=MARK), "123456.5", "Infinity"), "fps"),
    Malformed("a frame rate of a billion", request(fps=1e9), "fps"),
    Malformed("both frame rate and timestamps", request(timestamps_s=[0, 1, 2, 3, 4, 5]), "fps"),
    Malformed("too few timestamps", request(fps=..., timestamps_s=[0, 1]), "timestamps_s"),
    Malformed("no timestamps", request(fps=..., timestamps_s=[]), "timestamps_s"),
    Malformed("a timestamp twice", request(fps=..., timestamps_s=[0, 1, 2, 2, 4, 5]), "timestamps_s[3]"),
    Malformed("falling timestamps", request(fps=..., timestamps_s=[0, 1, 0.5, 3, 4, 5]), "timestamps_s[2]"),
    Malformed("a timestamp null", request(fps=..., timestamps_s=[0, 1, None, 3, 4, 5]), "timestamps_s[2]"),
    Malformed(
        "a timestamp of NaN", text(request(fps=..., timestamps_s=[0, MARK]), "123456.5", "NaN"), "timestamps_s[1]"
    ),
    Malformed("a timestamp of 1e300 seconds", request(fps=..., timestamps_s=[0, 1e300]), "timestamps_s[1]"),
    Malformed("timestamps as text", request(fps=..., timestamps_s="0,1"), "timestamps_s"),
    Malformed(
        "timestamps that do not fit a track", {**tracks(person()), "fps": None, "timestamps_s": [0, 1]}, "timestamps_s"
    ),
    Malformed("averaging as text", request(mirrored_average="yes"), "mirrored_average"),
    Malformed("averaging as a number", request(mirrored_average=1), "mirrored_average"),
    Malformed("averaging null", request(mirrored_average=None), "mirrored_average"),
    Malformed("targets that fall", request(targets=[0, 2, 1]), "targets[2]"),
    Malformed("a target twice", request(targets=[0, 0]), "targets[1]"),
    Malformed("a target behind the last frame", request(targets=[0, 6]), "targets[1]"),
    Malformed("a target behind the last frame of a track", {**tracks(person()), "targets": [6]}, "targets[0]"),
    Malformed("a negative target", request(targets=[-1]), "targets[0]"),
    Malformed("a target between two frames", request(targets=[1.5]), "targets[0]"),
    Malformed("a huge target", request(targets=[10**30]), "targets[0]"),
    Malformed("no targets", request(targets=[]), "targets"),
    Malformed("targets null", request(targets=None), "targets"),
    Malformed("a model as a number", request(model=1), "model"),
    Malformed("a model with a name of 1000 characters", request(model="x" * 1000), "model"),
    Malformed("an unknown model", request(model="resnet"), "model", 404),
    Malformed("no model", request(model=""), "model", 404),
    Malformed("an unknown field", request(frames=6), "frames"),
    Malformed("a misspelt field", request(fps=..., FPS=30), "FPS"),
    Malformed("a field named __class__", request(__class__="x"), "__class__"),
    Malformed("a body that is too large", b" " * (MAX_BODY_BYTES + 1), None, 413),
]


@pytest.mark.parametrize("length", ["short", "long"])
@pytest.mark.parametrize("malformed", TABLE, ids=lambda malformed: malformed.name)
def test_a_malformed_request_is_refused_with_the_field_at_fault(
    client: httpx.Client, malformed: Malformed, length: str
):
    content = malformed.body if isinstance(malformed.body, bytes) else json.dumps(malformed.body).encode()
    if length == "long":
        content += PADDING
    response = client.post("/lift", content=content, headers={"content-type": "application/json"})
    assert response.status_code == malformed.status, response.text
    error = response.json()["error"]
    assert error.get("path") == malformed.path, error
    assert error["message"].endswith(".")
    assert "\n" not in error["message"]
    assert error["code"] == {404: "unknown_model", 413: "body_too_large", 422: "invalid_request"}[malformed.status]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_of_another_media_type_is_not_read(client: httpx.Client, content_type: str):
    response = client.post("/lift", content=json.dumps(request()), headers={"content-type": content_type})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_body_full_of_errors_is_refused_fast(client: httpx.Client):
    """Collecting every error in so many frames would block the event loop for seconds."""
    response = client.post("/lift", json=request(keypoints=[[["x"] * 3] * 17] * MAX_FRAMES))
    assert response.status_code == 422
    assert response.elapsed.total_seconds() < 2


def test_the_server_lifts_after_malformed_requests(client: httpx.Client):
    for malformed in TABLE:
        content = malformed.body if isinstance(malformed.body, bytes) else json.dumps(malformed.body)
        client.post("/lift", content=content, headers={"content-type": "application/json"})
    assert client.get("/readyz").status_code == 200
    response = client.post("/lift", json=request())
    assert response.status_code == 200
    assert len(response.json()["poses"]) == 6
