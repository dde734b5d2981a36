"""Every form of keypoints through the command, over HTTP as it is and as arrays, and over gRPC: the same poses."""

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from poselift.formats.readers.keypoint_file import read_keypoints
from tests.forms import FORMS, Form
from tests.integration.conftest import MODEL
from tests.integration.transports import Transport
from tests.unit.cli.running import SAMPLE, run
from tests.unit.formats.readers import detector_files, test_fuzz
from tests.unit.formats.readers.tables.tables import shifted

DETECTORS = Path(__file__).parents[1] / "data" / "detectors"
OPTIONS = {"--fps": "60", "--image-size": "1080x1920", "--skeleton": "coco17"}
# Answers are rounded to 10 micrometres; fused blocks and another order of additions make 2e-5.
SAME_POSES_M = 5e-5
PERSON = np.array(json.loads(SAMPLE.read_text())["keypoints"], np.float32)[:4]
OTHER = shifted(PERSON)


def archive(**arrays: Any) -> bytes:
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


def tar_of(folder: Path) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(folder, folder.name)
    return target.getvalue()


def documents() -> dict[str, Any]:
    one = detector_files.request(PERSON, image_size=[1080, 1920], fps=60)
    tracks = [{"track_id": name, "keypoints": detector_files.rows(who)} for name, who in (("7", PERSON), ("8", OTHER))]
    return {
        "request": one,
        "tracks": detector_files.without(one, "keypoints") | {"tracks": tracks},
        "clip": detector_files.clip(PERSON) | {"image_width": 1080, "image_height": 1920},
        "alphapose": detector_files.coco_results(PERSON, idx=1) + detector_files.coco_results(OTHER, idx=2),
        "mmpose": detector_files.mmpose(PERSON),
    }


def file_of(form: Form, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, or folder, of a form."""
    if (DETECTORS / form.file).exists():
        return DETECTORS / form.file
    path = folder / form.file
    if form.file in (made := documents()):
        path.write_text(json.dumps(made[form.file]))
    elif form.file == "openpose":
        path.mkdir()
        body = np.zeros((4, 25, 3), np.float32)
        # The joints of limbs, in BODY_25's order: neck, arms, pelvis, legs.
        body[:, [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14]] = PERSON[:, [6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15]]
        body[:, 1], body[:, 8] = (PERSON[:, [5, 6]].mean(axis=1), PERSON[:, [11, 12]].mean(axis=1))
        for number, frame in enumerate(body):
            (path / f"clip_{number:012}_keypoints.json").write_text(json.dumps(detector_files.openpose(frame)))
    elif form.file == "labels":
        path.mkdir()
        for number, frame in enumerate(PERSON, start=1):
            shares = (frame / (1080, 1920, 1)).ravel()
            numbers = " ".join(f"{number:.6f}" for number in (0.5, 0.5, 0.2, 0.4, *shares))
            (path / f"clip_{number}.txt").write_text(f"0 {numbers}\n")
    elif form.file == "npz":
        path.write_bytes(archive(keypoints=PERSON, skeleton="coco17", fps=60.0, image_size=[1080, 1920]))
    elif form.file == "people":
        path.write_bytes(archive(keypoints=np.stack([PERSON, OTHER], 1), skeleton="coco17"))
    else:
        monkeypatch.setattr(test_fuzz, "DETECTED", PERSON)
        contents = {
            "npy": lambda: test_fuzz.npy(PERSON),
            "pickle": lambda: pickle.dumps({"keypoint": PERSON[None], "img_shape": (1920, 1080)}),
        }
        path.write_bytes(contents.get(form.file, getattr(test_fuzz, form.file, bytes))())
    return path


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.file)
def test_every_entrance_gives_the_same_poses(
    form: Form,
    models: Path,
    transports: dict[str, Transport],
    client: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = file_of(form, tmp_path, monkeypatch)
    options = [word for option in form.needs.split() for word in (option, OPTIONS[option])]
    answer = json.loads(run("lift", path, "--models", models, "--model", f"{MODEL}@1", *options).stdout)
    people = answer.get("tracks") or [answer]
    given: dict[str, Any] = {}
    if "--fps" in form.needs:
        given["fps"] = 60.0
    if "--image-size" in form.needs:
        given["image_size"] = (1080.0, 1920.0)
    if "--skeleton" in form.needs:
        given["skeleton"] = "coco17"
    tracks = read_keypoints(path, **given).tracks
    assert len(people) == len(tracks) == form.people
    sequence = tracks[0].sequence
    assert sequence.skeleton.name == form.skeleton

    rate = 1 / (sequence.times_s[1] - sequence.times_s[0])
    size = [int(sequence.width_px), int(sequence.height_px)]
    clip: dict[str, Any] = {"skeleton": form.skeleton, "image_size": size, "fps": rate, "model": f"{MODEL}@1"}
    for name, transport in transports.items():
        sent = [
            {"track_id": str(n), "keypoints": track.sequence.keypoints.astype(float)} for n, track in enumerate(tracks)
        ]
        for person, expected in zip(transport.lift(clip | {"tracks": sent}).people, people, strict=True):
            np.testing.assert_allclose(person.joints, expected["poses"], atol=SAME_POSES_M, err_msg=name)
            np.testing.assert_array_equal(person.imputed, expected["imputed"])

    query = {word.removeprefix("--").replace("-", "_"): OPTIONS[word] for word in form.needs.split()}
    media_type = "application/x-tar" if path.is_dir() else "application/octet-stream"
    file = client.post(
        "/lift/file",
        content=tar_of(path) if path.is_dir() else path.read_bytes(),
        params=query | {"model": f"{MODEL}@1"},
        headers={"content-type": media_type},
    )
    assert file.status_code == 200, file.text
    for person, expected in zip(file.json().get("tracks") or [file.json()], people, strict=True):
        np.testing.assert_allclose(person["poses"], expected["poses"], atol=SAME_POSES_M)
        assert person["imputed"] == expected["imputed"]

    body = sorted(path.iterdir())[0] if path.is_dir() else path
    response = client.post("/lift", content=body.read_bytes(), headers={"content-type": "application/json"})
    assert response.status_code == (200 if form.is_body else 422), response.text
    if form.is_body:
        by_body = response.json().get("tracks") or [response.json()]
        assert len(by_body) == form.people
