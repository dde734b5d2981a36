"""The HTTP interface: reads requests, calls the pipeline, translates errors."""

import asyncio
import contextlib
import itertools
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from collections.abc import Sequence as Items
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poselift.errors import PoseliftError
from poselift.skeletons import SKELETONS
from poselift_service import errors
from poselift_service.codecs.json import lift as json_form
from poselift_service.codecs.json.long import LongJson
from poselift_service.codecs.protobuf import lift as protobuf_form
from poselift_service.pipeline.lift import Pipeline, Result
from poselift_service.pipeline.request import CompleteRequest, LiftRequest
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.telemetry.requests import close_request, open_request
from poselift_service.transport.keys import Keys

if TYPE_CHECKING:
    from poselift_service.telemetry.traces import Traces

# Every class of error that a request can end in; `PoseliftError` stands for all its children.
STATUS: dict[type[Exception], int] = {
    PoseliftError: 422,
    errors.Unauthenticated: 401,
    errors.InvalidRequest: 422,
    errors.BodyTooLarge: 413,
    errors.BodyTooSlow: 408,
    errors.UnknownModel: 404,
    errors.WrongTask: 422,
    errors.UnknownSession: 404,
    errors.SessionConflict: 409,
    errors.SessionStoreDown: 503,
    errors.Overloaded: 429,
    errors.StreamIdle: 408,
    errors.DeadlineExceeded: 504,
    errors.NotReady: 503,
    errors.EngineFailed: 500,
    errors.ModelConflict: 409,
    errors.RepositoryDown: 503,
}
# Refusals that only HTTP knows.
_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    415: "unsupported_media_type",
}
_CLIENT_LEFT = 499  # nginx's number; it is logged and counted, nobody is left to receive it
JSON, _PROTOBUF = _FORMS = "application/json", "application/x-protobuf"
# What is counted as a request, and its transport's name in logs and metrics.
_REQUESTS = ("http", "websocket")
# What opens an answer: that of HTTP, to a WebSocket that is let in, and to one that is not.
_ANSWERS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_SWITCHING_PROTOCOLS = 101
_FAILED = 1011  # what RFC 6455 closes a WebSocket with when the server has made a mistake
# Browsers shall not take an answer for something else than it says.
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_HEALTH = {"alive": ("/healthz", "/v2/health/live"), "ready": ("/readyz", "/v2/health/ready")}
# Asked every few seconds, by machines.
_PROBED = frozenset(itertools.chain.from_iterable(_HEALTH.values()))
_DOCUMENTATION = ("/docs", "/docs/oauth2-redirect", "/openapi.json")
ADMIN = "/admin"
# What may be asked without a key: whether the server lives, and what it can do.
_OPEN = _PROBED.union(_DOCUMENTATION)
_DESCRIPTION = """
Lifts 2D keypoint sequences of people, as any pose detector gives them, to 3D poses.

Send the keypoints of a whole clip to `POST /lift`; the answer holds one pose per frame, in metres, relative to the
pelvis. Any frame rate will do. Joints and frames that the detector missed are sent as `null`.

3D poses of which joints are missing are completed by `POST /complete`, where a model is served that does this.

Live streams are opened with `POST /sessions`. Their frames come by `POST /sessions/{session_id}/frames`, or over a
WebSocket to `/sessions/{session_id}/stream`. There every message is the body of such a request, or `{"end": true}` when
no frames will follow, and is answered by one message, the body of such an answer; the next ones may be sent without
waiting for it. Binary messages are `poselift.v1.LiftStreamRequest` and are answered by `LiftStreamResponse`. After an
error comes a last message, the body of an answer that is an error, and the WebSocket is closed with 4000 and the HTTP
status of that error (4409: the session expects another frame), or with 1012 when the server stops. The session goes
on: with the first message that had no answer, over another connection, at any replica.

Every answer that is an error has the body `{"error": {"code", "message", "path"}}`, and every answer repeats the
`x-request-id` of its request, or has one of its own. What is not HTTP, or has too large a header, is answered so with
400 or 431, and what comes over too many connections with 429, before it has become a request.
"""

Done = TypeVar("Done")
Asked = TypeVar("Asked", LiftRequest, CompleteRequest)

logger = logging.getLogger(__name__)


class _Form(Protocol):
    """A way to write requests and answers down."""

    async def read_lift(self, body: bytes) -> LiftRequest: ...

    async def read_complete(self, body: bytes) -> CompleteRequest: ...

    async def write(self, result: Result, *, total_s: float) -> bytes: ...


