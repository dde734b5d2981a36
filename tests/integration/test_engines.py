"""The libraries that can run a network, each in its own server."""

import importlib.util
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.integration.conftest import MODEL
from tests.integration.server_process import ANSWER_S, running
from tests.integration.walking import at_rate, body, keypoints

# Answers are rounded to a hundredth of a millimetre, and the libraries differ in the order of summation.
SAME_POSES_M = 1e-4


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_and_torch_give_the_same_poses(client: httpx.Client, models: Path, tmp_path: Path):
    points = keypoints(at_rate(50, 200))
    points[20:30, 5] = np.nan
    points[40] = np.nan
    clip = body(points)
    with running(models, tmp_path / "log", engine="openvino", default_model=f"{MODEL}@stable") as server:
        (warm,) = (line for line in server.log_lines() if line["message"].endswith("is warm"))
        by_openvino = httpx.post(f"{server.address}/lift", json=clip, timeout=ANSWER_S).json()
    by_torch = client.post("/lift", json=clip).json()
    assert (warm["library"], warm["precision"], warm["threads"]) == ("openvino", "float32", 1)
    assert by_openvino["model"] == by_torch["model"]
    np.testing.assert_allclose(by_openvino["poses"], by_torch["poses"], atol=SAME_POSES_M)
