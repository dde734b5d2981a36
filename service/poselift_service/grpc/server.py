"""The gRPC interface: reads requests, calls the pipeline, translates errors. The only place that knows grpc."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Never

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from poselift.errors import PoseliftError
from poselift.pb import lifter_pb2 as pb
from poselift_service import errors
from poselift_service.codecs.protobuf import lift as protobuf_form
from poselift_service.pipeline.lift import Pipeline, Result
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.telemetry.requests import close_request, open_request
from poselift_service.transport.keys import Keys
from poselift_service.transport.limits import ConnectionLimits
from poselift_service.transport.tls import Tls

if TYPE_CHECKING:
    from poselift_service.telemetry.traces import Traces

# Every class of error that a request can end in; `PoseliftError` stands for all its children.
STATUS: dict[type[Exception], grpc.StatusCode] = {
    PoseliftError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # as the library says of still larger ones
    errors.BodyTooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.WrongTask: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownSession: grpc.StatusCode.NOT_FOUND,
    errors.SessionConflict: grpc.StatusCode.ABORTED,
    errors.SessionStoreDown: grpc.StatusCode.UNAVAILABLE,
    errors.StreamIdle: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NotReady: grpc.StatusCode.UNAVAILABLE,
    errors.EngineFailed: grpc.StatusCode.INTERNAL,
    errors.ModelConflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RepositoryDown: grpc.StatusCode.UNAVAILABLE,
}
SERVICE = pb.DESCRIPTOR.services_by_name["LiftingService"].full_name
_TRANSPORT = "grpc"
# Of the metadata, together with the path and what HTTP/2 adds, must fit into the 8 KiB that clients take.
_LONGEST_MESSAGE = 2000
# grpc's own name for the hint: clients with a retry policy obey it by themselves.
_RETRY_HINT = "grpc-retry-pushback-ms"
_NEVER = "-1"
# When the server stops, a client gets this time to take the error that its call ended in.
_LAST_STATUS_S = 5.0
_OPTIONS = (
    # Otherwise two servers could share a port without noticing.
    ("grpc.so_reuseport", 0),
    # Nothing but identity: a small compressed message may be a huge one, as for the bodies of HTTP.
    ("grpc.compression_enabled_algorithms_bitset", 1),
)

# The library reads no message over its own limit, and answers it without our code. Up to so many times the server's
# limit, a message is read and refused like over HTTP.
_TIMES_READ = 2
_LARGEST_MESSAGE = 2**31 - 1

# The request and its answer are bytes, so that parsing counts as part of the call and fails like the rest of it.
Context = grpc.aio.ServicerContext[bytes, bytes]
# With the moment of `time.monotonic()` by which it is to be answered.
Call = Callable[[bytes, RequestRecord, float], Awaitable[bytes]]
StreamCall = Callable[[RequestRecord, Context], Awaitable[None]]

logger = logging.getLogger(__name__)


class RpcServer:
    """The gRPC server. To be made and used on one event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        metrics: Metrics,
        max_message_bytes: int,
        deadline_s: float,
        keys: Keys | None = None,
        traces: "Traces | None" = None,
        connections: ConnectionLimits | None = None,
        reflects: bool = True,
    ) -> None:
        """Args:
        max_message_bytes: size of the largest request.
        deadline_s: time in which a request is answered or fails; that of a client can only shorten it.
        keys: of those who may ask; None lets everybody.
        traces: where the spans of calls go to, if anywhere.
        connections: what clients may do with them; None leaves that to the library.
        reflects: whether the interface describes itself.
        """
        self._pipeline = pipeline
        self._metrics = metrics
        self._traces = traces
        self._max_message_bytes = max_message_bytes
        self._deadline_s = deadline_s
        self._keys = keys
        self._running: set[object] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._ending = asyncio.Lock()
        self._health = health.aio.HealthServicer()
        read_bytes = min(_TIMES_READ * max_message_bytes, _LARGEST_MESSAGE)
        self._server = grpc.aio.server(
            options=[
                *_OPTIONS,
                *(_options_of(connections) if connections else ()),
                ("grpc.max_receive_message_length", read_bytes),
            ]
        )
        self.add_calls({"Lift": self._lift, "Complete": self._complete, "ListModels": self._list_models}, {})
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflects:
            reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def add_calls(self, calls: Mapping[str, Call], streams: Mapping[str, StreamCall]) -> None:
        """Answer more calls, by name; to be called before `start`.

        Args:
            calls: one message comes and one goes.
            streams: read and write as they like.
        """
        # All as streams, which is the same to a client: so a call without a key is refused before its message is read,
        # and one whose message never comes, or is too large, is noticed at all.
        served = {name: self._one_message(call) for name, call in calls.items()} | dict(streams)
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.stream_stream_rpc_method_handler(self._observed(name, call, is_stream=name in streams))
            for name, call in served.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def listen(self, host: str, port: int, tls: Tls | None = None) -> int:
        """Take a port; 0 takes a free one. Returns its number.

        Raises:
            OSError: it cannot be had.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, _credentials(tls))
        except RuntimeError as error:
            raise OSError("the address is in use or not one of this machine") from error

    async def start(self) -> None:
        """Begin to answer; whoever asks for its health is told that it is not ready yet."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def set_ready(self) -> None:
        """Tell whoever asks for its health that requests are welcome."""
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Tell that no more requests are welcome, refuse new ones, and let those that run finish within the time.

        Called again with less time, it ends sooner.
        """
        self._stopping = True
        await self._health.enter_graceful_shutdown()
        # Those who watch the health never finish by themselves; only lifting is worth waiting for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_s)
        # One at a time, and without the library's own grace: a second stop while the first one ends frees the server
        # under the second one's feet, and the process dies of it (grpcio 1.85).
        async with self._ending:
            await self._server.stop(None)

    async def _set_health(self, status: int) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def _lift(self, body: bytes, record: RequestRecord, deadline: float) -> bytes:
        self._pipeline.refuse_when_full(deadline)
        request = protobuf_form.read(body)
        return _written(await self._pipeline.lift(request, deadline=deadline), record, request.poses)

    async def _complete(self, body: bytes, record: RequestRecord, deadline: float) -> bytes:
        self._pipeline.refuse_when_full(deadline)
        request = protobuf_form.read_complete(body)
        return _written(await self._pipeline.complete(request, deadline=deadline), record, request.poses)

    async def _list_models(self, body: bytes, record: RequestRecord, deadline: float) -> bytes:
        protobuf_form.parse(body, pb.ListModelsRequest)
        return protobuf_form.write_models(self._pipeline.models)

    def _time_s(self, context: Context) -> float:
        remaining_s: float | None = context.time_remaining()  # None when the client has set no deadline
        return self._deadline_s if remaining_s is None else min(self._deadline_s, remaining_s)

    def _one_message(self, call: Call) -> StreamCall:
        async def serve(record: RequestRecord, context: Context) -> None:
            body = await self._read(context)
            await context.write(await call(body, record, record.started_s + self._time_s(context)))

        return serve

    async def _read(self, context: Context) -> bytes:
        """The message of a call."""
        try:
            async with asyncio.timeout(self._time_s(context)):
                body: object = await context.read()
        except TimeoutError:
            raise errors.BodyTooSlow from None
        # No message at all: the library has found it too large, and told the client so. Rarely, the client has left
        # before its message was complete; the library does not tell these apart.
        if not isinstance(body, bytes):
            raise errors.BodyTooLarge(self._max_message_bytes)
        self.check_size(body)
        return body

    def check_size(self, body: bytes) -> None:
        """Refuse a message that is larger than the server reads.

        Raises:
            BodyTooLarge: it is.
        """
        if len(body) > self._max_message_bytes:
            raise errors.BodyTooLarge(self._max_message_bytes)

    def _observed(
        self, name: str, call: StreamCall, *, is_stream: bool
    ) -> Callable[[object, Context], Awaitable[None]]:
        """Name, count and log a call, ask for its key, translate its errors, and let `stop` wait for it."""

        async def answer(_: object, context: Context) -> None:
            self._enter(context)
            record = open_request(
                _TRANSPORT,
                f"{SERVICE}/{name}",
                lambda key: _metadata(context, key),
                self._metrics,
                self._traces,
                is_stream=is_stream,
            )
            context.set_trailing_metadata(record.headers)
            try:
                if self._keys is not None:
                    record.key = self._keys.name_of(_metadata(context, "authorization"))
                if self._stopping:
                    raise errors.NotReady("The server is stopping.")
                await call(record, context)
            except (PoseliftError, errors.ServiceError) as error:
                await self.refuse(context, record, error)
            except (asyncio.CancelledError, grpc.aio.InternalError) as error:  # the latter of what was being sent
                if record.code == "ok":
                    record.code, record.status = "client_left", _number(grpc.StatusCode.CANCELLED)
                raise asyncio.CancelledError from error
            except grpc.aio.AbortError:
                raise  # the call has refused by itself
            except Exception:
                logger.exception("a request met a bug")
                message = "The server made a mistake; it is in its log."
                await self._abort(context, record, grpc.StatusCode.INTERNAL, "internal_error", message)
            finally:
                close_request(record, self._metrics)

        return answer

    async def refuse(
        self, context: Context, record: RequestRecord, error: PoseliftError | errors.ServiceError
    ) -> Never:
        """End a call with an error; returns, by raising, when the client has taken everything up to it."""
        status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
        if status is grpc.StatusCode.INTERNAL:
            logger.error("a request failed", exc_info=error)
        more = {}
        if error.path is not None:
            more["poselift-path"] = error.path
        if isinstance(error, errors.BodyTooLarge):
            more[_RETRY_HINT] = _NEVER  # the status alone would invite to
        if isinstance(error, errors.SessionConflict):
            more["poselift-expected-frame-index"] = str(error.expected_frame_index)
        if isinstance(error, errors.Overloaded | errors.SessionStoreDown):
            more[_RETRY_HINT] = str(math.ceil(1000 * error.retry_after_s))
        await self._abort(context, record, status, errors.code_of(error), error.message, **more)

    async def _abort(
        self, context: Context, record: RequestRecord, status: grpc.StatusCode, code: str, message: str, **more: str
    ) -> Never:
        record.code, record.status = code, _number(status)
        metadata = {**dict(record.headers), "poselift-code": code, **more}
        # A client that does not read holds the error up, but not, for longer than this, the end of the server.
        patience = asyncio.get_running_loop().call_later(_LAST_STATUS_S, self._leave, context)
        try:
            await context.abort(status, message[:_LONGEST_MESSAGE], tuple(metadata.items()))
        finally:
            patience.cancel()

    def _enter(self, context: Context) -> None:
        self._running.add(context)
        self._idle.clear()
        # Called when the answer is on its way, or the call cancelled; later than this handler returns.
        context.add_done_callback(self._leave)  # type: ignore[arg-type]  # the stubs ask for a class of their own

    def _leave(self, context: object) -> None:
        self._running.discard(context)
        if not self._running:
            self._idle.set()


def _written(result: Result, record: RequestRecord, frames: int) -> bytes:
    """The message with a result, which is noted."""
    record.set_result(model=result.manifest.name, frames=frames, queue_s=result.queue_s, inference_s=result.inference_s)
    return protobuf_form.write(result, total_s=record.elapsed_s)


def _options_of(limits: ConnectionLimits) -> list[tuple[str, int]]:
    header_timeout_ms = math.ceil(1000 * limits.header_timeout_s)
    return [
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.calls),
        # Both: between the two of them, the library would refuse at random.
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.server_handshake_timeout_ms", header_timeout_ms),
        ("grpc.http2.settings_timeout", header_timeout_ms),
        ("grpc.max_connection_idle_ms", 1000 * limits.keep_alive_s),
        ("grpc.max_connection_age_ms", math.ceil(1000 * limits.age_s)),
        # A peer that has vanished without a word is noticed by pings, and its calls end.
        ("grpc.keepalive_time_ms", 1000 * limits.keep_alive_s),
        ("grpc.keepalive_timeout_ms", math.ceil(1000 * limits.stall_timeout_s)),
    ]


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)], tls.client_ca, require_client_auth=tls.client_ca is not None
    )


def _number(status: grpc.StatusCode) -> int:
    return int(status.value[0])


def _metadata(context: Context, wanted: str) -> str | None:
    for name, value in context.invocation_metadata() or ():
        if name == wanted and isinstance(value, str):
            return value
    return None
