"""What the calls about whole clips share: from a body in one media type to a response in another."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.protobuf.lift import read_complete, read_lift, read_off_loop_if_long, write_result
from poselift_service.http.body import (
    JSON,
    PROTOBUF,
    body_media_type,
    cancel_on_disconnect,
    preferred_media_type,
    read_body,
)
from poselift_service.pipeline.lift import Pipeline, Result
from poselift_service.pipeline.request import CompleteRequest, LiftRequest, Limits
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.limits import SizeLimit

ClipRequest = TypeVar("ClipRequest", LiftRequest, CompleteRequest)


class LiftCodec(Protocol):
    """Reads requests from bodies of one media type, and writes results to them."""

    async def read_lift(self, body: bytes) -> LiftRequest: ...

    async def read_complete(self, body: bytes) -> CompleteRequest: ...

    async def write(self, result: Result, *, total_s: float) -> bytes: ...


class _ProtobufCodec:
    """Protobuf; its answers are written so fast that they need not yield to other requests, whatever their length."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def read_lift(self, body: bytes) -> LiftRequest:
        return await read_off_loop_if_long(read_lift, body, self._limits)

    async def read_complete(self, body: bytes) -> CompleteRequest:
        return await read_off_loop_if_long(read_complete, body, self._limits)

    async def write(self, result: Result, *, total_s: float) -> bytes:
        return write_result(result, total_s=total_s)


class ClipCalls:
    """Answers requests about whole clips."""

    def __init__(self, pipeline: Pipeline, json_reader: JsonReader, *, max_body: SizeLimit, deadline_s: float) -> None:
        self._pipeline = pipeline
        self._max_body = max_body
        self._deadline_s = deadline_s
        self._codecs: dict[str, LiftCodec] = {
            JSON: JsonLiftCodec(json_reader),
            PROTOBUF: _ProtobufCodec(pipeline.limits),
        }

    async def respond(
        self,
        request: Request,
        read: Callable[[LiftCodec, bytes], Awaitable[ClipRequest]],
        work: Callable[[ClipRequest, float], Coroutine[Any, Any, Result]],
    ) -> Response:
        """Read a request, have the pipeline work on it, and write the result.

        Args:
            read: reads the body with the codec of its media type.
            work: gives the result; it takes the deadline as a moment of `time.monotonic()`.
        """
        record: RequestRecord = request.state.record
        deadline = record.started_s + self._deadline_s
        body_type = body_media_type(request)
        response_type = preferred_media_type(request.headers.get("accept", ""), default=body_type)
        self._pipeline.refuse_when_full(deadline)
        clip = await read(self._codecs[body_type], await read_body(request, self._max_body, deadline))
        result = await cancel_on_disconnect(request, work(clip, deadline))
        record.set_result(
            model=result.manifest.name, frames=result.poses, queue_s=result.queue_s, inference_s=result.inference_s
        )
        content = await self._codecs[response_type].write(result, total_s=record.elapsed_s)
        return Response(content, media_type=response_type)


class _DirectRoute(Route):
    """A route of Starlette that stores itself in the scope, as those of FastAPI do; the request log needs it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return match, {**child_scope, "route": self}


def add_clip_call(
    app: FastAPI, path: str, call: Callable[[Request], Awaitable[Response]], summary: str, documentation: dict[str, Any]
) -> None:
    """Add a POST call that FastAPI documents, but does not serve.

    FastAPI has no argument to read and no response to check here, and takes 5 % of the time of a small request to
    find that out.

    Args:
        documentation: further arguments of FastAPI's decorator, as `openapi.clip_call` gives them.
    """
    app.post(path, summary=summary, **documentation)(call)
    served_directly = sum(isinstance(route, _DirectRoute) for route in app.router.routes)
    app.router.routes.insert(served_directly, _DirectRoute(path, call, methods=["POST"]))
