"""Health and reflection over gRPC, which need no key: with small messages, and few calls of each method at a time.

The library's own services take messages as large as those that lift, from any number of calls for any time.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from poselift_service.grpc.call import Context, Handler, peer_address
from poselift_service.transport.limits import peer_of

_MAX_MESSAGE_BYTES = 4096
# Calls of one method whose message has not come: a new one takes the place of the oldest, and none waits for longer.
_MAX_READING, _READ_TIMEOUT_S = 16, 10.0
# Open calls of one method: of all clients, or of one where a call ends with its response.
_MAX_OPEN, _ALL = 200, "all"

# Time between two descriptions, of all calls: a client asks for some, and thousands would hold the event loop.
_DESCRIPTION_INTERVAL_S = 0.002

# A method takes the requests of a call, and sends its responses.
_Method = Callable[[AsyncIterator[Any], "_Responses"], Awaitable[None]]


@dataclass(frozen=True)
class _Responses:
    """What a servicer of the library wants of a call: to send messages, and to end it."""

    context: Context

    async def write(self, message: Message) -> None:
        await self.context.write(message.SerializeToString())

    async def abort(self, status: grpc.StatusCode, details: str = "") -> None:
        await self.context.abort(status, details)


def health_handlers(servicer: health.aio.HealthServicer) -> dict[str, Handler]:
    """Build the handlers of the health that a servicer knows, by method."""
    known: Any = servicer  # what it is called with is no context of the library, but as good for it

    async def check(requests: AsyncIterator[Any], responses: _Responses) -> None:
        async for request in requests:
            await responses.write(await known.Check(request, responses))
            break

    async def watch(requests: AsyncIterator[Any], responses: _Responses) -> None:
        async for request in requests:
            await known.Watch(request, responses)

    kind = health_pb2.HealthCheckRequest
    return {"Check": _Calls(check, kind).handler(), "Watch": _Calls(watch, kind, stay_open=True).handler()}


def reflection_handlers(services: Sequence[str]) -> dict[str, Handler]:
    """Build the handler that describes services."""
    servicer: Any = reflection.aio.ReflectionServicer(services)
    turn = asyncio.Lock()

    async def describe(requests: AsyncIterator[Any], responses: _Responses) -> None:
        async for response in servicer.ServerReflectionInfo(requests, None):
            async with turn:
                await asyncio.sleep(_DESCRIPTION_INTERVAL_S)
            await responses.write(response)

    calls = _Calls(describe, reflection_pb2.ServerReflectionRequest, stay_open=True)
    return {"ServerReflectionInfo": calls.handler()}


class _Calls:
    """The calls of one method. Those of another never keep them out: who floods `Watch` must not fail the probes."""

    def __init__(self, method: _Method, kind: type[Message], *, stay_open: bool = False) -> None:
        """Serve a method.

        Args:
            kind: of its requests.
            stay_open: whether a call goes on after its first request; of these there are few in all. The others end
                with their response, unless their client does not read it, and so there are few of one client.
        """
        self._method = method
        self._kind = kind
        self._stay_open = stay_open
        self._reading: dict[asyncio.Task[object], None] = {}
        self._open: Counter[str] = Counter()

    def handler(self) -> Handler:
        return grpc.stream_stream_rpc_method_handler(self._run)

    async def _run(self, _: object, context: Context) -> None:
        client = _ALL if self._stay_open else peer_of(peer_address(context))
        if self._open[client] >= _MAX_OPEN:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many calls of this method are open.")
        self._open[client] += 1
        try:
            await self._method(self._requests(context), _Responses(context))
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    async def _requests(self, context: Context) -> AsyncIterator[Message]:
        while (body := await self._read(context)) is not None:
            try:
                yield self._kind.FromString(body)
            except DecodeError:
                sentence = f"The body is not a {self._kind.DESCRIPTOR.name}."
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, sentence)

    async def _read(self, context: Context) -> bytes | None:
        """Read the next message; None when there is none."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._reading) >= _MAX_READING:
            oldest = next(iter(self._reading))
            del self._reading[oldest]
            oldest.cancel()
        self._reading[task] = None
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                body: object = await context.read()
        except asyncio.CancelledError:
            if task in self._reading:
                raise
            task.uncancel()  # another call has taken its place
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many calls wait for their message.")
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The message did not arrive in time.")
        finally:
            self._reading.pop(task, None)
        if not isinstance(body, bytes):
            return None
        if len(body) > _MAX_MESSAGE_BYTES:
            sentence = f"A message of this service may have at most {_MAX_MESSAGE_BYTES} bytes."
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, sentence)
        return body
