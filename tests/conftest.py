"""What every kind of test may ask for."""

import os
from pathlib import Path

import pytest

# As the server sets it, before anything loads torch: beside other work, threads that spin while they wait take a minute
# for what takes a second.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data that may lie beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the reference data are not there: no {folder.name}/ beside the repository")
    return folder
