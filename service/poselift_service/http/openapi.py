"""What the OpenAPI document says beyond what FastAPI derives from the code."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from poselift_service.codecs.json.answers import LiftAnswer
from poselift_service.codecs.json.forms import CompleteForm, LiftForm, RefineForm
from poselift_service.http.body import JSON, PROTOBUF
from poselift_service.http.errors import ErrorAnswer
from poselift_service.http.paths import PUBLIC_PATHS

DESCRIPTION = """
Lifts 2D keypoint sequences of people, from any pose detector, to 3D poses.

Send the keypoints of a whole clip to `POST /lift`; the response has one pose per frame, in metres, relative to the
pelvis. Any frame rate works. Send joints and frames that the detector missed as `null`.

Ask for `world` to get, beside the poses, the person upright on the ground and moving through the world, in metres.
`POST /refine` does that for an answer that you have kept, with another height, camera or options.

`POST /complete` fills in the missing joints of 3D poses, where a model for this task is served.

Open a live stream with `POST /sessions`. Send its frames to `POST /sessions/{session_id}/frames`, or over a WebSocket
to `/sessions/{session_id}/stream`. There, each message is the body of such a request, or `{"end": true}` when no frames
follow, and gets one reply, the body of such a response; messages may be sent without waiting for replies. Binary
messages are `poselift.v1.LiftStreamRequest`, and their replies are `LiftStreamResponse`. After an error, a last message
has the body of an error response, and the WebSocket is closed with 4000 plus the HTTP status of that error (4409: the
session expects another frame), or with 1012 when the server stops. The session continues: reconnect to any replica and
resend from the first message without a reply. A WebSocket to `/stream` carries the frames of several sessions:
`{"sessions": [...]}` with a body for each, which names its `session_id`, or `poselift.v1.LiftStreamsRequest`.

Every error response has the body `{"error": {"code", "message", "path"}}`, and every response repeats the
`x-request-id` of its request, or has a generated one. What is not HTTP, or has too large a header, is refused in the
same form with 400 or 431, and a connection over the limit with 429, before it becomes a request.
"""
_UNAUTHENTICATED = "The API key is missing or invalid."
_ERRORS = {
    401: _UNAUTHENTICATED,
    404: "There is no such model, or no such session.",
    408: "The body did not arrive in time.",
    409: "The state of the server or the session does not allow it; nothing was changed.",
    413: "The body is too large.",
    415: "The body is neither JSON nor protobuf.",
    422: "The request cannot be used; `path` names the field.",
    429: "The server has no capacity left for this request; `retry-after` says when to try again.",
    500: "The network failed.",
    503: "The server is starting or stopping, or a store that it needs cannot be reached.",
    504: "The answer was not ready before the deadline.",
}
EXAMPLE_FRAME = [
    [540.1, 310.2, 0.99], [551.4, 298.7, 0.98], [529.8, 298.1, 0.98], [566.0, 305.5, 0.91], [515.2, 304.0, 0.9],
    [602.3, 405.6, 0.99], [478.9, 404.1, 0.99], [628.0, 540.7, 0.97], [450.5, 538.2, 0.98], [636.4, 660.9, 0.95],
    [441.1, 661.5, 0.96], [578.7, 668.3, 0.99], [503.3, 667.9, 0.99], [582.2, 858.0, 0.97], [498.6, 859.4, 0.97],
    [585.9, 1030.8, 0.93], None,
]  # fmt: skip


def openapi_document(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    """Build the document on the first call.

    The schemas of the clip calls are added by hand: these read their bodies themselves, so FastAPI does not see them.

    Args:
        needs_key: whether calls outside of the public paths need an API key.
    """
    if not app.openapi_schema:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document["components"]["schemas"]
        for form in (LiftForm, CompleteForm, RefineForm):
            schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs"))
            schemas[form.__name__] = schema
        if needs_key:
            _document_keys(document)
        app.openapi_schema = document
    return app.openapi_schema


def json_body(form: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Describe a JSON body that the call reads itself."""
    content = {JSON: {"schema": form.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def clip_call(message: str, form: type[BaseModel], examples: dict[str, Any]) -> dict[str, Any]:
    """Describe a call about a whole clip: its body and its response, each in JSON or in protobuf.

    Args:
        message: beginning of the names of its protobuf messages.
        form: its body in JSON.
        examples: of that, by name.
    """
    body = {"schema": {"$ref": f"#/components/schemas/{form.__name__}"}, "examples": examples}
    content = {JSON: body, PROTOBUF: protobuf_message(f"poselift.v1.{message}Request")}
    return {
        "tags": ["lifting"],
        "response_model": LiftAnswer,
        "responses": {
            200: {"content": {PROTOBUF: protobuf_message(f"poselift.v1.{message}Response")}},
            **error_responses(404, 408, 413, 415, 422, 429, 500, 503, 504),
        },
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def query_parameters(form: type[BaseModel]) -> list[dict[str, Any]]:
    """Describe the query that a call reads itself."""
    schema = form.model_json_schema()
    return [
        {"name": name, "in": "query", "description": field.pop("description", ""), "schema": field}
        for name, field in schema["properties"].items()
    ]


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a call."""
    return {status: {"model": ErrorAnswer, "description": _ERRORS[status]} for status in statuses}


def protobuf_message(name: str) -> dict[str, Any]:
    """Describe a body or a response in protobuf."""
    return {"schema": {"type": "string", "format": "binary", "description": f"{name} of proto/lifter.proto."}}


def _document_keys(document: dict[str, Any]) -> None:
    scheme = {"type": "http", "scheme": "bearer", "description": "An API key, issued by the operator of this server."}
    document["components"]["securitySchemes"] = {"key": scheme}
    error = {"schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}}
    refused = {"description": _UNAUTHENTICATED, "content": {JSON: error}}
    for path, operations in document["paths"].items():
        for operation in operations.values() if path not in PUBLIC_PATHS else ():
            operation["security"] = [{"key": []}]
            operation["responses"]["401"] = refused
