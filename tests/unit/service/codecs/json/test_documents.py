"""Where arrays of frames are in the text of a document, and where they are cut."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from poselift_service.codecs.json import documents
from poselift_service.codecs.json.arrays import KEYPOINTS
from poselift_service.codecs.json.documents import Span, find_arrays, pieces, value_end, without_arrays

MAX_BYTES = 800

numbers = st.none() | st.floats(0, 1e6)
frames = st.none() | st.lists(st.none() | st.lists(numbers, min_size=2, max_size=3), min_size=1, max_size=5)
texts = st.text(st.sampled_from('[],"{}: \t01e.-nul'), max_size=3000)


def short_pieces(body: bytes) -> list[Span]:
    """The pieces of an array, with limits at which short texts have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE_BYTES", MAX_BYTES // 2)
        patch.setattr(documents, "MAX_FRAME_BYTES", MAX_BYTES)
        return list(pieces(body, Span(0, len(body))))


@given(st.lists(frames, max_size=60), st.sampled_from([None, 0, 2]))
@example([None] * 300, None)
@example([[[None, None, 0.5], None, [None, None, None]]] * 60, None)
@example([[None, None, None, None, [1, None]]] * 60, None)
def test_an_array_is_cut_between_frames(clip: list[Any], indent: int | None):
    body = json.dumps(clip, indent=indent).encode()
    read = [frame for piece in short_pieces(body) for frame in json.loads(b"[%b]" % body[piece.start : piece.end])]
    assert read == clip


@given(texts)
@example("1," * 1000)
@example("null," * 1000)
@example("x" * 1000)
@example("[[" * 500)
@example(" " * 1000)
def test_pieces_are_short_whatever_the_text(text: str):
    body = f"[{text}]".encode()
    found = short_pieces(body)
    assert max(piece.end - piece.start for piece in found) <= MAX_BYTES
    assert (found[0].start, found[-1].end) == (1, len(body) - 1)
    assert all(piece.end + 1 == following.start for piece, following in itertools.pairwise(found))


@settings(deadline=None)
@given(texts)
@example('{"keypoints": [[[1, 2, 3]]], "tracks": [{"keypoints": [null]}, {"keypoints":[null] }]}')
@example('"keypoints": [' * 50)
@example('{"a": "x\\"keypoints": [1]", "keypoints": [2]}')
def test_what_is_cut_out_are_brackets_after_the_key(text: str):
    body = text.encode()
    spans = find_arrays(body, KEYPOINTS, max_arrays=10, max_bytes_outside=1000)
    for span in spans:
        array = body[span.start : span.end]
        assert (array[:1], array[-1:]) == (b"[", b"]")
        assert b'"' not in array
        assert b"}" not in array
        assert body[: span.start].rstrip().removesuffix(b":").rstrip().endswith(b'"keypoints"')
    assert without_arrays(body, spans).count(b"[null]") >= len(spans)


def test_the_search_ends_after_too_many_arrays_or_too_much_text():
    body = b'{"keypoints": [1]}' * 30
    assert len(find_arrays(body, KEYPOINTS, max_arrays=10, max_bytes_outside=10_000)) == 11
    assert len(find_arrays(body, KEYPOINTS, max_arrays=100, max_bytes_outside=50)) < 5


@pytest.mark.parametrize("value", ["1", "null", "NaN", "-Infinity", '"]"', "[[1, 2], [3]]", '{"a": [1]}', "9" * 5000])
@pytest.mark.parametrize("space", ["", " ", "\n\t  "])
def test_a_value_ends_where_something_else_follows(value: str, space: str):
    body = f"[1,{space}{value}{space},2]".encode()
    assert value_end(body, 3) == len(body) - 3


@pytest.mark.parametrize("text", ["", "]", ",", "nul", "[1, 2", "[" * 100_000, "'a'"])
def test_what_is_no_value_has_no_end(text: str):
    end = value_end(text.encode(), 0)
    assert end is None or end > documents.MAX_FRAME_BYTES


def test_a_value_that_is_too_long_ends_far_away():
    assert value_end(b"[" + b"1," * documents.MAX_FRAME_BYTES + b"1]", 0) == documents.MAX_FRAME_BYTES + 1
    assert value_end(b" " * 2 * documents.MAX_FRAME_BYTES + b"1", 0) == documents.MAX_FRAME_BYTES + 1
