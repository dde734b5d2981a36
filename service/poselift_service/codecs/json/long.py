"""Long documents in JSON, read and written a piece at a time, so that live frames wait for a piece and not for a book.

Parsers hold Python's lock, so a thread would not help. Where each array of keypoints begins and ends, and where its
frames do, is found from its brackets. The document without these arrays goes through the schema like any other; the
arrays are parsed in pieces of some frames, and whoever waits has his turn after each.

Brackets inside of strings are not told apart. That is no risk: in an array of keypoints every string is refused, by the
parser or as no number, and where it makes an array seem to end too early, what is left is not JSON.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from poselift.skeletons import Skeleton, skeleton
from poselift_service.codecs.json import lift as json_form
from poselift_service.codecs.json import live as live_json
from poselift_service.codecs.json.joints import KEYPOINTS, POSES, Arrays, Kind, joint_array
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.lift import Result
from poselift_service.pipeline.request import CompleteRequest, LiftRequest, Limits
from poselift_service.sessions.session import Session

# Read in one go: some milliseconds.
_SHORT_BYTES = 128 * 1024
_SHORT_FRAMES = 300
_SCANNED_BYTES = 64 * 1024
_PIECE_BYTES, _PIECE_FRAMES = 64 * 1024, 128
# What is not keypoints is read in one go, however long the document: names, and times or targets of each frame.
_REST_BYTES, _REST_BYTES_PER_FRAME = 2 * _SHORT_BYTES, 64
_UP_TO_ARRAY = re.compile(rb"\s{0,64}:\s{0,64}(?=\[)")
_PLACEHOLDER = b"[null]"
_FRAMES = TypeAdapter(json_form.Frames, config=ConfigDict(strict=True))
_POSE_FRAMES = TypeAdapter(json_form.PoseFrames, config=ConfigDict(strict=True))
# In ASCII, a brace is a bracket with this bit, and the two of a pair are one apart from each other's middle.
_BRACE_BIT, _OPEN, _CLOSE, _COMMA = 0x20, ord("{"), ord("}"), ord(",")

Asked = TypeVar("Asked", json_form.LiftForm, json_form.CompleteForm)


@dataclass(frozen=True)
class _Array:
    """Where an array of keypoints stands in a document.

    Attributes:
        start, end: position of its opening bracket, and the one after its closing bracket.
        bounds: [F + 1] positions around its frames: of its brackets, and of the commas between; none when it is empty.
    """

    start: int
    end: int
    bounds: NDArray[np.int64]

    @property
    def frames(self) -> int:
        return max(0, len(self.bounds) - 1)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Slices of its frames that together are no longer than a piece, unless a single frame is."""
        first = 0
        while first < self.frames:
            fitting = int(np.searchsorted(self.bounds, self.bounds[first] + _PIECE_BYTES, side="right")) - 1
            last = max(first + 1, min(fitting, first + _PIECE_FRAMES, self.frames))
            yield first, last
            first = last


