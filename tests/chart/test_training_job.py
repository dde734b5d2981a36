"""The pods of an indexed Job, run as processes of this machine, train one model together and publish it once."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from poselift.artifacts.repository import list_artifacts
from tests.chart.rendering import REPOSITORY, render
from tests.integration.redis_process import free_port

RECORDING = REPOSITORY / "tests" / "data" / "cmu_05_15_cut.bvh"
NODES = 2
TRAINING_S = 300

VALUES: dict[str, Any] = {
    "models": {"source": "volume", "volume": {"claimName": "models"}},
    "training": {
        "runsClaimName": "runs",
        "dataClaimName": "data",
        "jobs": {
            "tiny": {
                "stage": "finetune",
                "recipe": "smoke",
                "nodes": NODES,
                "overrides": ["data.root=/data", "steps=4", "batch_size=4", "accelerator=cpu"],
            }
        },
    },
}


def test_pods_that_train_together_publish_one_model(tmp_path: Path):
    convert = ["-m", "poselift", "data", "bvh", RECORDING, "--out", tmp_path / "data" / "cmu.npz"]
    convert += ["--unit-m", "0.056444", "--skip", "1"]
    subprocess.run([sys.executable, *map(str, convert)], cwd=REPOSITORY, check=True, timeout=TRAINING_S)
    (pod,) = (found["spec"]["template"]["spec"] for found in render(VALUES) if found["kind"] == "Job")
    (container,) = pod["containers"]
    port = free_port()
    running = [_start(container, index, tmp_path, port) for index in range(NODES)]
    said = [process.communicate(timeout=TRAINING_S)[0] for process in running]
    assert [process.returncode for process in running] == [0] * NODES, "\n".join(said)
    assert [found.reference for found in list_artifacts(tmp_path / "models")] == ["smoke@1"]
    assert (tmp_path / "runs" / "smoke").is_dir()


def _start(container: dict[str, Any], index: int, folder: Path, port: int) -> "subprocess.Popen[str]":
    """A pod's process. Here the first pod is this machine, and its mounts are folders."""
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    given |= {"JOB_COMPLETION_INDEX": str(index), "POSELIFT_FIRST_POD": "127.0.0.1"}
    words = [
        re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], word).replace("=29500", f"={port}")
        for word in [*container["command"], *container["args"]]
    ]
    words = [re.sub(r"=/(runs|data|models)$", rf"={folder}/\1", word) for word in words]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        words,
        cwd=REPOSITORY,
        env={**os.environ, **given, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
