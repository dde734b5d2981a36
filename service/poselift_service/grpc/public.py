"""Health and reflection over gRPC, which need no key: with small messages, and few calls at a time.

The library's own services take messages as large as those that lift, from any number of calls for any time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from poselift_service.grpc.call import Context, Handler

_MAX_MESSAGE_BYTES = 4096
# Calls whose message has not come: a new one takes the place of the oldest, and none waits for longer than this.
_MAX_READING, _READ_TIMEOUT_S = 16, 10.0
# Calls that stay open, of all clients.
_MAX_OPEN = 200

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


class PublicServices:
    """The handlers of both services."""

    def __init__(self, servicer: health.aio.HealthServicer) -> None:
        """Serve what a servicer knows of the health."""
        self._health = servicer
        self._reading: dict[asyncio.Task[object], None] = {}
        self._open = 0

    def health_handlers(self) -> dict[str, Handler]:
        """Build the handlers of the health, by method."""
        servicer: Any = self._health  # what it is called with is no context of the library, but as good for it

        async def check(requests: AsyncIterator[Any], responses: _Responses) -> None:
            async for request in requests:
                await responses.write(await servicer.Check(request, responses))
                break

        async def watch(requests: AsyncIterator[Any], responses: _Responses) -> None:
            async for request in requests:
                await servicer.Watch(request, responses)

        kind = health_pb2.HealthCheckRequest
        return {"Check": self._handler(check, kind), "Watch": self._handler(watch, kind)}

    def reflection_handlers(self, services: Sequence[str]) -> dict[str, Handler]:
        """Build the handler that describes services."""
        servicer: Any = reflection.aio.ReflectionServicer(services)
        turn = asyncio.Lock()

        async def describe(requests: AsyncIterator[Any], responses: _Responses) -> None:
            async for response in servicer.ServerReflectionInfo(requests, None):
                async with turn:
                    await asyncio.sleep(_DESCRIPTION_INTERVAL_S)
                await responses.write(response)

        return {"ServerReflectionInfo": self._handler(describe, reflection_pb2.ServerReflectionRequest)}

    def _handler(self, method: _Method, kind: type[Message]) -> Handler:
        async def run(_: object, context: Context) -> None:
            if self._open >= _MAX_OPEN:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many calls of this service are open.")
            with self._opened():
                await method(self._requests(context, kind), _Responses(context))

        return grpc.stream_stream_rpc_method_handler(run)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def _requests(self, context: Context, kind: type[Message]) -> AsyncIterator[Message]:
        while (body := await self._read(context)) is not None:
            try:
                yield kind.FromString(body)
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The body is not a {kind.DESCRIPTOR.name}.")

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