class LongJson:
    """Reads and writes long documents, one at a time; short ones are read at once, as if this were not here."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = asyncio.Lock()

    async def read_lift(self, body: bytes) -> LiftRequest:
        """As `json_form.read`, which raises the same."""
        if len(body) <= _SHORT_BYTES:
            return json_form.read(body)
        return json_form.request_of(*await self._read(body, json_form.LiftForm, KEYPOINTS))

    async def read_complete(self, body: bytes) -> CompleteRequest:
        """As `json_form.read_complete`, which raises the same."""
        if len(body) <= _SHORT_BYTES:
            return json_form.read_complete(body)
        return json_form.complete_request_of(*await self._read(body, json_form.CompleteForm, POSES))

    async def read_frames(self, body: bytes, session: Session) -> tuple[int, NDArray[np.float32]]:
        """As `live_json.read_frames`, which raises the same."""
        if len(body) <= _SHORT_BYTES:
            return live_json.read_frames(body, session)
        async with self._turn:
            rest, found = await self._take_out(body, KEYPOINTS)
            form = json_form.validated(live_json.FramesForm, rest)
            arrays = await _read_all(body, found, {"keypoints": form.keypoints}, KEYPOINTS, session.opening.source)
            return live_json.frames_of(form, arrays, session)

    async def write(self, result: Result, *, total_s: float) -> bytes:
        """As `json_form.write`."""
        if sum(len(track.lifted.joints) for track in result.tracks) <= _SHORT_FRAMES:
            return json_form.write(result, total_s=total_s)
        async with self._turn:
            document = json_form.answer_to(result, total_s=total_s)
            for person in document.get("tracks", [document]):
                for name, values in person.items():
                    if isinstance(values, np.ndarray):
                        person[name] = await _written(values)
            return orjson.dumps(document)

    async def _read(self, body: bytes, schema: type[Asked], kind: Kind) -> tuple[Asked, Arrays]:
        """A document without its keypoints (or poses), and these by path."""
        async with self._turn:
            rest, found = await self._take_out(body, kind)
            form = json_form.validated(schema, rest)
            people: dict[str, BaseModel] = {"": form}
            people |= {f"tracks[{number}].": track for number, track in enumerate(form.tracks or ())}
            fields = {f"{prefix}{kind.name}": getattr(person, kind.name) for prefix, person in people.items()}
            left = {path: frames for path, frames in fields.items() if frames is not None}
            return form, await _read_all(body, found, left, kind, skeleton(form.skeleton))

    async def _take_out(self, body: bytes, kind: Kind) -> tuple[bytes, list[_Array]]:
        """A document with one null frame in the place of each array of keypoints, and where these are."""
        found = [array async for array in self._arrays(body, kind)]
        most = _REST_BYTES + _REST_BYTES_PER_FRAME * self._limits.frames
        if len(body) - sum(array.end - array.start for array in found) > most:
            raise InvalidRequest(f"Beside its {kind.name}, a body may have at most {most} bytes.")
        ends, starts = [0, *(array.end for array in found)], [*(array.start for array in found), len(body)]
        return _PLACEHOLDER.join(body[end:start] for end, start in zip(ends, starts, strict=True)), found

    async def _arrays(self, body: bytes, kind: Kind) -> AsyncIterator[_Array]:
        key = f'"{kind.name}"'.encode()
        keys, arrays, frames, position = 0, 0, 0, 0
        while (position := body.find(key, position)) >= 0:
            keys, position = keys + 1, position + len(key)
            if keys > 2 * (1 + self._limits.tracks):  # nobody calls all tracks like this
                raise InvalidRequest(f"The body is full of {kind.name} that are none.")
            before_array = _UP_TO_ARRAY.match(body, position)
            # With a backslash before its quote, it is the end of a longer name.
            if before_array is None or body[position - len(key) - 1 : position - len(key)] == b"\\":
                continue
            start = before_array.end()
            path = kind.name if body.find(b'"tracks"', 0, start) < 0 else "tracks"
            array = await self._array_at(body, start, path, frames)
            position, arrays, frames = array.end, arrays + 1, frames + array.frames
            self._limits.check_counts(tracks=arrays, frames=frames, path=path)
            if array.frames:
                yield array

    async def _array_at(self, body: bytes, start: int, path: str, frames: int) -> _Array:
        """The array that begins there; its size is checked on the way, with the frames that were there before."""
        depth, commas = 0, []
        for begin in range(start, len(body), _SCANNED_BYTES):
            block = np.frombuffer(body, np.uint8, min(_SCANNED_BYTES, len(body) - begin), begin)
            folded = block | _BRACE_BIT
            steps = (folded == _OPEN).view(np.int8) - (folded == _CLOSE).view(np.int8)
            depths = depth + np.cumsum(steps, dtype=np.int32)
            ends = np.flatnonzero(depths <= 0)
            inside = depths[: ends[0]] if len(ends) else depths
            commas.append(begin + np.flatnonzero((block[: len(inside)] == _COMMA) & (inside == 1)))
            frames += len(commas[-1])
            if frames > self._limits.frames:
                raise InvalidRequest(
                    f"A request may hold at most {self._limits.frames} frames; this one has more.", path=path
                )
            await asyncio.sleep(0)
            if len(ends):
                end = begin + int(ends[0])
                between = np.concatenate(commas)
                is_empty = len(between) == 0 and end - start < _PIECE_BYTES and not body[start + 1 : end].strip()
                return _Array(start, end + 1, np.array([] if is_empty else [start, *between, end], dtype=np.int64))
            depth = int(depths[-1])
        raise InvalidRequest(f"The body cannot be read: an array in {path} does not end.")


async def _read_all(body: bytes, found: list[_Array], left: dict[str, Any], kind: Kind, source: Skeleton) -> Arrays:
    """The arrays, by path; `left` says, in the order of the document, what is left in their places."""
    if len(found) != len(left) or any(frames != [None] for frames in left.values()):
        raise InvalidRequest(f"The field {kind.name} must be given once, and be spelt in plain letters.")
    arrays: Arrays = {}
    for path, array in zip(left, found, strict=True):
        pieces = []
        for first, last in array.pieces():
            pieces.append(_read_piece(body, array, first, last, kind, source, path))
            await asyncio.sleep(0)
        arrays[path] = np.concatenate(pieces)
    return arrays


def _read_piece(
    body: bytes, array: _Array, first: int, last: int, kind: Kind, source: Skeleton, path: str
) -> NDArray[np.float64]:
    begin, end = int(array.bounds[first]) + 1, int(array.bounds[last])
    if end - begin > _PIECE_BYTES:
        raise InvalidRequest(f"A frame may have at most {_PIECE_BYTES} bytes.", path=f"{path}[{first}]")
    piece = b"[" + body[begin:end] + b"]"
    try:
        joints = joint_array(orjson.loads(piece), kind, source)
    except orjson.JSONDecodeError:
        joints = None
    if joints is None or len(joints) != last - first:
        raise _what_is_wrong(piece, kind, source, path, first)
    return joints


def _what_is_wrong(piece: bytes, kind: Kind, source: Skeleton, path: str, first: int) -> InvalidRequest:
    """The schema knows; that of `piece` alone, whose first frame has the number `first`."""
    frames = _FRAMES if kind is KEYPOINTS else _POSE_FRAMES
    try:
        json_form.joints_of(None, frames.validate_json(piece), kind, source, path, first=first)
    except ValidationError as error:
        if error.errors()[0]["type"] != "json_invalid":
            return json_form.refusal(error, path=path, first=first)
    except InvalidRequest as refused:
        return refused
    return InvalidRequest(f"The body cannot be read: {path} is broken, as JSON, in a frame from {first} on.")


async def _written(values: NDArray[Any]) -> orjson.Fragment:
    """An array as JSON."""
    pieces = []
    for first in range(0, len(values), _PIECE_FRAMES):
        piece = orjson.dumps(values[first : first + _PIECE_FRAMES], option=orjson.OPT_SERIALIZE_NUMPY)
        pieces.append(piece[1:-1])
        await asyncio.sleep(0)
    return orjson.Fragment(b"[" + b",".join(pieces) + b"]")
