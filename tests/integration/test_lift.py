"""POST /lift on a real server, against the core in this process."""

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest

from poselift.artifacts.artifact import Artifact
from poselift.lifting import lift
from tests.integration.conftest import MAX_FRAMES, MODEL
from tests.integration.server_process import ANSWER_S, ServerProcess
from tests.integration.walking import at_rate, body, frames, keypoints, sequence

# Fused blocks and another order of additions (2e-5), and answers rounded to 10 micrometres.
SAME_POSES_M = 5e-5


def answer(client: httpx.Client, sent: dict[str, Any]) -> Any:
    response = client.post("/lift", json=sent)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("length", [1, 2, 26, 27, 28, 150, 401, MAX_FRAMES])
def test_the_server_gives_the_poses_of_the_core(client: httpx.Client, artifact: Artifact, length: int):
    points = keypoints(at_rate(50, length))
    lifted = lift(artifact, sequence(points))
    given = answer(client, body(points))
    np.testing.assert_allclose(given["poses"], lifted.joints, atol=SAME_POSES_M)
    np.testing.assert_array_equal(given["imputed"], lifted.imputed)
    assert given["model"] == {"name": MODEL, "version": 1, "digest": artifact.manifest.digest}


def test_mirrored_averaging_equals_that_of_the_core(client: httpx.Client, artifact: Artifact):
    points = keypoints(at_rate(50, 60))
    given = answer(client, body(points, mirrored_average=True))
    expected = lift(artifact, sequence(points), mirrored_average=True)
    np.testing.assert_allclose(given["poses"], expected.joints, atol=SAME_POSES_M)
    assert np.abs(expected.joints - lift(artifact, sequence(points)).joints).max() > 100 * SAME_POSES_M


def test_missing_joints_and_frames_are_those_of_the_core(client: httpx.Client, artifact: Artifact):
    points = keypoints(at_rate(50, 80))
    points[10:20, 9] = np.nan
    points[30:33] = np.nan
    points[50:, 15, 2] = 0.05
    points[0] = np.nan
    sent = body(points)
    sent["keypoints"][30:33] = [None] * 3
    expected = lift(artifact, sequence(points))
    given = answer(client, sent)
    np.testing.assert_allclose(given["poses"], expected.joints, atol=SAME_POSES_M)
    np.testing.assert_array_equal(given["imputed"], expected.imputed)
    imputed = np.array(given["imputed"])
    assert imputed[30:33].all()
    assert not imputed[33:50].any()
    assert imputed[50:].any(axis=1).all()


def test_tracks_are_lifted_each_for_itself(client: httpx.Client, artifact: Artifact):
    people = {"7": keypoints(at_rate(50, 40), person=7), "other": keypoints(at_rate(50, 90), person=8)}
    sent = body(people["7"], tracks=[{"track_id": name, "keypoints": frames(p)} for name, p in people.items()])
    del sent["keypoints"]
    given = answer(client, sent)["tracks"]
    assert [track["track_id"] for track in given] == list(people)
    for track, points in zip(given, people.values(), strict=True):
        np.testing.assert_allclose(track["poses"], lift(artifact, sequence(points)).joints, atol=SAME_POSES_M)


def test_timestamps_say_the_same_as_a_frame_rate(client: httpx.Client):
    points = keypoints(at_rate(25, 50))
    by_rate = answer(client, body(points, fps=25))
    by_time = body(points, timestamps_s=(1.7e9 + at_rate(25, 50)).tolist())
    del by_time["fps"]
    # At this time of day a double counts in steps of 0.2 microseconds.
    np.testing.assert_allclose(answer(client, by_time)["poses"], by_rate["poses"], atol=1e-3)


def test_the_same_motion_at_any_frame_rate_gives_the_same_poses(client: httpx.Client):
    seconds = 4
    poses = {
        fps: np.array(answer(client, body(keypoints(at_rate(fps, fps * seconds)), fps=fps))["poses"])
        for fps in (25, 30, 50, 60)
    }
    # Moments that all four have in common: every fifth of a second, far enough from the ends.
    common = {fps: poses[fps][fps : fps * (seconds - 1) : fps // 5] for fps in poses}
    motion_m = np.abs(np.diff(common[50], axis=0)).mean()
    for fps in (25, 30, 60):
        assert np.abs(common[fps] - common[50]).mean() < 0.02 * motion_m, fps
    misjudged = np.array(answer(client, body(keypoints(at_rate(25, 25 * seconds)), fps=50))["poses"])
    assert np.abs(misjudged[25:75:5] - common[50]).mean() > 0.2 * motion_m, "the frame rate must matter"


@pytest.mark.parametrize("reference", [MODEL, f"{MODEL}@1", f"{MODEL}@stable"])
def test_a_model_may_be_asked_for(client: httpx.Client, reference: str):
    given = answer(client, body(keypoints(at_rate(50, 2)), model=reference))
    assert (given["model"]["name"], given["model"]["version"]) == (MODEL, 1)


@pytest.mark.parametrize("reference", [f"{MODEL}@2", "no-such", "../../etc/passwd"])
def test_a_model_that_is_not_served_is_unknown(client: httpx.Client, reference: str):
    response = client.post("/lift", json=body(keypoints(at_rate(50, 2)), model=reference))
    assert response.status_code == 404
    assert (response.json()["error"]["code"], response.json()["error"]["path"]) == ("unknown_model", "model")


async def test_everyone_gets_their_own_poses(server: ServerProcess, artifact: Artifact):
    people = [keypoints(at_rate(50, 1 + 9 * person), person) for person in range(24)]
    limits = httpx.Limits(max_connections=len(people))
    async with httpx.AsyncClient(base_url=server.address, timeout=ANSWER_S, limits=limits) as client:
        responses = await asyncio.gather(*(client.post("/lift", json=body(points)) for points in people))
    for points, response in zip(people, responses, strict=True):
        assert response.status_code == 200
        expected = lift(artifact, sequence(points)).joints
        np.testing.assert_allclose(response.json()["poses"], expected, atol=SAME_POSES_M)
