"""Damaged files: cut, doubled, reordered, and with other values than they should have."""

import io
import random
import re
import zipfile

_CELLS = (
    *(
        "",
        "nan",
        "-1",
        "0",
        "1e308",
        "-1e-308",
        "inf",
        "abc",
        "true",
        "9" * 30,
        "1,5",
        "é",
        "\x00",
        '"',
        "'",
        "[",
        "{}",
    ),
    *("null", "[]", '"keypoints"', '"x"', '"name"', "[[[[", "1" * 400, '"' + "7" * 5000 + '"'),
    *("x", "nose_x", "frame", "scorer", "coords", "individuals", "track", "time", "joint", "\n", "\t", ";", " "),
)
_SEPARATORS = re.compile(rb"([,;\t\n\[\]{}: ]+)")


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Content with one to three kinds of damage."""
    for _ in range(chance.randint(1, 3)):
        content = chance.choice(_DAMAGES)(content, chance)
    return content


def damaged_archive(content: bytes, chance: random.Random) -> bytes:
    """An archive, one of whose members is damaged and has the check sum for it; or one that is damaged itself."""
    if chance.random() < 0.1:
        return damaged(content, chance)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(target, "w") as other:
        victim = chance.choice(archive.namelist())
        for name in archive.namelist():
            member = archive.read(name)
            other.writestr(name, damaged(member, chance) if name == victim else member)
    return target.getvalue()


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randint(0, len(content))]


def _without_part(content: bytes, chance: random.Random) -> bytes:
    first, last = _part(content, chance)
    return content[:first] + content[last:]


def _doubled(content: bytes, chance: random.Random) -> bytes:
    first, last = _part(content, chance)
    return content[:last] + content[first:last] * chance.choice((1, 1, 1, 20)) + content[last:]


def _reordered(content: bytes, chance: random.Random) -> bytes:
    first, last = _part(content, chance)
    other = chance.randint(last, len(content))
    return content[:first] + content[last:other] + content[first:last] + content[other:]


def _other_bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(min(chance.randint(1, 8), len(changed))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _other_cells(content: bytes, chance: random.Random) -> bytes:
    cells = _SEPARATORS.split(content)
    for _ in range(chance.randint(1, 4)):
        other = chance.choice(_CELLS).encode() if chance.random() < 0.8 else chance.choice(cells)
        cells[chance.randrange(len(cells))] = other
    return b"".join(cells)


def _other_lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    for _ in range(chance.randint(1, 3)):
        here, there = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[here] = lines[there]
    if chance.random() < 0.2:
        chance.shuffle(lines)
    return b"\n".join(lines)


def _part(content: bytes, chance: random.Random) -> tuple[int, int]:
    first = chance.randint(0, len(content))
    return first, min(first + chance.choice((1, 4, 30, 300, len(content))), len(content))


_DAMAGES = (_cut, _without_part, _doubled, _reordered, _other_bytes, _other_cells, _other_cells, _other_lines)
