"""Errors as HTTP responses: their statuses, bodies and headers."""

import logging
import math
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Match, Route

from poselift.errors import PoseliftError
from poselift_service import errors

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
NOT_FOUND, FORBIDDEN = "not_found", "forbidden"
# Codes of the refusals that exist over HTTP only.
_HTTP_ONLY_CODES = {
    404: NOT_FOUND,
    405: "method_not_allowed",
    415: "unsupported_media_type",
}

logger = logging.getLogger(__name__)


# Messages and paths may quote the request.
Shortened = Annotated[str, AfterValidator(errors.shorten)]


class ErrorDetail(BaseModel):
    """Why a request got no poses: a stable code for programs, and a sentence for people."""

    code: str
    message: Shortened
    path: Shortened | None = None
    expected_frame_index: Annotated[
        int | None, Field(description="Only with `session_conflict`: the index of the next frame.")
    ] = None
    retry_after_s: Annotated[
        int | None, Field(description="When to try again. Only over WebSocket; elsewhere see the header `retry-after`.")
    ] = None


class ErrorAnswer(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


def add_error_handlers(app: FastAPI) -> None:
    """Translate the errors of the service and of the framework into responses of one form."""
    app.add_exception_handler(PoseliftError, service_error_response)
    app.add_exception_handler(errors.ServiceError, service_error_response)
    app.add_exception_handler(HTTPException, _http_error_response)


def describe_error(error: PoseliftError | errors.ServiceError) -> tuple[int, ErrorDetail]:
    """Give the HTTP status and the detail of an error; log an error that is the server's fault."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    if status == 500:
        logger.error("a request failed", exc_info=error)
    detail = ErrorDetail(code=errors.code_of(error), message=error.message, path=error.path)
    if isinstance(error, errors.SessionConflict):
        detail.expected_frame_index = error.expected_frame_index
    return status, detail


async def service_error_response(request: HTTPConnection, error: Exception) -> Response:
    """Build the response to a request that failed with an error of the service or of the library."""
    assert isinstance(error, PoseliftError | errors.ServiceError)
    status, detail = describe_error(error)
    headers = {}
    if isinstance(error, errors.Overloaded | errors.SessionStoreDown):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return error_response(request, status, detail, headers)


def error_response(
    request: HTTPConnection, status: int, detail: ErrorDetail, headers: dict[str, str] | None = None
) -> Response:
    """Build an error response, and set its code in the record of the request."""
    request.state.record.code = detail.code
    body = ErrorAnswer(error=detail).model_dump(exclude_none=True)
    return JSONResponse(body, status, headers)


async def _http_error_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_ONLY_CODES.get(error.status_code, errors.InvalidRequest.code)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed_methods(request)
    return error_response(request, error.status_code, ErrorDetail(code=code, message=error.detail), headers)


def _allowed_methods(request: Request) -> str:
    """List the methods of all routes with this path; the framework names only those of the first."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    methods = [route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    allowed = set().union(*methods)
    return ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
