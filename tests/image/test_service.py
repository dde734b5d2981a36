"""The image of the server: it lifts the sample with minimal privileges, and stops on SIGTERM."""

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.image.containers import IMAGE, RESTRICTED, TOOL, running_container, skipped_without_image, tool
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, REPOSITORY, START_S, eventually

JSON = {"content-type": "application/json"}
SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
GRACE_S = 40

pytestmark = skipped_without_image


@dataclass(frozen=True)
class ServerContainer:
    container: str
    address: str


@pytest.fixture(scope="module")
def server() -> Iterator[ServerContainer]:
    """A server in a container, on free ports of this machine."""
    ports = {name: free_port() for name in ("PORT", "GRPC_PORT", "METRICS_PORT")}
    options = [f"--env=POSELIFT_{name}={port}" for name, port in ports.items()]
    # Podman needs systemd to run health checks; a test below runs one.
    options += ["--env=POSELIFT_HOST=127.0.0.1", *(["--no-healthcheck"] if TOOL == "podman" else [])]
    with running_container(*options) as container:
        address = f"http://127.0.0.1:{ports['PORT']}"
        eventually(lambda: _is_ready(address), within_s=START_S)
        yield ServerContainer(container, address)


def _is_ready(address: str) -> bool | None:
    try:
        return httpx.get(f"{address}/readyz", timeout=ANSWER_S).is_success or None
    except httpx.TransportError:
        return None


def test_it_lifts_the_sample(server: ServerContainer):
    answer = httpx.post(f"{server.address}/lift", content=SAMPLE.read_bytes(), headers=JSON, timeout=ANSWER_S)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["poses"]) == 100
    (model,) = httpx.get(f"{server.address}/models", timeout=ANSWER_S).json()
    assert model["labels"] == ["stable"]


def test_it_runs_without_privileges(server: ServerContainer):
    process = tool("exec", server.container, "cat", "/proc/1/status", "/proc/1/cmdline").replace("\0", " ")
    status = dict(line.split(":\t", 1) for line in process.splitlines() if ":\t" in line)
    assert all(int(number) > 0 for number in status["Uid"].split())
    assert (status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    assert "python -m poselift_service" in process
    tool("exec", server.container, "touch", "/models/new", code=1)
    tool("exec", server.container, "touch", "/tmp/new")


def test_the_health_check_tells_whether_the_server_is_ready(server: ServerContainer):
    tool("exec", server.container, "python", "/opt/poselift/healthcheck.py")
    tool("exec", "--env=POSELIFT_PORT=1", server.container, "python", "/opt/poselift/healthcheck.py", code=1)
    described = json.loads(tool("image", "inspect", IMAGE))[0]
    assert "/opt/poselift/healthcheck.py" in json.dumps(
        described.get("Healthcheck") or described["Config"]["Healthcheck"]
    )


def test_it_contains_what_the_server_needs_and_no_more(server: ServerContainer):
    for absent in ("poselift_training", "training", "tests", "pytest", "lightning_fabric", "pip"):
        tool("exec", server.container, "python", "-c", f"import {absent}", code=1)
    for present in ("openvino", "s3fs", "opentelemetry.sdk"):
        tool("exec", server.container, "python", "-c", f"import {present}")


def test_it_shuts_down_gracefully(server: ServerContainer):
    started = time.monotonic()
    tool("stop", f"--time={GRACE_S}", server.container)
    assert time.monotonic() - started < GRACE_S
    assert tool("inspect", "--format={{.State.ExitCode}}", server.container) == "0"
    lines = [line for line in tool("logs", server.container).splitlines() if line.startswith("{")]
    assert not lines or json.loads(lines[-1])["message"] == "stopped"


def _catches_sigterm(container: str) -> bool:
    """Whether SIGTERM has a handler; the first process of a container ignores signals without one."""
    caught = next(line for line in tool("exec", container, "cat", "/proc/1/status").splitlines() if "SigCgt" in line)
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)


def test_it_stops_while_it_starts():
    name = tool("run", "--detach", *RESTRICTED, "--env=POSELIFT_PORT=0", "--env=POSELIFT_GRPC_PORT=0", IMAGE)
    try:
        eventually(lambda: _catches_sigterm(name) or None, within_s=START_S)
        tool("stop", f"--time={GRACE_S}", name)
        assert tool("inspect", "--format={{.State.ExitCode}}", name) == "0"
    finally:
        tool("rm", "--force", name)
