"""Arrays of frames inside the text of a JSON document: where they are, and where they can be cut.

Nothing here parses numbers, so all of it is fast on documents of any length. It relies on this: valid frames contain
neither quotes nor braces. So an array of frames ends at the last bracket before the next quote or brace, and a bracket
that follows a comma and is followed by another one, or by null, begins a frame. In an invalid document these places may
be wrong. What is cut there is then no valid JSON, and is refused when it is parsed.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from poselift.skeletons import Skeleton, skeleton
from poselift_service.codecs.json.arrays import ArrayField
from poselift_service.errors import InvalidRequest

# Pieces of an array are about this long, and take about 0.1 ms to read.
PIECE_BYTES = 32 * 1024
MAX_FRAME_BYTES = 64 * 1024
_PLACEHOLDER = b"[null]"
_UP_TO_ARRAY = re.compile(rb"\s{0,64}:\s{0,64}(?=\[)")
_NEXT_FRAME = re.compile(rb",\s*\[\s*[\[n]")
_SPACE = re.compile(rb"[ \t\n\r]{0,%d}" % MAX_FRAME_BYTES)
_LONGEST_WORD = len("-Infinity")
_COMMA, _CLOSE = b",", b"]"
# Only finds where a value ends: numbers stay text, however many digits they have.
_decoder = json.JSONDecoder(parse_float=str, parse_int=str)

Arrays = dict[str, NDArray[np.float64]]
"""Frames [F, J, 3] by the path of their field."""


class Span(NamedTuple):
    """Where an array stands in a document: its opening bracket, and the position after its closing bracket."""

    start: int
    end: int


def find_arrays(body: bytes, field: ArrayField, *, most: int, beside_bytes: int) -> list[Span]:
    """Find the arrays of a field, in the order of the document.

    Args:
        most: how many there may be; the search ends after one more.
        beside_bytes: how much text there may be outside of them; the search ends where there is more.
    """
    key, position = field.key, 0
    found: list[Span] = []
    # Strings may contain the key as well, but in a valid document these are no more than there are names of tracks.
    for _ in range(2 * (most + 1)):
        match = body.find(key, position, position + beside_bytes)
        if match < 0 or len(found) > most:
            break
        beside_bytes -= match - position
        position = match + len(key)
        up_to_array = _UP_TO_ARRAY.match(body, position)
        # With a backslash before its quote, it is the end of a longer name.
        if up_to_array is None or body[match - 1 : match] == b"\\":
            continue
        start = up_to_array.end()
        end = _array_end(body, start)
        if end:
            found.append(Span(start, end))
            position = end
    return found


def _array_end(body: bytes, start: int) -> int:
    """The position after the closing bracket of the array at `start`; 0 when there is none."""
    stop = body.find(b'"', start)
    if stop < 0:
        stop = len(body)
    brace = body.find(b"}", start, stop)
    return body.rfind(_CLOSE, start, stop if brace < 0 else brace) + 1


def without_arrays(body: bytes, spans: list[Span]) -> bytes:
    """The document with one null frame in place of each array."""
    parts, position = [], 0
    for start, end in spans:
        parts.append(body[position:start])
        position = end
    return _PLACEHOLDER.join([*parts, body[position:]])


def pieces(body: bytes, span: Span) -> Iterator[Span]:
    """Cut an array between frames. The pieces are what stands between brackets or commas; the last may be broken."""
    position = span.start + 1
    while (cut := _next_cut(body, position, span.end - 1)) < span.end - 1:
        yield Span(position, cut)
        position = cut + 1
    yield Span(position, span.end - 1)


def _next_cut(body: bytes, position: int, end: int) -> int:
    """A comma between two frames, at a distance of about one piece; `end` when that is near, or there is none."""
    if end - position <= 2 * PIECE_BYTES:
        return end
    if match := _NEXT_FRAME.search(body, position + PIECE_BYTES, position + 2 * PIECE_BYTES):
        return match.start()
    return _next_cut_after_values(body, position, end)


def _next_cut_after_values(body: bytes, position: int, end: int) -> int:
    """As `_next_cut`, one frame after another: among null frames, or in an array that is broken."""
    stop = position + PIECE_BYTES
    while position < stop:
        after = value_end(body, position)
        if after is None or body[after : after + 1] != _COMMA:
            return end
        position = after + 1
    return position - 1


def value_end(body: bytes, position: int) -> int | None:
    """The position of what follows a JSON value and the space around it; None when there is no value.

    NaN and infinite numbers are values here. Of a value longer than a frame may be, so much is read only, and the
    position is farther away than MAX_FRAME_BYTES.
    """
    text = body[position : position + MAX_FRAME_BYTES].decode("latin-1")  # one character per byte
    begin = skip_space(body, position)
    try:
        _, end = _decoder.raw_decode(text, begin - position)
    except json.JSONDecodeError as error:
        is_cut_off = len(text) == MAX_FRAME_BYTES and error.pos > len(text) - _LONGEST_WORD
        return position + MAX_FRAME_BYTES + 1 if is_cut_off else None
    except RecursionError:
        return None
    return skip_space(body, position + end)


def skip_space(body: bytes, position: int) -> int:
    """The position of the next character that is no space, unless it is farther away than a frame may be long."""
    match = _SPACE.match(body, position)
    assert match is not None, "it matches nothing as well"
    return match.end()


def frames_by_path(form: BaseModel, field: ArrayField) -> dict[str, Any]:
    """What a document has in each of the fields that hold frames, where it is given, by path."""
    given = {} if (frames := getattr(form, field.name)) is None else {field.name: frames}
    for number, track in enumerate(getattr(form, "tracks", None) or ()):
        given[f"tracks[{number}].{field.name}"] = getattr(track, field.name)
    return given


def array_paths(form: BaseModel, field: ArrayField, spans: list[Span]) -> list[str]:
    """The path of each array that was cut out of a document.

    Args:
        form: the rest of the document.
    Raises:
        InvalidRequest: not all of its arrays were cut out, or something else was.
    """
    given = frames_by_path(form, field)
    if list(given.values()) != [[None]] * len(spans):
        raise InvalidRequest(f"The field {field.name} must be given once, and be spelt in plain letters.")
    return list(given)


def skeleton_of(form: BaseModel) -> Skeleton:
    """The skeleton that a document names; raises UnknownSkeleton."""
    name: str = getattr(form, "skeleton")  # noqa: B009
    return skeleton(name)
