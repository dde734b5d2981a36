"""What is read in pieces is what would be read at once."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from poselift_service.codecs.json import documents, long_documents, reader
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.errors import InvalidRequest, ServiceError
from poselift_service.pipeline.request import LiftRequest, Limits, Request

from poselift.errors import PoseliftError

LIMITS = Limits(frames=50, tracks=4)
JOINTS = 17
JOINT = [500.0, 400.0, 0.9]
FRAME = [JOINT] * JOINTS


@contextmanager
def small_pieces() -> Iterator[None]:
    """Even the shortest document has several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "SHORT_BYTES", 0)
        patch.setattr(documents, "PIECE_BYTES", 2500)
        patch.setattr(documents, "MAX_FRAME_BYTES", 5000)
        patch.setattr(long_documents, "MAX_FRAME_BYTES", 5000)
        yield


def read(body: bytes) -> LiftRequest:
    return asyncio.run(JsonLiftCodec(JsonReader(LIMITS)).read_lift(body))


def read_in_pieces(body: bytes) -> LiftRequest:
    with small_pieces():
        return read(body)


def document(**changes: Any) -> dict[str, Any]:
    fields = {"keypoints": [FRAME] * 10, "skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def outcome(read: Callable[[bytes], LiftRequest], body: bytes) -> LiftRequest | InvalidRequest:
    try:
        return read(body)
    except InvalidRequest as refused:
        return refused


def same(one: LiftRequest, other: LiftRequest) -> bool:
    return (one.model, one.mirrored_average, len(one.tracks)) == (
        other.model,
        other.mirrored_average,
        len(other.tracks),
    ) and all(
        a.track_id == b.track_id
        and np.array_equal(a.sequence.keypoints, b.sequence.keypoints, equal_nan=True)
        and np.array_equal(a.sequence.times_s, b.sequence.times_s)
        for a, b in zip(one.tracks, other.tracks, strict=True)
    )


numbers = st.one_of(st.integers(0, 1000), st.floats(0, 1000), st.sampled_from([1e-7, 0, 1e5]))
joints = st.one_of(st.none(), st.tuples(numbers, numbers), st.tuples(numbers, numbers, st.floats(0, 1)))
frames = st.one_of(st.none(), st.lists(joints, min_size=JOINTS, max_size=JOINTS))
clips = st.lists(frames, min_size=1, max_size=8)
names = st.one_of(
    st.text(max_size=12), st.sampled_from(['a"keypoints', "keypoints", "]", '"keypoints": [', "\\", "tracks"])
)
people = st.lists(
    st.fixed_dictionaries({"track_id": names, "keypoints": clips}),
    min_size=1,
    max_size=4,
    unique_by=lambda p: p["track_id"],
)
bodies = st.one_of(
    st.builds(lambda clip: document(keypoints=clip), clips),
    st.builds(lambda tracks: document(keypoints=..., tracks=tracks), people),
)


def text_of(value: Any, indent: int | None, ascii_only: bool) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")


@settings(deadline=None, max_examples=40)
@given(bodies, st.sampled_from([None, 0, 3]), st.booleans())
def test_a_document_is_the_same_request(value: dict[str, Any], indent: int | None, ascii_only: bool):
    body = text_of(value, indent, ascii_only)
    expected, taken = outcome(read, body), outcome(read_in_pieces, body)
    if isinstance(expected, Request):
        assert isinstance(taken, Request), taken
        assert same(taken, expected)
    else:
        assert isinstance(taken, InvalidRequest)
        assert taken.path == expected.path


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A document with some bytes replaced, taken away, moved, or put in."""
    body = bytearray(text_of(draw(bodies), None, True))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(body)))
        end = min(len(body), begin + draw(st.integers(0, 4)))
        body[begin:end] = draw(
            st.one_of(
                st.sampled_from(
                    [b"", b",", b"]", b"[", b"]]", b"{", b"}", b'"', b"null", b"NaN", b"\\", b'"keypoints":[]']
                ),
                st.binary(max_size=3),
            )
        )
    return bytes(body)


@settings(deadline=None, max_examples=100)
@given(mutated())
@example(b'{"keypoints":[]]')
@example(b'{"keypoints":[[')
@example(b'{"x\\"keypoints":[1],"keypoints":[null]}')
def test_a_body_refused_at_once_is_refused_in_pieces(body: bytes):
    try:
        taken = read_in_pieces(body)
    except (ServiceError, PoseliftError):
        return
    assert same(taken, read(body))


@pytest.mark.parametrize("at", [0, 4, 9])
@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ([*FRAME[:5], ["x", 1, 1], *FRAME[6:]], "keypoints[{at}][5][0]"),
        ([*FRAME[:5], [1, 1, 87], *FRAME[6:]], "keypoints[{at}][5][2]"),
        ([*FRAME[:5], [1, 1e9, 1], *FRAME[6:]], "keypoints[{at}][5][1]"),
        ([*FRAME[:5], [float("inf"), 1, 1], *FRAME[6:]], "keypoints[{at}][5][0]"),
        ([*FRAME[:5], [1], *FRAME[6:]], "keypoints[{at}][5]"),
        (FRAME[:16], "keypoints[{at}]"),
        ({"a": [1, 2], "b": 3}, "keypoints[{at}]"),
        (7, "keypoints[{at}]"),
        ("][", "keypoints[{at}]"),
        ([JOINT, *[[[1] * 5000]] * 16], "keypoints[{at}]"),
    ],
)
def test_the_path_of_a_fault_is_that_in_the_whole_document(wrong: Any, path: str, at: int):
    clip: list[Any] = [FRAME] * 10
    clip[at] = wrong
    for value, prefix in (
        (document(keypoints=clip), ""),
        (document(keypoints=..., tracks=[track(n, clip) for n in range(2)]), "tracks[0]."),
    ):
        with pytest.raises(InvalidRequest) as refused:
            read_in_pieces(json.dumps(value).encode())
        assert refused.value.path == prefix + path.format(at=at), refused.value.message


def track(name: object, clip: list[Any]) -> dict[str, Any]:
    return {"track_id": str(name), "keypoints": clip}


def ended(fields: dict[str, Any], end: str) -> str:
    """A document whose last part is not what a JSON library would write."""
    return f"{json.dumps(fields)[:-1]}, {end}"


TOO_MUCH = {
    "frames": (json.dumps(document(keypoints=[None] * 51)), "keypoints"),
    "frames in all": (json.dumps(document(keypoints=..., tracks=[track(n, [None] * 26) for n in (1, 2)])), "tracks"),
    "tracks": (json.dumps(document(keypoints=..., tracks=[track(n, [None]) for n in range(5)])), "tracks"),
    "of something else": (ended(document(), '"a": [' + "1," * 60_000), None),
    "of the name": (ended(document(), '"keypoints", ' * 60), None),
    "opened": (ended(document(keypoints=...), '"keypoints": [' + "[" * 5000), None),
    "space": (ended(document(keypoints=...), '"keypoints": [' + " " * 6000 + "]}"), "keypoints"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much_is_refused_before_it_is_parsed(what: str):
    body, path = TOO_MUCH[what]
    with pytest.raises(InvalidRequest) as refused:
        read_in_pieces(body.encode())
    assert refused.value.path == path, refused.value.message


def test_keypoints_are_given_once():
    clip = json.dumps([FRAME])
    fields = json.dumps(document(keypoints=...))[:-1]
    for twice in (f'"keypoints": {clip}, "keypoints": {clip}', f'"keyp\\u006fints": {clip}'):
        with pytest.raises(InvalidRequest, match="once"):
            read_in_pieces(f"{fields}, {twice}}}".encode())


async def test_other_tasks_run_while_a_long_document_is_read():
    """Counted, not timed: how often another task runs meanwhile."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    body = json.dumps(document(keypoints=[FRAME] * 3000)).encode()
    other = asyncio.create_task(count_turns())
    codec = JsonLiftCodec(JsonReader(Limits(frames=10_000, tracks=4)))
    both = await asyncio.gather(codec.read_lift(body), codec.read_lift(body))
    other.cancel()
    assert [request.frames for request in both] == [3000, 3000]
    assert turns > 2 * (3000 // 128)
