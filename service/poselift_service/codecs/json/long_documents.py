"""Reads long documents piece by piece.

Parsers hold Python's lock, so a thread would not help: the event loop runs others between two pieces.
"""

import asyncio
import itertools
import re
from typing import TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from poselift.skeletons import Skeleton
from poselift_service.codecs.json.arrays import KEYPOINTS, ArrayField, read_frames
from poselift_service.codecs.json.documents import (
    MAX_FRAME_BYTES,
    Arrays,
    Span,
    array_paths,
    find_arrays,
    pieces,
    skeleton_of,
    skip_space,
    value_end,
    without_arrays,
)
from poselift_service.codecs.json.forms import CompleteForm, Frames, FramesForm, LiftForm, PoseFrames
from poselift_service.codecs.json.refusals import check_joint_counts, is_syntax_error, refusal, validate
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import Limits

# The text beside the arrays is parsed at once, however long the document: names, and times or targets of each frame.
_BESIDE_BYTES, _BESIDE_BYTES_PER_FRAME = 256 * 1024, 64
_FRAMES_EXPLAINED_AT_A_TIME = 16
_TRACKS = re.compile(rb'"tracks"\s{0,64}:')
_FRAMES = TypeAdapter(Frames, config=ConfigDict(strict=True))
_POSE_FRAMES = TypeAdapter(PoseFrames, config=ConfigDict(strict=True))

Form = TypeVar("Form", LiftForm, CompleteForm, FramesForm)


class LongDocument:
    """A long document, from its text to a form and arrays."""

    def __init__(self, body: bytes, field: ArrayField, limits: Limits) -> None:
        self._body = body
        self._field = field
        self._limits = limits
        self._frames = 0

    async def read(self, schema: type[Form], source: Skeleton | None) -> tuple[Form, Arrays]:
        """As `JsonReader.read`, but that all arrays are read."""
        beside_bytes = _BESIDE_BYTES + _BESIDE_BYTES_PER_FRAME * self._limits.frames
        spans = find_arrays(self._body, self._field, most=self._limits.tracks, beside_bytes=beside_bytes)
        try:
            if len(self._body) - sum(span.end - span.start for span in spans) > beside_bytes:
                raise InvalidRequest(f"Beside its {self._field.name}, a body may have at most {beside_bytes} bytes.")
            form = validate(schema, without_arrays(self._body, spans))
        except InvalidRequest as refused:
            if refused.path is None and (inside := await self._explain_broken(spans)):
                raise inside from None
            raise
        paths = array_paths(form, self._field, spans)
        self._limits.check_counts(tracks=len(spans), frames=0, path=self._field.name)
        source = source or skeleton_of(form)
        return form, {path: await self._read_array(span, path, source) for path, span in zip(paths, spans, strict=True)}

    async def _read_array(self, span: Span, path: str, source: Skeleton) -> NDArray[np.float64]:
        arrays: list[NDArray[np.float64]] = []
        first = 0
        for piece in pieces(self._body, span):
            frames = read_frames(self._array_of(piece), self._field, source)
            if frames is None:
                raise await self._explain(piece.start, first, path, source)
            arrays.append(frames)
            first += len(frames)
            self._count(len(frames), path)
            await asyncio.sleep(0)
        whole = np.concatenate(arrays)
        await asyncio.sleep(0)
        return whole

    def _array_of(self, piece: Span) -> bytes:
        return b"[%b]" % self._body[piece.start : piece.end]

    def _count(self, frames: int, path: str) -> None:
        """Refuse the document as soon as it has more frames than it may have."""
        self._frames += frames
        if self._frames > self._limits.frames:
            raise InvalidRequest(
                f"A request may hold at most {self._limits.frames} frames; this one has more.",
                path="tracks" if path.startswith("tracks") else path,
            )

    async def _explain_broken(self, spans: list[Span]) -> InvalidRequest | None:
        """Say what is wrong inside of an array, in a document that is broken without its arrays.

        A quote or a brace inside of an array is what makes it seem to end too early.
        """
        in_tracks = spans and _TRACKS.search(self._body, 0, spans[0].start)
        for number, span in enumerate(spans):
            path = f"tracks[{number}].{self._field.name}" if in_tracks else self._field.name
            first = 0
            for piece in pieces(self._body, span):
                try:
                    first += len(orjson.loads(self._array_of(piece)))
                except orjson.JSONDecodeError:
                    return await self._explain(piece.start, first, path, None)
                await asyncio.sleep(0)
        return None

    async def _explain(self, position: int, first: int, path: str, source: Skeleton | None) -> InvalidRequest:
        """Say what is wrong with an array, whose first frame that was not read is at that position.

        Args:
            first: number of this frame.
            source: skeleton of the frames; None when it is not known.
        """
        body = self._body
        if first == 0 and body[skip_space(body, position) :].startswith(b"]"):
            return self._explain_frames(b"[]", 0, path, source) or _broken(path, 0)
        for number in itertools.count(first):
            end = value_end(body, position)
            if end is None:
                return _broken(path, number)
            if end - position > MAX_FRAME_BYTES:
                return InvalidRequest(f"A frame must end within {MAX_FRAME_BYTES} bytes.", path=f"{path}[{number}]")
            if refused := self._explain_frames(b"[%b]" % body[position:end], number, path, source):
                return refused
            self._count(1, path)
            if body[end : end + 1] != b",":
                return _broken(path, number)
            position = end + 1
            if number % _FRAMES_EXPLAINED_AT_A_TIME == 0:
                await asyncio.sleep(0)
        raise AssertionError("an array ends")

    def _explain_frames(self, text: bytes, first: int, path: str, source: Skeleton | None) -> InvalidRequest | None:
        schema = _FRAMES if self._field is KEYPOINTS else _POSE_FRAMES
        try:
            frames = schema.validate_json(text)
            if source is not None:
                check_joint_counts(frames, source, path, first=first)
        except ValidationError as error:
            return _broken(path, first) if is_syntax_error(error) else refusal(error, path=path, first=first)
        except InvalidRequest as refused:
            return refused
        return None


def _broken(path: str, number: int) -> InvalidRequest:
    return InvalidRequest(f"The body cannot be read: {path} is no valid JSON in frame {number} or after it.")
