"""POST /lift in JSON."""

import httpx
import numpy as np
import pytest

from tests.unit.service.http.conftest import lift_body


async def test_the_answer_follows_the_contract(client: httpx.AsyncClient):
    answer = await client.post("/lift", json=lift_body(3))
    assert answer.status_code == 200
    content = answer.json()
    assert content["model"] == {"name": "scripted", "version": 3, "digest": "0123456789abcdef"}
    assert (content["skeleton"], content["unit"]) == ("h36m17", "m")
    assert content["joint_names"][0] == "pelvis"
    assert np.shape(content["poses"]) == (3, 17, 3)
    assert content["imputed"] == [[False] * 17] * 3
    assert set(content["timing_ms"]) == {"queue", "inference", "total"}
    assert "tracks" not in content


async def test_null_and_low_scores_mark_missing_joints_which_are_reported(client: httpx.AsyncClient):
    sent = lift_body(4)
    sent["keypoints"][0][3] = None
    sent["keypoints"][1][3] = [1.0, 2.0, 0.1]
    sent["keypoints"][2] = None
    sent["keypoints"][3][3] = [1.0, 2.0]
    # The scripted engine answers with NaN for a missing joint, which no network does; only `imputed` is checked.
    imputed = np.array((await client.post("/lift", json=sent)).json()["imputed"])
    assert imputed[:2, 3].all()
    assert imputed[:2].sum() == 2
    assert imputed[2].all()
    assert not imputed[3].any()


async def test_tracks_are_answered_under_their_names(client: httpx.AsyncClient):
    keypoints = lift_body()["keypoints"]
    sent = lift_body(tracks=[{"track_id": "7", "keypoints": keypoints}, {"track_id": "x", "keypoints": keypoints[:1]}])
    del sent["keypoints"]
    content = (await client.post("/lift", json=sent)).json()
    assert [(track["track_id"], len(track["poses"]), len(track["imputed"])) for track in content["tracks"]] == [
        ("7", 2, 2),
        ("x", 1, 1),
    ]
    assert "poses" not in content


@pytest.mark.parametrize("optional", ["keypoints", "tracks", "fps", "timestamps_s", "model"])
async def test_null_equals_a_field_left_out(client: httpx.AsyncClient, optional: str):
    sent = {**lift_body(), optional: None}
    expected = 422 if optional in ("keypoints", "fps") else 200
    assert (await client.post("/lift", json=sent)).status_code == expected
