"""Inputs of a command as files: standard input, too."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poselift.errors import PoseliftError

STDIN = "-"


def name_of(source: str) -> str:
    """What messages call an input."""
    return "standard input" if source == STDIN else source


@contextmanager
def file_of(source: str) -> Iterator[Path]:
    """The file or folder of an input. Standard input is copied to a file: readers look at it more than once."""
    if source != STDIN:
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            yield path
        except PoseliftError as error:
            raise type(error)(error.message.replace(str(path), name_of(source)), path=error.path) from error
