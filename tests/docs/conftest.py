"""What the commands of the documents run against: a copy of the checkout, a server, an object store, given files."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.documents import REPOSITORY
from tests.docs.given import publish_served_models, write_given_files
from tests.integration.redis_process import free_port
from tests.integration.s3_process import running_s3
from tests.integration.server_process import running

# The ports that the documents name, each a setting.
PORTS = {"port": 8000, "grpc_port": 8001, "metrics_port": 8002}
# Copied, because commands write there; the rest of the checkout is linked.
WRITTEN = ("models",)
LEFT_OUT = (".git", ".venv", "runs", "data", "build", "dist")


@dataclass(frozen=True)
class Workplace:
    """Where a document's blocks run.

    Attributes:
        folder: looks like the checkout.
        ports: port of this server for each port that documents name.
    """

    folder: Path
    environment: dict[str, str]
    ports: dict[int, int]

    def localised(self, text: str) -> str:
        """Replace the addresses in a block by those of this server."""
        for named, actual in self.ports.items():
            text = text.replace(f"127.0.0.1:{named}", f"127.0.0.1:{actual}")
        return text


@pytest.fixture(scope="session")
def object_store() -> Iterator[dict[str, str]]:
    """The environment in which `s3://bucket` is an empty bucket."""
    with running_s3() as environment:
        import s3fs  # type: ignore[import-untyped]

        client = {"endpoint_url": environment["AWS_ENDPOINT_URL"]}
        key, secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        s3fs.S3FileSystem(key=key, secret=secret, client_kwargs=client, skip_instance_cache=True).mkdir("bucket")
        yield environment


@pytest.fixture
def workplace(tmp_path: Path, object_store: dict[str, str]) -> Callable[[bool], AbstractContextManager[Workplace]]:
    """Make a workplace, with a server where one is asked for."""

    @contextlib.contextmanager
    def make(with_server: bool) -> Iterator[Workplace]:
        folder = _checkout(tmp_path / "poselift")
        write_given_files(folder)
        environment = _environment(folder, tmp_path / "home", object_store)
        if not with_server:
            yield Workplace(folder, environment, {})
            return
        free = {name: free_port() for name in PORTS}
        settings = {**free, "admin": True, "default_model": "pstmo-tiny-27", "load": "pose@1,completing-27"}
        repository = tmp_path / "served-models"
        shutil.copytree(REPOSITORY / "models", repository)
        publish_served_models(repository)
        with running(repository, tmp_path / "log", **settings):
            yield Workplace(folder, environment, {PORTS[name]: port for name, port in free.items()})

    return make


def _checkout(folder: Path) -> Path:
    folder.mkdir()
    for entry in REPOSITORY.iterdir():
        if entry.name in WRITTEN:
            shutil.copytree(entry, folder / entry.name)
        elif entry.name not in LEFT_OUT:
            (folder / entry.name).symlink_to(entry)
    return folder


def _environment(folder: Path, home: Path, object_store: dict[str, str]) -> dict[str, str]:
    """The environment of a newcomer's shell, with the one thing it needs besides: the commands of this environment."""
    home.mkdir()
    tools = home / "bin"
    tools.mkdir()
    # Not links: an interpreter finds its environment by its own place.
    for name, module in (("python", ""), ("poselift", "-m poselift ")):
        (tools / name).write_text(f'#!/bin/sh\nexec {json.dumps(sys.executable)} {module}"$@"\n')
        (tools / name).chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POSELIFT_")}
    paths = [str(REPOSITORY), str(REPOSITORY / "service"), str(REPOSITORY / "training")]
    return {
        **inherited,
        **object_store,
        "HOME": str(home),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "POSELIFT_ENGINE": "torch",
        "POSELIFT_THREADS": "1",
    }
