"""Runs containers of a built image.

The environment variable IMAGE names the image, CONTAINER_TOOL the tool that has it: podman or docker.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND_S = 300
IMAGE = os.environ.get("IMAGE", "")
TOOL = os.environ.get("CONTAINER_TOOL") or next((tool for tool in ("podman", "docker") if shutil.which(tool)), "")
# The privileges of a container in the chart.
RESTRICTED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")

skipped_without_image = pytest.mark.skipif(
    not IMAGE or not TOOL, reason="`make image` builds the image and runs this test, with podman or docker"
)


def tool(*arguments: str, code: int = 0) -> str:
    """Run podman or docker with the expected exit code; returns its standard output."""
    environment = dict(os.environ)
    if not Path("/run/systemd/system").is_dir():
        environment.setdefault("CONTAINERS_CONF", str(Path(__file__).with_name("containers.conf")))
    result = subprocess.run(
        [TOOL, *arguments], env=environment, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    assert result.returncode == code, f"{arguments}: {result.stdout}{result.stderr}"
    return result.stdout.strip()


@contextmanager
def running_container(*options: str) -> Iterator[str]:
    """Start a restricted container of the image; yields its name."""
    name = tool("run", "--detach", *RESTRICTED, *options, IMAGE)
    try:
        yield name
    finally:
        tool("rm", "--force", name)
