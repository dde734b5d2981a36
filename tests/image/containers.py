"""Containers of an image that has been built, run with podman or docker; the image is named by the variable IMAGE."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND_S = 300
IMAGE = os.environ.get("IMAGE", "")
TOOL = next((tool for tool in ("podman", "docker") if shutil.which(tool)), "")
# As little as the chart leaves to a container.
RESTRICTED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")

skipped_without_image = pytest.mark.skipif(
    not IMAGE or not TOOL, reason="`make image` builds an image and runs this, where there is podman or docker"
)


def tool(*arguments: str, code: int = 0) -> str:
    """Run podman or docker; returns what it says on standard output."""
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
    """Start a container of the image, restricted; gives its name."""
    name = tool("run", "--detach", *RESTRICTED, *options, IMAGE)
    try:
        yield name
    finally:
        tool("rm", "--force", name)
