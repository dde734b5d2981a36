"""The client without coroutines: the same calls, run on an event loop in a thread of their own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from poselift.client.answers import InputWarning, Pose, SessionState, StreamWorld
from poselift.client.arrays import ArrayLike
from poselift.client.async_client import DEFAULT_TIMEOUT_S, DEFAULT_URL, AsyncClient
from poselift.client.async_stream import AsyncStream, Frames

P = ParamSpec("P")
Result = TypeVar("Result")


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="poselift client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end; an interrupted wait cancels it."""
        if self._loop.is_closed():
            coroutine.close()
            raise ValueError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End everything that still runs, and the thread."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate["Client", P], Result]:
    """The same method of `Client`."""

    @wraps(method)
    def call(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return client._loop.run(method(client._client, *args, **kwargs))

    return call


def _streaming(
    method: Callable[Concatenate[AsyncClient, P], AsyncStream],
) -> Callable[Concatenate["Client", P], "Stream"]:
    """The same method of `Client`, whose stream has no coroutines."""

    @wraps(method)
    def call(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> "Stream":
        return Stream(client._loop, method(client._client, *args, **kwargs))

    return call


class Client:
    """A client of one server, or of the replicas behind one address. Several threads may use it."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        grpc: str | None = None,
        ca_file: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """As `AsyncClient`."""
        self._client = AsyncClient(
            url, key=key, grpc=grpc, ca_file=ca_file, certificate=certificate, timeout_s=timeout_s
        )
        self._loop = _Loop()

    lift = _blocking(AsyncClient.lift)
    complete = _blocking(AsyncClient.complete)
    refine = _blocking(AsyncClient.refine)
    stream = _streaming(AsyncClient.stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; streams must have been left before."""
        self._loop.run(self._client.close())
        self._loop.close()


class Stream:
    """One person's stream. Lost connections, servers and sessions are replaced without a lost frame.

    Used by one thread at a time.
    """

    def __init__(self, loop: _Loop, stream: AsyncStream) -> None:
        self._loop = loop
        self._stream = stream

    def __enter__(self) -> Self:
        self._loop.run(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._stream.__aexit__(kind, error, trace))

    @property
    def session(self) -> SessionState:
        """The session as the server describes it."""
        return self._stream.session

    @property
    def warnings(self) -> list[InputWarning]:
        """What the server found odd in the frames so far, the first of each code."""
        return self._stream.warnings

    @property
    def world(self) -> StreamWorld | None:
        """As `AsyncStream.world`."""
        return self._stream.world

    def send(self, keypoints: ArrayLike | None, *, time_s: float | None = None, ahead: int = 1) -> list[Pose]:
        """As `AsyncStream.send`."""
        return self._loop.run(self._stream.send(keypoints, time_s=time_s, ahead=ahead))

    def end(self) -> list[Pose]:
        """As `AsyncStream.end`."""
        return self._loop.run(self._stream.end())

    def poses(self, frames: Frames, *, ahead: int = 1) -> Iterator[Pose]:
        """As `AsyncStream.poses`; `frames` is read in the thread of the caller."""
        for frame in frames:
            keypoints, time_s = self._stream.split(frame)
            yield from self.send(keypoints, time_s=time_s, ahead=ahead)
        yield from self.end()
