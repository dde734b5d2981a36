"""Frames by the numbers in names: of pictures, and of a folder's files, one per frame."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poselift.errors import InvalidFile, PoseliftError

MAX_FRAME_NUMBER = 10**15 - 1
_LISTED = 5


def last_number(name: str) -> int | None:
    """The last number in a name, which is a frame's; None without one that could be."""
    digits = re.findall(r"\d+", name)
    return int(digits[-1]) if digits and len(digits[-1]) <= len(str(MAX_FRAME_NUMBER)) else None


def frame_files(folder: Path, ending: str) -> dict[int, Path]:
    """The files of a folder by the numbers of their frames, in the order of their names.

    Files without a number are not frames, such as settings.

    Args:
        ending: of the files, such as `.json`, in lower case.
    Raises:
        InvalidFile: there are none, they are of several videos, or two have the same number.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() == ending]
    numbered = [(number, path) for path in files if (number := last_number(path.stem)) is not None]
    if not numbered:
        raise InvalidFile(
            f"there are no {ending} files with a frame number in their names, such as 000000{ending}, among its "
            f"{len(files)}."
        )
    videos = sorted({_video(path.stem) for _, path in numbered})
    if len(videos) > 1:
        raise InvalidFile(
            f"there are files of several videos in it: {', '.join(videos[:_LISTED])}; keep one per folder."
        )
    found: dict[int, Path] = {}
    for number, path in numbered:
        if number in found:
            raise InvalidFile(f"{found[number].name} and {path.name} have the same frame number, {number}.")
        found[number] = path
    return found


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Prefix errors about one file of a folder with its name."""
    try:
        yield
    except PoseliftError as error:
        raise InvalidFile(f"{path.name}: {error.message}", path=error.path) from None


def _video(stem: str) -> str:
    """The name of a file without its number, and what follows that."""
    return re.sub(r"\d+\D*$", "", stem).rstrip("_-. ")
