"""Stored answers with their keypoints in JSON: bodies of POST /refine to requests, motion to answers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from poselift.errors import PoseliftError
from poselift.formats.writers.track import LiftedTrack
from poselift.lifting import Lifted
from poselift.motion.clip import with_gravity
from poselift.motion.world import WorldOptions
from poselift.skeletons import SKELETONS, Skeleton, skeleton
from poselift_service.codecs.json.arrays import KEYPOINTS, POSES, ArrayField
from poselift_service.codecs.json.documents import Arrays, Span, array_paths, find_arrays, pieces, without_arrays
from poselift_service.codecs.json.forms import AnsweredWorldForm, AnswerForm, RefineForm
from poselift_service.codecs.json.lift import lift_request
from poselift_service.codecs.json.long_documents import LongDocument
from poselift_service.codecs.json.refusals import validate
from poselift_service.codecs.json.writer import JsonWriter
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.checks import check_poses
from poselift_service.pipeline.motion import Refined, RefineRequest
from poselift_service.pipeline.off_loop import joints_in, run_off_loop_if_long
from poselift_service.pipeline.request import LiftRequest, Limits

_ERRORS = ArrayField("expected_error_m", (np.nan, np.nan, np.nan), score_is_optional=False)
_IMPUTED = ArrayField("imputed", (np.nan, np.nan, np.nan), score_is_optional=False)
_ANSWERED = SKELETONS["h36m17"]
# The rest is names, and a time of each frame.
_MAX_BYTES_OUTSIDE, _MAX_BYTES_OUTSIDE_PER_FRAME = 256 * 1024, 64


class JsonRefineCodec:
    """Reads stored answers from JSON, long ones one at a time and in pieces, and writes motion to it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = asyncio.Lock()
        self._writer = JsonWriter()

    async def read(self, body: bytes) -> RefineRequest:
        """Parse and validate a body.

        Raises:
            InvalidRequest, PoseliftError: it breaks the contract; the path names the first field at fault.
        """
        async with self._turn:
            form, arrays = await self._read(body)
        given = {path.removeprefix("request."): array for path, array in arrays.items() if path.startswith("request.")}
        joints = sum(map(joints_in, given.values()))
        request = await run_off_loop_if_long(joints, _request, form, given)
        answer = await run_off_loop_if_long(joints, _answered, form.answer, arrays)
        return RefineRequest(request, answer)

    async def write(self, refined: Refined, *, total_s: float) -> bytes:
        """The body of the answer."""
        return await self._writer.write_refined(refined, total_s=total_s)

    async def _read(self, body: bytes) -> tuple[RefineForm, Arrays]:
        max_outside = _MAX_BYTES_OUTSIDE + _MAX_BYTES_OUTSIDE_PER_FRAME * self._limits.frames
        spans = {
            field.name: find_arrays(body, field, max_arrays=self._limits.tracks, max_bytes_outside=len(body))
            for field in (KEYPOINTS, POSES, _IMPUTED, _ERRORS)
        }
        every = sorted(span for found in spans.values() for span in found)
        if len(body) - sum(span.end - span.start for span in every) > max_outside:
            raise InvalidRequest(
                f"A body may have at most {max_outside} bytes beside keypoints, poses, imputed and expected_error_m; "
                "leave out all of the answer's world but gravity."
            )
        form = validate(RefineForm, without_arrays(body, every))
        arrays: Arrays = {}
        with _inside("request"):
            source = skeleton(form.request.skeleton)
            paths = array_paths(form.request, KEYPOINTS, spans["keypoints"])
        arrays |= await self._frames(body, KEYPOINTS, spans["keypoints"], [f"request.{path}" for path in paths], source)
        with _inside("answer"):
            paths = array_paths(form.answer, POSES, spans["poses"])
            imputed_paths = array_paths(form.answer, _IMPUTED, spans["imputed"])
            error_paths = array_paths(form.answer, _ERRORS, spans["expected_error_m"])
        arrays |= await self._frames(body, POSES, spans["poses"], [f"answer.{path}" for path in paths], _ANSWERED)
        for path, span in zip(imputed_paths, spans["imputed"], strict=True):
            arrays[f"answer.{path}"] = await _booleans(body, span, f"answer.{path}")
        for path, span in zip(error_paths, spans["expected_error_m"], strict=True):
            arrays[f"answer.{path}"] = await _distances(body, span, f"answer.{path}")
        return form, arrays

    async def _frames(
        self, body: bytes, field: ArrayField, spans: list[Span], paths: list[str], of_joints: Skeleton
    ) -> Arrays:
        document = LongDocument(body, field, self._limits)
        return {path: await document.read_array(span, path, of_joints) for path, span in zip(paths, spans, strict=True)}


