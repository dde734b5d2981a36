"""POST /refine: a stored answer with its keypoints to motion in the world, without a network."""

from typing import Any

from fastapi import FastAPI, Request, Response

from poselift_service.codecs.files.options import RefineOptions, read_refine_options
from poselift_service.codecs.files.writer import check_form
from poselift_service.codecs.json.answers import RefinedAnswer
from poselift_service.codecs.json.forms import RefineForm
from poselift_service.codecs.json.refine import JsonRefineCodec
from poselift_service.codecs.protobuf.refine import read_refine, write_refined
from poselift_service.http.body import (
    JSON,
    PROTOBUF,
    body_media_type,
    cancel_on_disconnect,
    preferred_media_type,
    read_body,
)
from poselift_service.http.file import file_response
from poselift_service.http.openapi import error_responses, protobuf_message, query_parameters
from poselift_service.pipeline.lift import Pipeline
from poselift_service.pipeline.motion import RefineRequest
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.limits import SizeLimit


def add_refine(app: FastAPI, pipeline: Pipeline, *, max_body: SizeLimit, deadline_s: float) -> None:
    """Add `POST /refine` to the HTTP interface."""
    codec = JsonRefineCodec(pipeline.limits)

    @app.post("/refine", summary="Put lifted poses into the world again", **_documentation())
    async def refine(request: Request) -> Response:
        """The motion in the world of poses that were lifted before, with another height, camera or other options.

        No network runs, so it takes milliseconds. The body may also be a `poselift.v1.RefineRequest`, and the response
        a `RefineResponse`, as for `POST /lift`. With `format`, the answer is a file of the poses as they were.
        """
        record: RequestRecord = request.state.record
        deadline = record.started_s + deadline_s
        body_type = body_media_type(request)
        options = read_refine_options(request.query_params)
        response_type = preferred_media_type(request.headers.get("accept", ""), default=body_type)
        pipeline.refuse_refinement_when_full()
        body = await read_body(request, max_body, deadline)
        clip = await (codec.read(body) if body_type == JSON else read_refine(body, pipeline.limits))
        if options.format is not None:
            return await cancel_on_disconnect(request, _file(pipeline, clip, options, deadline))
        refined = await cancel_on_disconnect(request, pipeline.refine(clip, deadline))
        if response_type == JSON:
            content = await codec.write(refined, total_s=record.elapsed_s)
        else:
            content = write_refined(refined, total_s=record.elapsed_s)
        return Response(content, media_type=response_type)


async def _file(pipeline: Pipeline, clip: RefineRequest, options: RefineOptions, deadline: float) -> Response:
    """The poses of an answer in a file, under the name of the model that their request names."""
    assert options.format is not None
    manifest = pipeline.find(clip.request.model).manifest
    check_form(options.format, clip.request)
    tracks = await pipeline.refine_for_file(clip, deadline, first_frame=options.first_frame, world=options.has_world)
    return await file_response(options.format, manifest, tracks)


def _documentation() -> dict[str, Any]:
    schema = {"schema": {"$ref": f"#/components/schemas/{RefineForm.__name__}"}}
    content = {JSON: schema, PROTOBUF: protobuf_message("poselift.v1.RefineRequest")}
    return {
        "tags": ["lifting"],
        "response_model": RefinedAnswer,
        "responses": {
            200: {"content": {PROTOBUF: protobuf_message("poselift.v1.RefineResponse")}},
            **error_responses(404, 408, 413, 415, 422, 429, 503, 504),
        },
        "openapi_extra": {
            "parameters": query_parameters(RefineOptions),
            "requestBody": {"required": True, "content": content},
        },
    }
