"""Arrays of frames inside the text of a JSON document: where they are, and where they can be cut.

Numbers are not parsed here, so all of it is fast on documents of any length. It relies on valid frames having neither
quotes nor braces. An array of frames then ends at the last bracket before the next quote or brace; and a frame begins
where a comma is followed by a bracket and what no joint holds: a bracket, or more than three values. In an invalid
document these places may be wrong. The pieces cut there are not valid JSON, and are refused when they are parsed.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.skeletons import Skeleton, skeleton
from poselift_service.codecs.json.arrays import ArrayField
from poselift_service.codecs.json.forms import AnswerForm, CompleteForm, FramesForm, LiftForm
from poselift_service.errors import InvalidRequest

# Pieces of an array are about this long, and take about 0.1 ms to read.
PIECE_BYTES = 32 * 1024
_MAX_VALUES_PER_PIECE = 128
# The longest piece, and so the longest frame.
MAX_FRAME_BYTES = 2 * PIECE_BYTES
_PLACEHOLDER = b"[null]"
_UP_TO_ARRAY = re.compile(rb"\s{0,64}:\s{0,64}(?=\[)")
_NEXT_FRAME = re.compile(rb",\s*\[\s*(?:(?:null\s*,\s*){0,2}\[|(?:null\s*,\s*){3})")
_SPACE = re.compile(rb"[ \t\n\r]{0,%d}" % MAX_FRAME_BYTES)
_LONGEST_WORD = len("-Infinity")
_COMMA, _CLOSE = b",", b"]"
# Only finds where a value ends: numbers stay text, however many digits they have.
_decoder = json.JSONDecoder(parse_float=str, parse_int=str)

AnyForm = LiftForm | CompleteForm | FramesForm | AnswerForm
Arrays = dict[str, NDArray[np.float64]]
"""Frames [F, J, 3] by the path of their field."""


class Span(NamedTuple):
    """Where an array stands in a document: its opening bracket, and the position after its closing bracket."""

    start: int
    end: int


def find_arrays(body: bytes, field: ArrayField, *, max_arrays: int, max_bytes_outside: int) -> list[Span]:
    """Find the arrays of a field, in the order of the document.

    Args:
        max_arrays: the search ends after one more.
        max_bytes_outside: the search ends when so much text that is in no array has been searched.
    """
    key, position = field.key, 0
    found: list[Span] = []
    # Names of tracks may be like the key; in a valid document there are as many names as arrays, and the model's.
    for _ in range(2 * (max_arrays + 1)):
        match = body.find(key, position, position + max_bytes_outside)
        if match < 0 or len(found) > max_arrays:
            break
        max_bytes_outside -= match + len(key) - position
        position = match + len(key)
        up_to_array = _UP_TO_ARRAY.match(body, position)
        # After a backslash, the quote is part of a longer string.
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
    """Cut an array between frames into pieces, without the brackets and commas around them.

    None is longer than MAX_FRAME_BYTES. An invalid array may be cut elsewhere.
    """
    position = span.start + 1
    while (cut := _next_cut(body, position, span.end - 1)) < span.end - 1:
        yield Span(position, cut)
        position = cut + 1
    yield Span(position, span.end - 1)


def _next_cut(body: bytes, position: int, end: int) -> int:
    """The position of a comma between two frames, about one piece away; `end` when that is near, or there is none."""
    if end - position <= MAX_FRAME_BYTES:
        return end
    if match := _NEXT_FRAME.search(body, position + PIECE_BYTES, position + MAX_FRAME_BYTES):
        return match.start()
    return _next_cut_after_values(body, position, end)


def _next_cut_after_values(body: bytes, position: int, end: int) -> int:
    """As `_next_cut`, value by value: in a long row of null frames, or in an array that is invalid."""
    farthest = min(end, position + MAX_FRAME_BYTES)
    cut = None
    for _ in range(_MAX_VALUES_PER_PIECE):
        after = value_end(body, position)
        if after is None or body[after : after + 1] != _COMMA:
            return farthest
        if after >= farthest:
            break
        cut, position = after, after + 1
    return cut or farthest


def value_end(body: bytes, position: int) -> int | None:
    """The position after a JSON value and the space around it; None when there is no value.

    NaN and infinite numbers are values here. When the value does not end within MAX_FRAME_BYTES, the position is beyond
    them.
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
    """The position of the next character that is no space, but at most MAX_FRAME_BYTES further on."""
    match = _SPACE.match(body, position)
    assert match is not None, "it matches the empty text"
    return match.end()


def frames_by_path(form: AnyForm, field: ArrayField) -> dict[str, Any]:
    """The values of the fields that hold frames, by path, but for missing ones."""
    given = {field.name: getattr(form, field.name)}
    for number, track in enumerate(form.tracks or ()):
        given[f"tracks[{number}].{field.name}"] = getattr(track, field.name)
    return {path: frames for path, frames in given.items() if frames is not None}


def array_paths(form: AnyForm, field: ArrayField, spans: list[Span]) -> list[str]:
    """The path of each array that was cut out of a document.

    Args:
        form: the rest of the document.
    Raises:
        InvalidRequest: an array was not cut out, or something else was.
    """
    given = frames_by_path(form, field)
    if list(given.values()) != [[None]] * len(spans):
        raise InvalidRequest(f"The field {field.name} must be given once, and without escapes in its name.")
    return list(given)


def skeleton_of(form: LiftForm | CompleteForm | FramesForm) -> Skeleton:
    """The skeleton that a document names; raises UnknownSkeleton."""
    assert not isinstance(form, FramesForm), "the session has it"
    return skeleton(form.skeleton)
