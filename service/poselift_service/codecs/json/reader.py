"""Reads JSON documents with arrays of frames: every call that takes keypoints or poses in JSON reads its body here.

The arrays are cut out of the text and read into NumPy; the schema sees the document without them. A document that
cannot be read like that is refused by the schema, which says what is wrong: a short one as a whole, a long one from the
first piece on that could not be read.
"""

import asyncio
from typing import TypeVar

from poselift.errors import UnknownSkeleton
from poselift.skeletons import Skeleton
from poselift_service.codecs.json.arrays import ArrayField, frames_from_lists, read_frames
from poselift_service.codecs.json.documents import (
    Arrays,
    array_paths,
    find_arrays,
    frames_by_path,
    skeleton_of,
    without_arrays,
)
from poselift_service.codecs.json.forms import CompleteForm, FramesForm, LiftForm
from poselift_service.codecs.json.long_documents import LongDocument
from poselift_service.codecs.json.refusals import check_joint_counts, validate
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import Limits

# Read at once, in 1 ms at most.
SHORT_BYTES = 128 * 1024

Form = TypeVar("Form", LiftForm, CompleteForm, FramesForm)


class JsonReader:
    """Reads documents; long ones one at a time, so that the event loop never waits for more than one piece."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = asyncio.Lock()

    async def read(
        self, body: bytes, schema: type[Form], field: ArrayField, source: Skeleton | None = None
    ) -> tuple[Form, Arrays]:
        """Read a document.

        Args:
            field: holds the frames, at the top of the document or in each of its tracks.
            source: skeleton of the frames; None for the one that the document names.
        Returns:
            The document, and all its arrays by path; in the document, placeholders may stand for them.
        Raises:
            InvalidRequest: it does not match the schema; the path names the first field at fault.
            UnknownSkeleton: there is no such skeleton.
        """
        if len(body) > SHORT_BYTES:
            async with self._turn:
                return await LongDocument(body, field, self._limits).read(schema, source)
        try:
            document = _read_short(body, schema, field, source)
        except (InvalidRequest, UnknownSkeleton):
            document = None  # if the frames are invalid, too, the schema names them first
        return document or _read_by_schema(body, schema, field, source)


def _read_short(
    body: bytes, schema: type[Form], field: ArrayField, source: Skeleton | None
) -> tuple[Form, Arrays] | None:
    """As `JsonReader.read`; None when an array is not what it should be."""
    spans = find_arrays(body, field, max_arrays=len(body), max_bytes_outside=len(body))
    form = validate(schema, without_arrays(body, spans))
    source = source or skeleton_of(form)
    arrays = {}
    for path, span in zip(array_paths(form, field, spans), spans, strict=True):
        frames = read_frames(body[span.start : span.end], field, source)
        if frames is None:
            return None
        arrays[path] = frames
    return form, arrays


def _read_by_schema(body: bytes, schema: type[Form], field: ArrayField, source: Skeleton | None) -> tuple[Form, Arrays]:
    """As `JsonReader.read`, number by number: it takes long, and knows what is wrong where."""
    form = validate(schema, body)
    source = source or skeleton_of(form)
    arrays = {}
    for path, frames in frames_by_path(form, field).items():
        check_joint_counts(frames, source, path)
        array = frames_from_lists(frames, field, source)
        assert array is not None, f"the schema accepts {path}, and its frames have as many joints as they should"
        arrays[path] = array
    return form, arrays
