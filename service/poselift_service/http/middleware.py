"""What surrounds every request: its record and id, the check of its API key, and the response to a crash."""

import contextlib
import logging

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poselift_service.errors import Unauthenticated
from poselift_service.http.errors import NOT_FOUND, ErrorDetail, error_response, service_error_response
from poselift_service.http.paths import ADMIN, DOCS, PAGE, PROBES, PUBLIC_PATHS, path_of
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.requests import close_request, open_request
from poselift_service.telemetry.spans import SpanRecorder
from poselift_service.transport.keys import Keys

# Begins the subprotocol of a WebSocket that is an API key.
KEY_PROTOCOL = "bearer."
# The kinds of scope that count as requests; also the names of their transports in logs and metrics.
_REQUESTS = ("http", "websocket")
# First messages of a response: over HTTP, to an accepted WebSocket, and to a rejected one.
_RESPONSE_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_CLIENT_CLOSED_REQUEST = 499  # nginx's status; only logged and counted, since the client is gone
_FORBIDDEN = 403
_SWITCHING_PROTOCOLS = 101
_INTERNAL_ERROR_CLOSE = 1011  # RFC 6455, 7.4.1
# Keeps browsers from guessing another media type than the one that the response names.
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")

logger = logging.getLogger(__name__)


class AuthMiddleware:
    """Refuses requests without a valid API key before their body is read, and records whose key it is.

    Calls under `/admin` are left to their own check, because they have a key of their own.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in _REQUESTS and not _is_exempt(path_of(scope)):
            request = HTTPConnection(scope)
            try:
                request.state.record.key = self._keys.name_of(_authorization(request))
            except Unauthenticated as error:
                await (await service_error_response(request, error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class RequestLogMiddleware:
    """Counts, logs and names every request in one place, and answers those that end in an unexpected exception."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, traces: SpanRecorder | None) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in _REQUESTS:
            await self._app(scope, receive, send)
            return
        method, path = scope.get("method", "WEBSOCKET"), path_of(scope)
        record = open_request(
            scope["type"],
            f"{method} {path}",
            lambda name: _header(scope, name),
            self._metrics,
            None if path in PROBES else self._traces,
            is_stream=scope["type"] == "websocket",
        )
        record.peer = client[0] if (client := scope.get("client")) else ""
        scope.setdefault("state", {})["record"] = record
        if method == "HEAD":  # answered as a GET; the server leaves out the body
            scope = {**scope, "method": "GET"}

        async def send_recorded(message: Message) -> None:
            if message["type"] in _RESPONSE_STARTS:
                record.status = message.get("status", _SWITCHING_PROTOCOLS)
                identity = ((name.encode(), value.encode()) for name, value in record.headers)
                message["headers"] = [*message.get("headers", ()), *identity, _NO_SNIFFING]
            elif message["type"] == "websocket.close":
                if record.status:
                    record.status = message["code"]
                else:  # the path has no WebSocket
                    record.code, record.status = NOT_FOUND, _FORBIDDEN
            await send(message)

        try:
            await self._app(scope, receive, send_recorded)
        except ClientDisconnect:
            record.code, record.status = "client_left", _CLIENT_CLOSED_REQUEST
        except Exception:
            logger.exception("unhandled exception in a request")
            detail = ErrorDetail(code="internal_error", message="Internal error; the server's log has the details.")
            if not record.status:
                await error_response(HTTPConnection(scope), 500, detail)(scope, receive, send_recorded)
            elif record.status == _SWITCHING_PROTOCOLS:
                with contextlib.suppress(OSError):  # the client may be gone
                    await send_recorded({"type": "websocket.close", "code": _INTERNAL_ERROR_CLOSE})
            record.code = detail.code
        finally:
            # Set by the router, unless no route matched.
            record.route = f"{method} {scope['route'].path}" if "route" in scope else method
            close_request(record, self._metrics)


def _authorization(request: HTTPConnection) -> str | None:
    """The header of that name; for a WebSocket, to which a page cannot add headers, also one of its subprotocols."""
    header = request.headers.get("authorization")
    if header is None:
        for protocol in request.scope.get("subprotocols", ()):
            if protocol.startswith(KEY_PROTOCOL):
                return f"Bearer {protocol.removeprefix(KEY_PROTOCOL)}"
    return header


def _is_exempt(path: str) -> bool:
    return path in PUBLIC_PATHS or path.startswith((PAGE, DOCS, f"{ADMIN}/"))


def _header(scope: Scope, name: str) -> str | None:
    values = (value for key, value in scope["headers"] if key == name.encode())
    value: bytes | None = next(values, None)
    return None if value is None else value.decode("latin-1")
