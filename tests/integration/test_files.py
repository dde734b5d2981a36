"""POST /lift/file beyond what each form of file does: forms of answers, what is missing, and hostile files."""

import io
import json
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.integration.conftest import MAX_BODY_BYTES, MAX_FRAMES
from tests.unit.cli.running import SAMPLE

DETECTORS = Path(__file__).parents[1] / "data" / "detectors"
ALPHAPOSE = DETECTORS / "alphapose_all_idx_0.json"
GIVEN = {"fps": "60", "image_size": "1080x1920"}
ANSWER_S = 60
BYTES = "application/octet-stream"
BEGINNINGS = {
    "npz": b"PK",
    "csv": b"person,frame",
    "wide.csv": b"person,frame",
    "parquet": b"PAR1",
    "trc": b"PathFileType",
    "bvh": b"HIERARCHY",
    "glb": b"glTF",
    "angles.csv": b"person,frame,time_s",
}


def post(
    client: httpx.Client, content: bytes, media_type: str = "application/octet-stream", **query: Any
) -> httpx.Response:
    return client.post(
        "/lift/file", content=content, params=query, headers={"content-type": media_type}, timeout=ANSWER_S
    )


def test_the_keypoints_of_a_file_are_a_body_that_gives_the_same_poses(client: httpx.Client):
    answer = post(client, ALPHAPOSE.read_bytes(), keypoints="true", **GIVEN).json()
    assert answer["fps"] == 60
    again = client.post("/lift", json=answer["request"]).json()
    assert again["tracks"] == [{key: track[key] for key in again["tracks"][0]} for track in answer["tracks"]]


def test_warnings_about_a_file_are_those_of_the_command(client: httpx.Client):
    turned = {"image_size": "1920x1080"}
    answer = post(client, SAMPLE.read_bytes(), **turned).json()
    assert [warning["code"] for warning in answer["warnings"]] == ["picture_turned"]
    assert post(client, SAMPLE.read_bytes(), strict="true", **turned).status_code == 422


@pytest.mark.parametrize(
    ("form", "beginning"),
    [
        ("npz", b"PK"),
        ("csv", b"person,frame"),
        ("wide.csv", b"person,frame"),
        ("parquet", b"PAR1"),
        ("trc", b"PathFileType"),
    ],
)
def test_a_file_is_answered_in_any_form_of_the_command(client: httpx.Client, form: str, beginning: bytes):
    response = post(client, SAMPLE.read_bytes(), format=form)
    assert response.status_code == 200, response.text
    assert response.content.startswith(beginning)
    assert f'filename="poses.{form}"' in response.headers["content-disposition"]


def test_people_who_need_a_file_each_come_in_an_archive(client: httpx.Client):
    response = post(client, ALPHAPOSE.read_bytes(), format="trc", **GIVEN)
    assert response.headers["content-type"] == "application/zip"
    assert len(zipfile.ZipFile(io.BytesIO(response.content)).namelist()) == 2


def test_what_a_file_does_not_say_is_asked_for_in_the_words_of_a_query(client: httpx.Client):
    response = post(client, ALPHAPOSE.read_bytes())
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["path"] == "fps"
    assert error["message"] == "The frame rate and the image size are not known; give them (fps HZ, image_size WxH)."


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"fps": "fast"}, "fps"),
        ({"image_size": "1080"}, "image_size"),
        ({"format": "fbx"}, "format"),
        ({"fsp": "60"}, "fsp"),
        ({"height_m": "180"}, "height_m"),
        ({"fov_deg": "0"}, "fov_deg"),
        ({"fov_deg": "60", "focal_px": "900"}, "camera"),
        ({"foot_lock": "sometimes"}, "foot_lock"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(client: httpx.Client, query: dict[str, str], path: str):
    response = post(client, SAMPLE.read_bytes(), **query)
    assert (response.status_code, response.json()["error"]["path"]) == (422, path)


def test_no_refusal_tells_where_the_server_keeps_a_file(client: httpx.Client):
    for content in (b"", b"{", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80\x04", b"a,b\n1,2\n", b"[[1]]"):
        response = post(client, content)
        assert response.status_code == 422, response.text
        assert "/tmp" not in response.text
        assert "--" not in response.text


def test_more_frames_than_a_request_may_have_are_refused(client: httpx.Client):
    clip = json.loads(SAMPLE.read_text())
    clip["keypoints"] = (clip["keypoints"] * 7)[: MAX_FRAMES + 1]
    response = post(client, json.dumps(clip).encode())
    assert response.status_code == 422
    assert "max_frames" in response.json()["error"]["message"]


def test_a_larger_body_is_not_read(client: httpx.Client):
    assert post(client, b" " * (MAX_BODY_BYTES + 1)).status_code == 413


def test_an_archive_that_unpacks_to_gigabytes_costs_the_server_nothing(client: httpx.Client):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("keypoints.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (1_900_000, 17, 3)}
        )
        for _ in range(97):
            member.write(bytes(8_000_000))
    content = target.getvalue()
    assert len(content) < MAX_BODY_BYTES
    begin = time.monotonic()
    response = post(client, content, skeleton="coco17", **GIVEN)
    assert response.status_code == 422, response.text
    assert time.monotonic() - begin < 30
    assert client.get("/healthz").status_code == 200


def test_a_folder_holds_plain_files_only(client: httpx.Client):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        link = tarfile.TarInfo("clip_000000000000_keypoints.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(SAMPLE)
        archive.addfile(link)
        above = tarfile.TarInfo("../../clip_000000000001_keypoints.json")
        above.size = 2
        archive.addfile(above, io.BytesIO(b"[]"))
    response = post(client, target.getvalue(), "application/x-tar", **GIVEN)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_request"


def test_a_file_is_put_into_the_world(client: httpx.Client):
    query = {"world": "true", "height_m": "1.7", "fov_deg": "60", "pitch_deg": "5", "up_axis": "z", "keypoints": "true"}
    answer = post(client, SAMPLE.read_bytes(), **query).json()
    world = answer["world"]
    assert world["height_m"] == pytest.approx(1.7, abs=1e-3)
    assert (world["gravity"]["given"], world["camera"]["given"]) == (True, True)
    assert "z up" in world["axes"]
    assert answer["request"]["person"] == {"height_m": 1.7}
    stored = {field: answer[field] for field in ("poses", "expected_error_m") if field in answer}
    again = client.post(
        "/refine", json={"request": answer["request"] | {"world": {"up_axis": "z"}}, "answer": stored}, timeout=ANSWER_S
    ).json()
    np.testing.assert_allclose(again["world"]["poses"], world["poses"], atol=1e-3)
    refused = post(client, SAMPLE.read_bytes(), fov_deg="60", focal_px="900")
    assert (refused.status_code, refused.json()["error"]["path"]) == (422, "camera")
