"""What is in the repository, beside what it says."""

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LINK = "120000"


def test_no_file_is_a_link_to_somewhere_else() -> None:
    """Nobody else has what such a link leads to, and it is in the way of who makes a folder of its name."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no git repository")
    listing = subprocess.run(
        ("git", "ls-files", "--stage"), cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    links = [REPOSITORY / line.split("\t")[1] for line in listing.splitlines() if line.startswith(LINK)]
    assert [link for link in links if not link.resolve().is_relative_to(REPOSITORY)] == []
