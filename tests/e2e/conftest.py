"""A browser, and a server of the shipped model with its page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import chromium
from tests.integration.server_process import ServerProcess, running

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(REPOSITORY / "models", tmp_path_factory.mktemp("page") / "log") as server:
        yield server
