"""POST /lift/file: a file of a detector, in any form that the command reads, to poses in any form that it writes."""

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import LiftedTrack
from poselift_service.codecs.files.options import FileOptions, read_options
from poselift_service.codecs.files.reader import FileContent, FileReader
from poselift_service.codecs.files.writer import check_form, write_file
from poselift_service.codecs.json.answers import LiftAnswer
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.http.body import JSON, cancel_on_disconnect, media_type_of, read_body, refuse_other_encodings
from poselift_service.http.openapi import error_responses, query_parameters
from poselift_service.pipeline.lift import Pipeline, Result
from poselift_service.pipeline.request import LiftRequest
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.limits import SizeLimit

_TAR = "application/x-tar"
_DEFAULT_FORM = "json"


async def file_response(form: str, manifest: Manifest, tracks: tuple[LiftedTrack, ...]) -> Response:
    """A file of poses as something to save."""
    written = await asyncio.to_thread(write_file, form, manifest, tracks)
    headers = {"content-disposition": f'attachment; filename="{written.name}"'}
    return Response(written.content, media_type=written.media_type, headers=headers)


class FileCalls:
    """Answers requests whose bodies are files."""

    def __init__(self, pipeline: Pipeline, codec: JsonLiftCodec, *, max_body: SizeLimit, deadline_s: float) -> None:
        self._pipeline = pipeline
        self._codec = codec
        self._reader = FileReader(pipeline.limits)
        self._max_body = max_body
        self._deadline_s = deadline_s

    async def respond(self, request: Request) -> Response:
        """Read the file of a request, lift it, and write the poses."""
        record: RequestRecord = request.state.record
        deadline = record.started_s + self._deadline_s
        options = read_options(request.query_params)
        refuse_other_encodings(request)
        self._pipeline.refuse_when_full(deadline)
        file = await read_body(request, self._max_body, deadline)
        is_folder = media_type_of(request) == _TAR
        content, result = await cancel_on_disconnect(request, self._lift(file, options, deadline, is_folder=is_folder))
        record.set_result(
            model=result.manifest.name, frames=result.poses, queue_s=result.queue_s, inference_s=result.inference_s
        )
        if options.format == _DEFAULT_FORM:
            return Response(await self._json(content, result, options, record.elapsed_s), media_type=JSON)
        return await file_response(options.format, result.manifest, result.tracks)

    async def _lift(
        self, file: bytes, options: FileOptions, deadline: float, *, is_folder: bool
    ) -> tuple[FileContent, Result]:
        content = await self._reader.read(file, options, deadline, is_folder=is_folder)
        request = replace(
            await self._codec.read_lift(content.body),
            model=options.model,
            mirrored_average=options.mirrored_average,
            world=options.asked_world,
        )
        if options.format != _DEFAULT_FORM:
            check_form(options.format, request)
        result = await self._pipeline.lift(request, deadline)
        return content, replace(_timed(result, request, content.first_frame), warnings=content.warnings)

    async def _json(self, content: FileContent, result: Result, options: FileOptions, total_s: float) -> bytes:
        answer = await self._codec.write(result, total_s=total_s)
        return answer[:-1] + b',"request":' + content.body + b"}" if options.keypoints else answer


def _timed(result: Result, request: LiftRequest, first_frame: int) -> Result:
    """The result with the times of its poses and the number of the first frame, which files say."""
    tracks = tuple(
        track._replace(times_s=given.sequence.times_s, first_frame=first_frame)
        for track, given in zip(result.tracks, request.tracks, strict=True)
    )
    return replace(result, tracks=tracks)


def add_file(app: FastAPI, pipeline: Pipeline, codec: JsonLiftCodec, *, max_body: SizeLimit, deadline_s: float) -> None:
    """Add `POST /lift/file` to the HTTP interface."""
    calls = FileCalls(pipeline, codec, max_body=max_body, deadline_s=deadline_s)

    @app.post("/lift/file", summary="Lift a file of a detector", **_documentation())
    async def lift_file(request: Request) -> Response:
        """The body is the file as it is, in any form that `poselift lift` reads; a tar archive, as
        `application/x-tar`, is a folder with a file per frame. The answer is that of `POST /lift` with `fps` or
        `timestamps_s`, or a file in another form."""
        return await calls.respond(request)


def _documentation() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "tags": ["lifting"],
        "response_model": LiftAnswer,
        "responses": {
            200: {"content": {"application/octet-stream": binary}},
            **error_responses(404, 408, 413, 415, 422, 429, 500, 503, 504),
        },
        "openapi_extra": {
            "parameters": query_parameters(FileOptions),
            "requestBody": {"required": True, "content": {"application/octet-stream": binary, _TAR: binary}},
        },
    }
