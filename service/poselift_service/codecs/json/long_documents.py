"""Reads long documents piece by piece.

Parsers hold Python's lock, so a thread would not help; between two pieces the event loop runs other tasks.
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
from poselift_service.codecs.json.fields import Frames, PoseFrames
from poselift_service.codecs.json.forms import CompleteForm, FramesForm, LiftForm
from poselift_service.codecs.json.refusals import check_joint_counts, is_syntax_error, refusal, validate
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import Limits

# The text outside of the arrays is parsed at once: names, and times or targets of each frame.
_MAX_BYTES_OUTSIDE, _MAX_BYTES_OUTSIDE_PER_FRAME = 256 * 1024, 64
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
        """As `JsonReader.read`."""
        max_outside = _MAX_BYTES_OUTSIDE + _MAX_BYTES_OUTSIDE_PER_FRAME * self._limits.frames
        spans = find_arrays(self._body, self._field, max_arrays=self._limits.tracks, max_bytes_outside=max_outside)
        try:
            if len(self._body) - sum(span.end - span.start for span in spans) > max_outside:
                raise InvalidRequest(f"A body may have at most {max_outside} bytes beside its {self._field.name}.")
            form = validate(schema, without_arrays(self._body, spans))
        except InvalidRequest as refused:
            if refused.path is None and (inside := await self._explain_cut_off(spans)):
                raise inside from None
            raise
        paths = array_paths(form, self._field, spans)
        self._limits.check_counts(tracks=len(spans), frames=0, path=self._field.name)
        source = source or skeleton_of(form)
        return form, {path: await self.read_array(span, path, source) for path, span in zip(paths, spans, strict=True)}

    async def read_array(self, span: Span, path: str, source: Skeleton) -> NDArray[np.float64]:
        """Read an array of frames [F, J, 3].

        Args:
            path: of its field.
        Raises:
            InvalidRequest: it is no such array, or too long; the path names the first value at fault.
        """
        arrays: list[NDArray[np.float64]] = []
        first = 0
        for piece in pieces(self._body, span):
            frames = read_frames(self._array_of(piece), self._field, source)
            if frames is None:
                raise await self._explain_invalid(piece.start, first, path, source)
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
        """Count frames, and refuse the document when there are too many."""
        self._frames += frames
        if self._frames > self._limits.frames:
            raise InvalidRequest(
                f"A request may hold at most {self._limits.frames} frames; this one has more.",
                path="tracks" if path.startswith("tracks") else path,
            )

    async def _explain_cut_off(self, spans: list[Span]) -> InvalidRequest | None:
        """Explain what is wrong with an array that contains quotes or braces; None when there is none.

        Such an array was cut off at the first of them, so the document without its arrays is not valid JSON.
        """
        in_tracks = spans and _TRACKS.search(self._body, 0, spans[0].start)
        for number, span in enumerate(spans):
            path = f"tracks[{number}].{self._field.name}" if in_tracks else self._field.name
            first = 0
            for piece in pieces(self._body, span):
                try:
                    first += len(orjson.loads(self._array_of(piece)))
                except orjson.JSONDecodeError:
                    return await self._explain_invalid(piece.start, first, path, None)
                await asyncio.sleep(0)
        return None

    async def _explain_invalid(self, position: int, first: int, path: str, source: Skeleton | None) -> InvalidRequest:
        """Explain what is wrong with an array, frame by frame.

        Args:
            position: of the first frame that was not read.
            first: index of this frame.
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
