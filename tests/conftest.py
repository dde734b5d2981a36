"""What every kind of test may ask for."""

import os
import signal
from pathlib import Path

import pytest

# As the server sets it, before anything loads torch: beside other work, threads that spin while they wait take a minute
# for what takes a second.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell has SIGINT ignored in what it starts in the background, and whatever the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data that may lie beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the reference data are not there: no {folder.name}/ beside the repository")
    return folder
