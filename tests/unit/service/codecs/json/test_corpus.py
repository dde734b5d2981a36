"""Over a thousand bodies for each call, valid and invalid: what comes of them has not changed unless it was meant to.

`verdicts.json` has it for each body: the path of its refusal, or a digest of the arrays and values that were read from
it. To see all of it as it is now: `python -m tests.unit.service.codecs.json.test_corpus`.
"""

import asyncio
import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.live import JsonStreamCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.errors import InvalidRequest, ServiceError, code_of
from poselift_service.pipeline.request import Limits, Request
from poselift_service.sessions.session import Opening, Session

from poselift.errors import PoseliftError
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.unit.service.codecs.json.corpus import MAX_FRAMES, MAX_TRACKS, cases

CALLS = ("lift", "complete", "frames")
LIMITS = Limits(frames=MAX_FRAMES, tracks=MAX_TRACKS)
# What pydantic and the parser that it uses say, in words that are not ours.
PYDANTICS = re.compile("Input should|Field required|Extra inputs|Invalid JSON|valid (list|array|integer|string)|EOF")
VERDICTS = Path(__file__).with_name("verdicts.json")


class OpenSession:
    """As much of a session as reading its frames takes."""

    opening = Opening(skeleton("coco17"), 640, 480, 30, 0)


async def read(call: str, body: bytes) -> str:
    """A digest of what is read from a body."""
    reader = JsonReader(LIMITS)
    if call == "frames":
        message = JsonStreamCodec(reader).read_message(body)
        if message.is_end_of_stream:
            return "end"
        arriving = await message.frames(cast(Session, OpenSession()))
        return digest([arriving.first, arriving.keypoints])
    codec = JsonLiftCodec(reader)
    request: Any = await (codec.read_lift(body) if call == "lift" else codec.read_complete(body))
    LIMITS.check(request)
    return digest(values_of(request))


def values_of(request: Request[Any]) -> Iterator[Any]:
    yield from (request.model, request.mirrored_average, request.targets)
    for track in request.tracks:
        yield from (track.track_id, track.sequence.times_s, track.sequence.skeleton.name)
        if isinstance(track.sequence, Sequence):
            yield from (track.sequence.width_px, track.sequence.height_px, track.sequence.keypoints)
        else:
            yield track.sequence.joints


def digest(values: Any) -> str:
    made = hashlib.sha256()
    for value in values:
        is_array = isinstance(value, np.ndarray)
        made.update(f"{value.dtype}{value.shape}".encode() + value.tobytes() if is_array else repr(value).encode())
    return f"={made.hexdigest()[:10]}"


def path_of(refused: ServiceError | PoseliftError) -> str | None:
    assert code_of(refused) == InvalidRequest.code
    assert refused.message.endswith(".")
    assert "\n" not in refused.message
    assert not PYDANTICS.search(refused.message), refused.message
    return refused.path


def verdicts(call: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, body in cases(call):
        try:
            found[name] = asyncio.run(read(call, body))
        except (ServiceError, PoseliftError) as refused:
            found[name] = path_of(refused)
    return found


@pytest.mark.parametrize("call", CALLS)
def test_every_body_has_the_verdict_that_it_had(call: str):
    expected = {name: verdict for verdict, names in json.loads(VERDICTS.read_text())[call] for name in names}
    found = verdicts(call)
    assert found.keys() == expected.keys()
    changed = {name: (expected[name], found[name]) for name in found if found[name] != expected[name]}
    assert not changed


if __name__ == "__main__":
    everything = {}
    for call in CALLS:
        names = defaultdict(list)
        for name, verdict in verdicts(call).items():
            names[verdict].append(name)
        everything[call] = list(names.items())
    json.dump(everything, sys.stdout, separators=(",", ":"))