async def _distances(body: bytes, span: Span, path: str) -> NDArray[np.float64]:
    """Distances [F, J]."""
    numbers = await _table(body, span, path, np.dtype(np.float64), "numbers")
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise InvalidRequest(f"The value of {path} cannot be used: errors are distances from 0 on.", path=path)
    return numbers


async def _booleans(body: bytes, span: Span, path: str) -> NDArray[np.float64]:
    """Zeros and ones [F, J]: false and true."""
    table = await _table(body, span, path, None, "true and false")
    if table.dtype != np.bool_:
        raise InvalidRequest(f"The value of {path} cannot be used: it must be a table of true and false.", path=path)
    return table.astype(np.float64)


async def _table(body: bytes, span: Span, path: str, dtype: np.dtype[Any] | None, what: str) -> NDArray[Any]:
    """A table [F, J] of one kind of values.

    Args:
        dtype: of the array; None for that of the values.
    """
    rows: list[NDArray[Any]] = []
    for piece in pieces(body, span):
        try:
            rows.append(np.array(orjson.loads(b"[%b]" % body[piece.start : piece.end]), dtype))
        except (ValueError, TypeError):
            raise InvalidRequest(
                f"The value of {path} cannot be used: it must be a table of {what}.", path=path
            ) from None
        await asyncio.sleep(0)
    if any(part.shape[1:] != (_ANSWERED.n_joints,) for part in rows):
        raise InvalidRequest(f"The value of {path} must have {_ANSWERED.n_joints} values for each frame.", path=path)
    return np.concatenate(rows)


def _request(form: RefineForm, arrays: Arrays) -> LiftRequest:
    with _inside("request"):
        request = lift_request(form.request, arrays)
        return replace(request, world=request.world or WorldOptions())


def _answered(form: AnswerForm, arrays: Arrays) -> tuple[LiftedTrack, ...]:
    if (form.poses is None) == (form.tracks is None):
        raise InvalidRequest("Either poses or tracks must be given, and not both.", path="answer.poses")
    if form.tracks is None:
        return (_track(None, form.world, "answer", arrays),)
    tracks = enumerate(form.tracks)
    return tuple(_track(track.track_id, track.world, f"answer.tracks[{number}]", arrays) for number, track in tracks)


def _track(track_id: str | None, world: AnsweredWorldForm | None, path: str, arrays: Arrays) -> LiftedTrack:
    joints = arrays[f"{path}.poses"]
    check_poses(joints, f"{path}.poses")
    if np.isnan(joints).any():
        raise InvalidRequest("The poses of an answer have every joint.", path=f"{path}.poses")
    imputed, errors = (arrays.get(f"{path}.{field.name}") for field in (_IMPUTED, _ERRORS))
    for field, table in ((_IMPUTED, imputed), (_ERRORS, errors)):
        if table is not None and len(table) != len(joints):
            raise InvalidRequest(
                f"There must be as many frames as poses: {len(table)} for {len(joints)}.", path=f"{path}.{field.name}"
            )
    lifted = Lifted(
        joints.astype(np.float32),
        np.zeros(joints.shape[:2], np.bool_) if imputed is None else imputed.astype(np.bool_),
        None if errors is None else errors.astype(np.float32),
    )
    told = None if world is None else world.network_gravity
    if told is not None:
        lifted = with_gravity(lifted, told.direction, told.uncertainty_deg, f"{path}.world.gravity.network")
    return LiftedTrack(track_id, lifted)


@contextmanager
def _inside(field: str) -> Iterator[None]:
    """Put the name of an object before the paths of errors about its fields."""
    try:
        yield
    except (InvalidRequest, PoseliftError) as error:
        path = field if error.path is None else f"{field}.{error.path}"
        raise type(error)(error.message, path=path) from error
