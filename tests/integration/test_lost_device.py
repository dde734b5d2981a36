"""A server whose GPU stops working, played by a network that raises what PyTorch raises then."""

import json
import subprocess
import sys
from pathlib import Path

import httpx

from tests.integration.server_process import ANSWER_S, REPOSITORY, STOP_S, _announced_address, environment, eventually
from tests.integration.walking import at_rate, body, keypoints

LOSABLE = """
import sys
from pathlib import Path
from poselift_service.__main__ import main
from poselift.networks.network import DeviceLost
from poselift.networks.torch_cpu import TorchNetwork

lift = TorchNetwork.lift

def lift_unless_lost(network, *batch):
    if Path(sys.argv[1]).exists():
        raise DeviceLost("The GPU no longer works: an illegal memory access was encountered")
    return lift(network, *batch)

TorchNetwork.lift = lift_unless_lost
sys.exit(main())
"""


def test_a_server_without_its_gpu_is_not_ready_and_ends(models: Path, tmp_path: Path):
    lost, log = tmp_path / "lost", tmp_path / "log"
    clip = body(keypoints(at_rate(50, 30)))
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", LOSABLE, str(lost)],
            cwd=REPOSITORY,
            env=environment(models),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = _announced_address(process, process.stdout)
            assert address is not None, log.read_text()
            with httpx.Client(base_url=address, timeout=ANSWER_S) as client:
                assert client.get("/readyz").status_code == 200
                assert client.post("/lift", json=clip).status_code == 200
                lost.touch()
                response = client.post("/lift", json=clip)
                assert (response.status_code, response.json()["error"]["code"]) == (500, "engine_failed")
                assert eventually(lambda: client.get("/readyz").status_code == 503 or None)
            assert process.wait(STOP_S) == 3
        finally:
            process.kill()
    *lines, last = log.read_text().splitlines()
    assert last == "The GPU no longer works in this process, so the server has stopped."
    assert [json.loads(line)["message"] for line in lines][-1] == "stopped"


def test_a_gpu_that_is_lost_at_the_start_ends_the_server(models: Path, tmp_path: Path):
    lost = tmp_path / "lost"
    lost.touch()
    done = subprocess.run(
        [sys.executable, "-c", LOSABLE, str(lost)],
        cwd=REPOSITORY,
        env=environment(models),
        capture_output=True,
        text=True,
        timeout=STOP_S,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.endswith("The GPU no longer works: an illegal memory access was encountered\n")
