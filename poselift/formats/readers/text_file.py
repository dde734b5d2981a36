"""The text of a file, in the encodings that programs write."""

import codecs
from pathlib import Path

from poselift.errors import InvalidFile

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Hours of keypoints; parsed, a text takes some ten times as much memory.
_MAX_BYTES = 512 * 2**20


def read_text(path: Path) -> str:
    """Decode a file in UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        InvalidFile: it is no text, or too long.
    """
    if (n_bytes := path.stat().st_size) > _MAX_BYTES:
        raise InvalidFile(
            f"it has {n_bytes} bytes, more than the {_MAX_BYTES} of text that are read; cut the recording into several "
            "files, or save it as an npz archive."
        )
    content = path.read_bytes()
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError:
        raise InvalidFile(
            "it is neither text in UTF-8 or UTF-16 nor a binary file of a known kind; readable are the files of 2D "
            "pose detectors, such as JSON and npz."
        ) from None


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    head = content[:64]
    if len(head) >= 4 and not any(head[1::2]):
        return "utf-16-le"
    if len(head) >= 4 and not any(head[::2]):
        return "utf-16-be"
    return "utf-8"
