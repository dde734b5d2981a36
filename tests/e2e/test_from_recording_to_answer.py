"""The whole way as a user goes it: a recording becomes training data, a model learns from it and is served."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
BVH = REPOSITORY / "tests" / "data" / "cmu_05_15_cut.bvh"
SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
# Batching changes the order of additions, and answers are rounded to 10 micrometres.
SAME_NUMBERS_M = 2e-5
COMMAND_S, START_S, ANSWER_S, STOP_S = 300, 120, 60, 60


def poselift(*arguments: object, folder: Path) -> str:
    """Run the command as a process of its own; returns what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "poselift", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/models`, made from one recording: data, stage I, stage II."""
    folder = tmp_path_factory.mktemp("user")
    for split in ("train", "val"):
        poselift(
            *("data", "bvh", BVH, "--out", f"data/{split}.npz", "--unit-m", 0.0254 / 0.45, "--skip", 1),
            *("--subject", split, "--split", split, "--source", "CMU", "--licence", "CMU terms"),
            folder=folder,
        )
    short = ["-o", "data.root=data", "-o", "steps=4", "-o", "batch_size=4", "-o", "accelerator=cpu"]
    poselift("pretrain", "smoke-pretrain", *short, folder=folder)
    poselift("finetune", "smoke", *short, "-o", "init_from=runs/smoke-pretrain", folder=folder)
    return folder


@pytest.fixture(scope="module")
def served(trained: Path) -> Iterator[str]:
    """The address of a server with the trained model; afterwards it must end in order."""
    server = subprocess.Popen(
        [sys.executable, "-m", "poselift", "serve", "--models", "runs/models", "--port", "0", "--metrics-port", "0"],
        cwd=trained,
        env={**os.environ, "OMP_NUM_THREADS": "1", "POSELIFT_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    giving_up = threading.Timer(START_S, server.kill)
    giving_up.start()
    assert server.stdout is not None
    with server.stdout as said:
        address = next((match[0] for line in said if (match := re.search(r"http://[\d.]+:\d+", line))), None)
        giving_up.cancel()
        assert address is not None, "the server has not started"
        try:
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(STOP_S) == 0


def test_the_model_is_intact_and_says_where_it_comes_from(trained: Path):
    assert poselift("models", "list", "--models", "runs/models", folder=trained).split() == ["smoke@1"]
    assert poselift("models", "verify", "--models", "runs/models", folder=trained) == "smoke@1 is intact\n"
    manifest = json.loads((trained / "runs/models/smoke/1/manifest.json").read_text())
    assert manifest["recipe"]["steps"] == 4
    assert manifest["recipe"]["data"]["root"] == "data"


def test_server_and_command_answer_with_the_same_numbers(trained: Path, served: str):
    response = httpx.post(
        f"{served}/lift", content=SAMPLE.read_bytes(), headers={"content-type": "application/json"}, timeout=ANSWER_S
    )
    assert response.status_code == 200
    from_server = response.json()
    from_command = json.loads(poselift("lift", SAMPLE, "--models", "runs/models", folder=trained))
    np.testing.assert_allclose(from_server.pop("poses"), from_command.pop("poses"), atol=SAME_NUMBERS_M)
    assert from_server.pop("timing_ms").keys() == {"queue", "inference", "total"}
    assert from_server["warnings"] == []
    assert from_command.pop("fps") == json.loads(SAMPLE.read_text())["fps"]
    assert from_server == from_command


def test_the_server_is_ready_and_describes_itself(served: str):
    for path in ("/healthz", "/readyz", "/models", "/skeletons", "/docs"):
        assert httpx.get(f"{served}{path}", timeout=ANSWER_S).status_code == 200
    assert [model["name"] for model in httpx.get(f"{served}/models", timeout=ANSWER_S).json()] == ["smoke"]
