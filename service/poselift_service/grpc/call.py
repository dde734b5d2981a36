"""Calls of the gRPC service: each is counted, logged, checked for its key, and its errors are translated."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Never, TypeAlias
from urllib.parse import unquote

import grpc

from poselift.errors import PoseliftError
from poselift.pb import lifter_pb2 as pb
from poselift_service import errors
from poselift_service.grpc.errors import error_metadata, number_of, status_of
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.telemetry.requests import close_request, open_request
from poselift_service.telemetry.spans import SpanRecorder
from poselift_service.transport.byte_budget import ByteBudget
from poselift_service.transport.keys import Keys
from poselift_service.transport.limits import SizeLimit
from poselift_service.transport.proxies import TrustedProxies

SERVICE = pb.DESCRIPTOR.services_by_name["LiftingService"].full_name
_TRANSPORT = "grpc"
# When the server stops, a client has this time to take the error that its call ended with.
_ABORT_TIMEOUT_S = 5.0
# A message that has not arrived by then counts in full.
_SLOW_S = 1.0

# Requests and responses are bytes, so that parsing counts as part of the call and fails like the rest of it.
Context = grpc.aio.ServicerContext[bytes, bytes]
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

logger = logging.getLogger(__name__)


class Budgets(NamedTuple):
    """Of the bytes that have been read, and of messages that the library is still putting together."""

    read: ByteBudget
    unread: ByteBudget

    @staticmethod
    def of(budget: ByteBudget | None) -> "Budgets":
        """Budgets for a server; None leaves the bytes unlimited.

        Messages that arrive slowly have a budget of their own, half as large, because they might consist of a few bytes
        and must not keep all other requests out.
        """
        budget = budget or ByteBudget(sys.maxsize)
        return Budgets(budget, ByteBudget(budget.capacity // 2))


class Call:
    """One call in progress: its messages, its record and its end.

    Attributes:
        record: what is logged of it.
    """

    def __init__(
        self,
        context: Context,
        record: RequestRecord,
        *,
        max_message: SizeLimit,
        deadline_s: float,
        budgets: "Budgets",
        release: Callable[[], None],
    ) -> None:
        """Wrap a call; `close` must follow.

        Args:
            max_message: the largest message.
            deadline_s: time from the first byte of a request to its response or failure; the client's own deadline can
                only shorten it.
            budgets: of the bytes of all requests.
            release: lets the server stop without waiting for this call any longer.
        """
        self.record = record
        self._context = context
        self._max_message = max_message
        self._deadline_s = deadline_s
        self._hold = budgets.read.hold()
        self._unread_hold = budgets.unread.hold()
        self._release = release
        self._overloaded: errors.Overloaded | None = None

    def deadline(self) -> float:
        """Give the moment of `time.monotonic()` by which the response is due."""
        return self.record.started_s + self._remaining_s()

    async def read_request(self) -> bytes:
        """Read the message of a call that has one.

        A message that takes long counts as if it were as large as it may be, because the library does not tell how much
        of it has arrived.

        Raises:
            BodyTooSlow: it did not arrive in time.
            BodyTooLarge: it is over the limit.
            Overloaded: too many bytes of all requests are held.
        """
        task = asyncio.current_task()
        assert task is not None
        slow = asyncio.get_running_loop().call_later(_SLOW_S, self._count_unread, task)
        try:
            async with asyncio.timeout(self._remaining_s()):
                body = await self.read()
        except TimeoutError:
            raise errors.BodyTooSlow from None
        except asyncio.CancelledError:
            if self._overloaded is None:
                raise
            task.uncancel()
            raise self._overloaded from None
        finally:
            slow.cancel()
            self._unread_hold.release()
        # No message at all: the library found it too large and has already told the client. In rare cases the client
        # left before its message was complete; the library does not tell the two apart.
        if body is None:
            raise errors.BodyTooLarge(*self._max_message)
        return body

    async def read(self) -> bytes | None:
        """Read the next message; None when the client sends no more.

        Raises:
            BodyTooLarge: it is over the limit.
            Overloaded: too many bytes of all requests are held.
        """
        self._hold.release()
        body: object = await self._context.read()
        if not isinstance(body, bytes):
            return None
        self._hold.resize(len(body))
        if len(body) > self._max_message.bytes:
            raise errors.BodyTooLarge(*self._max_message)
        return body

    def close(self) -> None:
        """Hold no bytes any more."""
        self._hold.release()

    def _count_unread(self, reader: "asyncio.Task[object]") -> None:
        try:
            self._unread_hold.resize(self._max_message.bytes)
        except errors.Overloaded as error:
            self._overloaded = error
            reader.cancel()

    async def write(self, body: bytes) -> None:
        """Send a message."""
        await self._context.write(body)

    def authenticate(self, keys: Keys) -> None:
        """Record whose API key the call has.

        Raises:
            Unauthenticated: it has none, or an invalid one.
        """
        self.record.key = keys.name_of(_metadata_value(self._context, "authorization"))

    async def refuse(self, error: PoseliftError | errors.ServiceError) -> Never:
        """End the call with an error; raises once the client has taken everything up to it."""
        status = status_of(error)
        if status is grpc.StatusCode.INTERNAL:
            logger.error("a request failed", exc_info=error)
        await self._abort(status, errors.code_of(error), error.message, **error_metadata(error))

    async def fail(self) -> Never:
        """End the call after an unexpected exception."""
        message = "Internal error; the server's log has the details."
        await self._abort(grpc.StatusCode.INTERNAL, "internal_error", message)

    async def _abort(self, status: grpc.StatusCode, code: str, message: str, **extra_metadata: str) -> Never:
        self.record.code, self.record.status = code, number_of(status)
        metadata = {**dict(self.record.headers), "poselift-code": code, **extra_metadata}
        # A client that does not read delays its error, but must not delay the end of the server for longer than this.
        abort_timer = asyncio.get_running_loop().call_later(_ABORT_TIMEOUT_S, self._release)
        try:
            await self._context.abort(status, errors.shorten(message), tuple(metadata.items()))
        finally:
            abort_timer.cancel()

    def _remaining_s(self) -> float:
        remaining_s: float | None = self._context.time_remaining()  # None when the client has set no deadline
        return self._deadline_s if remaining_s is None else min(self._deadline_s, remaining_s)


# From a request, its record and its deadline, a moment of `time.monotonic()`, to the response.
UnaryMethod = Callable[[bytes, RequestRecord, float], Awaitable[bytes]]
StreamMethod = Callable[[Call], Awaitable[None]]


@dataclass(frozen=True)
class Methods:
    """Methods of the service by name.

    Attributes:
        unary: one request message, one response message.
        streams: any number of each.
    """

    unary: Mapping[str, UnaryMethod]
    streams: Mapping[str, StreamMethod]


class CallRunner:
    """Runs the calls of a server, all in the same way, and knows which are running."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        max_message: SizeLimit,
        deadline_s: float,
        keys: Keys | None = None,
        traces: SpanRecorder | None = None,
        budget: ByteBudget | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Take what all calls share; for the arguments see `GrpcServer`."""
        self._budgets = Budgets.of(budget)
        self._proxies = proxies or TrustedProxies()
        self._metrics = metrics
        self._max_message = max_message
        self._deadline_s = deadline_s
        self._keys = keys
        self._traces = traces
        self._running: set[object] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    def handlers(self, methods: Methods) -> dict[str, Handler]:
        """Build the handlers of some methods, by name.

        All are registered as streams, which makes no difference to a client. So a call without a key is refused before
        its message is read, and a call whose message is late or too large reaches our code and is logged.
        """
        unary = {name: self._handler(name, _as_stream_method(method)) for name, method in methods.unary.items()}
        streams = {name: self._handler(name, method, is_stream=True) for name, method in methods.streams.items()}
        return unary | streams

    def refuse_new(self) -> None:
        """Refuse every call from now on, because the server is stopping."""
        self._stopping = True

    async def wait_until_idle(self, timeout_s: float) -> None:
        """Wait until no call is running, or until the time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)

    def _handler(self, name: str, method: StreamMethod, *, is_stream: bool = False) -> Handler:
        async def run(_: object, context: Context) -> None:
            self._track(context)
            record = open_request(
                _TRANSPORT,
                f"{SERVICE}/{name}",
                lambda key: _metadata_value(context, key),
                self._metrics,
                self._traces,
                is_stream=is_stream,
            )
            record.peer = self._proxies.client_of(peer_address(context), _metadata_values(context, "x-forwarded-for"))
            context.set_trailing_metadata(record.headers)
            call = self._call(context, record)
            try:
                await self._run(method, call)
            finally:
                call.close()
                close_request(record, self._metrics)

        return grpc.stream_stream_rpc_method_handler(run)

    async def _run(self, method: StreamMethod, call: Call) -> None:
        record = call.record
        try:
            if self._keys is not None:
                call.authenticate(self._keys)
            if self._stopping:
                raise errors.NotReady("The server is stopping.")
            await method(call)
        except (PoseliftError, errors.ServiceError) as error:
            await call.refuse(error)
        except (asyncio.CancelledError, grpc.aio.InternalError) as error:  # the latter while a message was being sent
            if record.code == "ok":
                record.code, record.status = "client_left", number_of(grpc.StatusCode.CANCELLED)
            raise asyncio.CancelledError from error
        except grpc.aio.AbortError:
            raise  # the method has refused the call itself
        except Exception:
            logger.exception("unhandled exception in a request")
            await call.fail()

    def _call(self, context: Context, record: RequestRecord) -> Call:
        return Call(
            context,
            record,
            max_message=self._max_message,
            deadline_s=self._deadline_s,
            budgets=self._budgets,
            release=lambda: self._untrack(context),
        )

    def _track(self, context: Context) -> None:
        self._running.add(context)
        self._idle.clear()
        # Called when the response has been sent or the call was cancelled, which is after the handler has returned.
        context.add_done_callback(self._untrack)  # type: ignore[arg-type]  # the stubs ask for a class of their own

    def _untrack(self, context: object) -> None:
        self._running.discard(context)
        if not self._running:
            self._idle.set()


def _as_stream_method(method: UnaryMethod) -> StreamMethod:
    async def serve(call: Call) -> None:
        body = await call.read_request()
        await call.write(await method(body, call.record, call.deadline()))

    return serve


def peer_address(context: Context) -> str:
    """The address of a client, from `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    _, _, address = context.peer().partition(":")
    return unquote(address.rpartition(":")[0]).strip("[]")


def _metadata_value(context: Context, name: str) -> str | None:
    return next(iter(_metadata_values(context, name)), None)


def _metadata_values(context: Context, name: str) -> list[str]:
    sent = context.invocation_metadata() or ()
    return [value for key, value in sent if key == name and isinstance(value, str)]