class _Protobuf:
    """Fast enough to be done at once, however long."""

    async def read_lift(self, body: bytes) -> LiftRequest:
        return protobuf_form.read(body)

    async def read_complete(self, body: bytes) -> CompleteRequest:
        return protobuf_form.read_complete(body)

    async def write(self, result: Result, *, total_s: float) -> bytes:
        return protobuf_form.write(result, total_s=total_s)


class ErrorDetail(BaseModel):
    """Why a request got no poses: a stable code to act on, and a sentence to read."""

    code: str
    message: str
    path: str | None = None
    expected_frame_index: Annotated[int | None, Field(description="Of `session_conflict`: what the next frame is.")] = (
        None
    )
    retry_after_s: Annotated[
        int | None, Field(description="When to try again; only over WebSocket, elsewhere the header `retry-after`.")
    ] = None


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


def create_app(
    pipeline: Pipeline,
    *,
    metrics: Metrics,
    is_ready: Callable[[], bool],
    max_body_bytes: int,
    deadline_s: float,
    version: str,
    keys: Keys | None = None,
    traces: "Traces | None" = None,
    docs: bool = True,
    cors_origins: Items[str] = (),
) -> FastAPI:
    """Build the HTTP interface.

    Args:
        is_ready: whether the server is warmed up and not draining.
        deadline_s: time in which a request is answered or fails.
        version: of the software, for the OpenAPI document.
        keys: of those who may ask; None lets everybody.
        traces: where the spans of requests go to, if anywhere.
        docs: whether the interface describes itself.
        cors_origins: web sites whose scripts may use it.
    """
    app = FastAPI(
        title="Poselift",
        version=version,
        description=_DESCRIPTION,
        openapi_url="/openapi.json" if docs else None,
        redoc_url=None,
    )
    app.openapi = lambda: _document(app, needs_key=keys is not None)  # type: ignore[method-assign]
    if keys is not None:
        app.add_middleware(_Guarded, keys=keys)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "traceparent", "retry-after"],
        )
    app.add_middleware(_Observed, metrics=metrics, traces=traces)
    app.add_exception_handler(PoseliftError, _answer_error)
    app.add_exception_handler(errors.ServiceError, _answer_error)
    app.add_exception_handler(StarletteHTTPException, _answer_http_error)
    _add_calls(app, pipeline, max_body_bytes=max_body_bytes, deadline_s=deadline_s)
    _add_descriptions(app, pipeline)
    _add_health(app, is_ready)
    return app


def _add_calls(app: FastAPI, pipeline: Pipeline, *, max_body_bytes: int, deadline_s: float) -> None:
    forms: dict[str, _Form] = {JSON: LongJson(pipeline.limits), _PROTOBUF: _Protobuf()}

    async def answer(
        request: Request,
        read: Callable[[_Form, bytes], Awaitable[Asked]],
        work: Callable[[Asked, float], Coroutine[Any, Any, Result]],
    ) -> Response:
        record: RequestRecord = request.state.record
        deadline = record.started_s + deadline_s
        form = _form_of_body(request)
        answer_form = _form_of_answer(request.headers.get("accept", ""), otherwise=form)
        pipeline.refuse_when_full(deadline)
        asked = await read(forms[form], await read_body(request, max_body_bytes, deadline))
        result = await unless_client_leaves(request, work(asked, deadline))
        record.set_result(
            model=result.manifest.name, frames=asked.poses, queue_s=result.queue_s, inference_s=result.inference_s
        )
        written = await forms[answer_form].write(result, total_s=record.elapsed_s)
        return Response(written, media_type=answer_form)

    @app.post("/lift", summary="Lift 2D keypoints to 3D poses", **_call("Lift", _LIFT_BODY))
    async def lift(request: Request) -> Response:
        """One pose per input frame, at the caller's frame rate, in metres relative to the pelvis.

        The body may also be a `poselift.v1.LiftRequest`, as `application/x-protobuf`. The answer comes in the form that
        `accept` prefers, otherwise in that of the request; errors are always JSON.
        """
        return await answer(request, lambda form, body: form.read_lift(body), pipeline.lift)

    @app.post("/complete", summary="Make up the missing joints of 3D poses", **_call("Complete", _COMPLETE_BODY))
    async def complete(request: Request) -> Response:
        """The poses that came, with the missing joints made up and marked in `imputed`; what was given stays as it was.

        Only models whose `task` is `complete` do this. The body may also be a `poselift.v1.CompleteRequest`, and the
        answer a `CompleteResponse`, as for `POST /lift`.
        """
        return await answer(request, lambda form, body: form.read_complete(body), pipeline.complete)

    # Served without FastAPI, which has no argument to read and no answer to check here, and takes 5 % of the time of a
    # small request to find that out.
    routes = (_PlainRoute("/lift", lift, methods=["POST"]), _PlainRoute("/complete", complete, methods=["POST"]))
    app.router.routes[:0] = routes


def _call(message: str, body: dict[str, Any]) -> dict[str, Any]:
    """What FastAPI is told of a call that reads its body itself, in JSON or in protobuf."""
    content = {JSON: body, _PROTOBUF: _binary(f"poselift.v1.{message}Request")}
    return {
        "tags": ["lifting"],
        "response_model": json_form.LiftAnswer,
        "responses": {
            200: {"content": {_PROTOBUF: _binary(f"poselift.v1.{message}Response")}},
            **error_answers(404, 408, 413, 415, 422, 429, 500, 503, 504),
        },
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def _add_descriptions(app: FastAPI, pipeline: Pipeline) -> None:
    @app.get("/models", tags=["descriptions"], summary="The models that are served")
    async def models() -> list[json_form.ModelAnswer]:
        default = pipeline.models.default
        return [json_form.describe_model(model, is_default=model is default) for model in pipeline.models]

    @app.get("/models/{name}", tags=["descriptions"], summary="One model", responses=error_answers(404, 422, 503))
    async def model(name: str) -> json_form.ModelAnswer:
        """By `name`, `name@version` or `name@label`."""
        found = pipeline.find(name)
        return json_form.describe_model(found, is_default=found is pipeline.models.default)

    @app.get("/skeletons", tags=["descriptions"], summary="The skeletons that keypoints may come in")
    async def skeletons() -> list[json_form.SkeletonAnswer]:
        return [json_form.describe_skeleton(skeleton) for skeleton in SKELETONS.values()]


def _add_health(app: FastAPI, is_ready: Callable[[], bool]) -> None:
    def alive() -> dict[str, str]:
        return {"status": "alive"}

    def ready() -> dict[str, str]:
        if not is_ready():
            raise errors.NotReady("The server is starting or stopping.")
        return {"status": "ready"}

    for path in _HEALTH["alive"]:
        app.get(path, tags=["health"], summary="The process is alive", operation_id=_operation("alive", path))(alive)
    for path in _HEALTH["ready"]:
        app.get(
            path,
            tags=["health"],
            summary="Warmed up and not draining",
            operation_id=_operation("ready", path),
            responses=error_answers(503),
        )(ready)


def _operation(name: str, path: str) -> str:
    return name + re.sub(r"\W", "_", path)


def _form_of_body(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _FORMS:
        raise HTTPException(415, f"The body must be {' or '.join(_FORMS)}; the request says {media_type or 'nothing'}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "The body must not be compressed.")
    return media_type


def _form_of_answer(accept: str, *, otherwise: str) -> str:
    """The form that the header names with the highest weight; on equal weights the first, and `otherwise` if none."""
    weights: dict[str, float] = {}
    for wanted in accept.split(","):
        media_type, _, parameters = wanted.partition(";")
        weight = re.search(r"(?:^|;)\s*q=([01](?:\.\d{0,3})?)\s*(?:;|$)", parameters)
        weights.setdefault(media_type.strip().lower(), float(weight[1]) if weight else 1.0)
    accepted = [form for form in weights if form in _FORMS and weights[form] > 0]
    return max(accepted, key=lambda form: weights[form], default=otherwise)


def require_json(request: Request) -> None:
    """Refuse a body in another form."""
    if _form_of_body(request) != JSON:
        raise HTTPException(415, f"The body must be {JSON}.")


async def read_body(request: Request, limit_bytes: int, deadline: float) -> bytes:
    """The whole body.

    Raises:
        ServiceError: BodyTooLarge, as soon as that is known, or BodyTooSlow.
    """
    if int(request.headers.get("content-length", 0)) > limit_bytes:
        raise errors.BodyTooLarge(limit_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise errors.BodyTooLarge(limit_bytes)
    except TimeoutError:
        raise errors.BodyTooSlow from None
    return bytes(body)


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Done]) -> Done:
    """Wait for the work, and cancel it when the client hangs up: nobody would read the answer."""
    working = asyncio.current_task()
    assert working is not None
    is_working = True

    def stop(_: object) -> None:
        if is_working:
            working.cancel()

    # With the body read, the only message that can still come says that the client has gone.
    leaving = asyncio.ensure_future(request.receive())
    leaving.add_done_callback(stop)
    try:
        return await work
    except asyncio.CancelledError:
        if not leaving.done():
            raise
        working.uncancel()
        raise ClientDisconnect from None
    finally:
        is_working = False
        leaving.cancel()


def describe_error(error: PoseliftError | errors.ServiceError) -> tuple[int, ErrorDetail]:
    """The HTTP status of an error, and what its caller is told; one that is our fault is also logged."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    if status == 500:
        logger.error("a request failed", exc_info=error)
    detail = ErrorDetail(code=errors.code_of(error), message=error.message, path=error.path)
    if isinstance(error, errors.SessionConflict):
        detail.expected_frame_index = error.expected_frame_index
    return status, detail


async def _answer_error(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, PoseliftError | errors.ServiceError)
    status, detail = describe_error(error)
    headers = {}
    if isinstance(error, errors.Overloaded | errors.SessionStoreDown):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return _error(request, status, detail, headers)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    code = _HTTP_CODES.get(error.status_code, errors.InvalidRequest.code)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _methods_at(request)
    return _error(request, error.status_code, ErrorDetail(code=code, message=error.detail), headers)


def _methods_at(request: Request) -> str:
    """Of all routes there; the framework knows only those of the first."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = [route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted(set().union(*found)))


def _error(
    request: HTTPConnection, status: int, detail: ErrorDetail, headers: dict[str, str] | None = None
) -> Response:
    request.state.record.code = detail.code
    body = ErrorAnswer(error=detail).model_dump(exclude_none=True)
    return JSONResponse(body, status, headers)


class _Guarded:
    """Lets requests with a key through, before anything of their body is read, and notes whose key it is."""

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_a_key_of_its_own = scope["path"].startswith(f"{ADMIN}/")
        if scope["type"] in _REQUESTS and scope["path"] not in _OPEN and not has_a_key_of_its_own:
            request = HTTPConnection(scope)
            try:
                request.state.record.key = self._keys.name_of(request.headers.get("authorization"))
            except errors.Unauthenticated as error:
                await (await _answer_error(request, error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _PlainRoute(Route):
    """A route that tells, as those of FastAPI do, that it has been taken."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return match, {**child_scope, "route": self}


class _Observed:
    """Counts and logs every request in one place, names it, and keeps our own bugs from tearing the connection."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, traces: "Traces | None") -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in _REQUESTS:
            await self._app(scope, receive, send)
            return
        method = scope.get("method", "WEBSOCKET")
        record = open_request(
            scope["type"],
            f"{method} {scope['path']}",
            lambda name: _header(scope, name),
            self._metrics,
            None if scope["path"] in _PROBED else self._traces,
            is_stream=scope["type"] == "websocket",
        )
        scope.setdefault("state", {})["record"] = record

        async def send_named(message: Message) -> None:
            if message["type"] in _ANSWERS:
                record.status = message.get("status", _SWITCHING_PROTOCOLS)
                named = ((name.encode(), value.encode()) for name, value in record.headers)
                message["headers"] = [*message.get("headers", ()), *named, _NO_SNIFFING]
            elif message["type"] == "websocket.close":
                if record.status:
                    record.status = message["code"]
                else:  # nobody serves WebSockets there
                    record.code, record.status = _HTTP_CODES[404], 403
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except ClientDisconnect:
            record.code, record.status = "client_left", _CLIENT_LEFT
        except Exception:
            logger.exception("a request met a bug")
            detail = ErrorDetail(code="internal_error", message="The server made a mistake; it is in its log.")
            if not record.status:
                await _error(HTTPConnection(scope), 500, detail)(scope, receive, send_named)
            elif record.status == _SWITCHING_PROTOCOLS:
                with contextlib.suppress(OSError):  # the client may have gone
                    await send_named({"type": "websocket.close", "code": _FAILED})
            record.code = detail.code
        finally:
            # Found by the router, unless there is none.
            record.route = f"{method} {scope['route'].path}" if "route" in scope else method
            close_request(record, self._metrics)


def _header(scope: Scope, wanted: str) -> str | None:
    given = (value for name, value in scope["headers"] if name == wanted.encode())
    value: bytes | None = next(given, None)
    return None if value is None else value.decode("latin-1")


def _binary(message: str) -> dict[str, Any]:
    """What OpenAPI shall say of a body in protobuf."""
    return {"schema": {"type": "string", "format": "binary", "description": f"{message} of proto/lifter.proto."}}


def json_body(form: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI shall say of a body that the call reads itself."""
    content = {JSON: {"schema": form.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI shall say of the errors of an endpoint."""
    said = {
        401: "The request has no key, or none of this server's.",
        404: "There is no such model, or no such session.",
        409: "What the server has does not allow it now; nothing was changed.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The body is neither JSON nor protobuf.",
        422: "The request cannot be used; `path` names the field.",
        429: "There is no room for this request now; `retry-after` says when to try again.",
        500: "The network failed.",
        503: "The server is starting or stopping, or a store that it needs cannot be reached.",
        504: "The poses were not ready in time.",
    }
    return {status: {"model": ErrorAnswer, "description": said[status]} for status in statuses}


ONE_FRAME = [
    [540.1, 310.2, 0.99], [551.4, 298.7, 0.98], [529.8, 298.1, 0.98], [566.0, 305.5, 0.91], [515.2, 304.0, 0.9],
    [602.3, 405.6, 0.99], [478.9, 404.1, 0.99], [628.0, 540.7, 0.97], [450.5, 538.2, 0.98], [636.4, 660.9, 0.95],
    [441.1, 661.5, 0.96], [578.7, 668.3, 0.99], [503.3, 667.9, 0.99], [582.2, 858.0, 0.97], [498.6, 859.4, 0.97],
    [585.9, 1030.8, 0.93], None,
]  # fmt: skip

ONE_POSE = [
    [0.0, 0.0, 0.0], [-0.132, 0.006, 0.021], [-0.141, 0.446, 0.064], [-0.129, 0.892, 0.187],
    [0.132, -0.006, -0.021], [0.149, 0.431, -0.043], [0.152, 0.874, 0.091],
    [0.004, -0.231, 0.017], [0.011, -0.487, 0.006], [0.019, -0.553, -0.082], [0.017, -0.668, -0.064],
    [0.158, -0.432, -0.031], [0.241, -0.168, -0.062], [0.262, 0.063, -0.127],
    [-0.137, -0.441, 0.044], [-0.213, -0.179, 0.071], [-0.231, 0.058, 0.011],
]  # fmt: skip

_LIFT_BODY: dict[str, Any] = {
    "schema": {"$ref": f"#/components/schemas/{json_form.LiftForm.__name__}"},
    "examples": {
        "one person": {
            "summary": "Two frames of one person; the right ankle was not detected",
            "value": {
                "keypoints": [ONE_FRAME, ONE_FRAME],
                "skeleton": "coco17",
                "image_size": [1080, 1920],
                "fps": 30,
            },
        },
        "several people": {
            "summary": "Two people, the second not yet in view in the first frame",
            "value": {
                "tracks": [
                    {"track_id": "7", "keypoints": [ONE_FRAME, ONE_FRAME]},
                    {"track_id": "8", "keypoints": [None, ONE_FRAME]},
                ],
                "skeleton": "coco17",
                "image_size": [1080, 1920],
                "timestamps_s": [0.0, 0.04],
            },
        },
    },
}


_COMPLETE_BODY: dict[str, Any] = {
    "schema": {"$ref": f"#/components/schemas/{json_form.CompleteForm.__name__}"},
    "examples": {
        "one person": {
            "summary": "Two frames of one person, whose left wrist is missing in the second",
            "value": {
                "poses": [ONE_POSE, [*ONE_POSE[:13], None, *ONE_POSE[14:]]],
                "skeleton": "h36m17",
                "fps": 50,
            },
        },
    },
}


def _document(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    """The OpenAPI document. Calls that read their bodies themselves have FastAPI told of the bodies' schemas."""
    if not app.openapi_schema:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document["components"]["schemas"]
        for form in (json_form.LiftForm, json_form.CompleteForm):
            schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs"))
            schemas[form.__name__] = schema
        if needs_key:
            _document_keys(document)
        app.openapi_schema = document
    return app.openapi_schema


def _document_keys(document: dict[str, Any]) -> None:
    said = "A key that the operator of this server has given out."
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": said}}
    error = {"schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}}
    refused = {"description": "The request has no key, or none of this server's.", "content": {JSON: error}}
    for path, operations in document["paths"].items():
        for operation in operations.values() if path not in _OPEN else ():
            operation["security"] = [{"key": []}]
            operation["responses"]["401"] = refused
