"""The life of the server: starting, becoming ready, draining and stopping, in order."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from poselift.errors import PoseliftError
from poselift.networks.network import DeviceLost, EngineUnavailable
from poselift_service.assembly import Parts, allowed_hosts, assemble, assemble_grpc, assemble_http
from poselift_service.errors import CannotStart
from poselift_service.grpc.server import GrpcServer
from poselift_service.http.metrics import metrics_server
from poselift_service.http.server import HttpServer
from poselift_service.settings import Settings
from poselift_service.transport.memory import MemoryWatch, give_memory_back, memory_bytes

_SAMPLE = Path(__file__).parent / "web" / "sample.json"
# A body of ten thousand frames is half a million short-lived objects. With Python's default of 700, the garbage
# collector scans everything again and again meanwhile, which takes as long as the parsing itself.
_GC_THRESHOLD_OBJECTS = 50_000
# With that threshold, old objects are collected after millions of new ones. Until then, whatever is part of a cycle
# (a connection that was cut, a model that was refused) would keep its memory.
_GC_INTERVAL_S = 20.0
# Time for which one thread may keep the others waiting for the interpreter's lock. A network of PyTorch gives the lock
# up in each of its hundreds of steps: with Python's default of 5 ms, a loop that is busy with somebody's small requests
# makes a frame of somebody else wait for seconds.
_SWITCH_INTERVAL_S = 0.0001
# Files besides connections: libraries, logs, Redis, metrics, and connections that are being refused.
_OTHER_FILES = 512

# Exit code when the GPU is lost: Kubernetes then starts the container anew.
_DEVICE_LOST = 3
# Time for which a server without its GPU says that it is not ready, before it stops.
_LOST_NOTICE_S = 1.0

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Returns:
        The exit code: 0 after an orderly end; 2 when the server could not start, 3 when the GPU no longer works in this
        process. Standard error then says why.
    """
    try:
        _allow_open_files(settings.max_connections)
        with contextlib.ExitStack() as cleanup:
            listener = cleanup.enter_context(_listen(settings.host, settings.port))
            parts = assemble(settings)
            metrics_listener = _listen_for_metrics(settings)
            if metrics_listener is not None:
                cleanup.enter_context(metrics_listener)
            if parts.traces is not None:
                cleanup.callback(parts.traces.close)
            http = assemble_http(settings, parts)
            with asyncio.Runner(loop_factory=http.loop_factory) as runner:
                runner.run(Server(settings, parts, http, listener, metrics_listener).run())
    except DeviceLost as error:
        sys.stderr.write(f"{error}\n")
        return _DEVICE_LOST
    except (CannotStart, EngineUnavailable, PoseliftError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


class Server:
    """Runs the parts of the service on one event loop."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        http: HttpServer,
        listener: socket.socket,
        metrics_listener: socket.socket | None,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._http = http
        self._listener = listener
        self._metrics_listener = metrics_listener
        self._grpc: GrpcServer | None = None
        self._grpc_stop: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP, then let every accepted request finish.

        Raises:
            CannotStart: the gRPC port cannot be bound, or the repository lacks a model that is to be served.
            EngineUnavailable: the requested engine or device is not available.
            InvalidArtifact, UnreachableRepository: a model is broken, or cannot be reached.
            DeviceLost: the GPU stopped working; what was accepted has been answered.
        """
        stop_requested = self._stop_on_signals()
        async with self._serving_metrics():
            await self._serve(stop_requested)

    async def _serve(self, stop_requested: asyncio.Event) -> None:
        if self._settings.grpc_port != 0:
            self._grpc = await self._start_grpc()
        http = asyncio.create_task(self._http.serve(sockets=[self._listener]))
        try:
            await self._parts.loader.start(default=self._settings.default_model, references=self._settings.load)
        except BaseException:
            await self._shut_down(http)
            raise
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD_OBJECTS)
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._parts.state.is_ready = not stop_requested.is_set()
        if self._parts.state.is_ready:
            if self._grpc is not None:
                await self._grpc.set_ready()
            self._print_ready()
        collecting = asyncio.create_task(_give_memory_back_regularly())
        watching = asyncio.create_task(MemoryWatch(self._parts.streams, capacity=memory_bytes()).run())
        device_lost = self._parts.state.device_lost
        ends = [asyncio.ensure_future(event.wait()) for event in (stop_requested, device_lost)]
        await asyncio.wait({http, *ends}, return_when=asyncio.FIRST_COMPLETED)
        collecting.cancel()
        watching.cancel()
        if device_lost.is_set():
            self._parts.state.is_ready = False
            await asyncio.sleep(_LOST_NOTICE_S)
        await self._shut_down(http)
        if device_lost.is_set():
            raise DeviceLost("The GPU no longer works in this process, so the server has stopped.")

    async def _shut_down(self, http: "asyncio.Task[None]") -> None:
        """Stop the parts in the order in which work passes through them, so that none waits for a stopped one."""
        logger.info("stopping")
        self._parts.state.is_ready, self._parts.state.is_draining = False, True
        self._parts.streams.stop()
        self._http.should_exit = True  # closes the listener, then waits for the running requests
        self._stop_grpc(self._settings.grace_s)
        await http
        if self._grpc_stop is not None:
            await self._grpc_stop
        await self._parts.loader.close(drain=not self._http.force_exit)
        await self._parts.sessions.close()
        logger.info("stopped")

    @contextlib.asynccontextmanager
    async def _serving_metrics(self) -> AsyncIterator[None]:
        """Serve the metrics inside the context, which is longer than anything else is served."""
        if self._metrics_listener is None:
            yield
            return
        server = metrics_server(self._parts.metrics, self._parts.limits, allowed_hosts(self._settings))
        serving = asyncio.create_task(server.serve(sockets=[self._metrics_listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving

    def _stop_on_signals(self) -> asyncio.Event:
        stop_requested = asyncio.Event()

        def stop() -> None:
            if stop_requested.is_set():
                self._http.force_exit = True  # the second signal: do not wait
                self._stop_grpc(0)
            stop_requested.set()

        signals = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which nohup sets
            signals.append(signal.SIGHUP)
        for signal_number in signals:
            asyncio.get_running_loop().add_signal_handler(signal_number, stop)
        return stop_requested

    async def _start_grpc(self) -> GrpcServer:
        host, port = self._settings.host, self._settings.grpc_port
        server = assemble_grpc(self._settings, self._parts)
        try:
            server.listen(host, port, self._parts.tls)
        except OSError as error:
            await server.stop(0)
            raise CannotStart(f"Cannot serve gRPC on {host}, port {port}: {error}.") from error
        await server.start()
        return server

    def _stop_grpc(self, grace_s: float) -> None:
        """Begin to stop, or shorten the time of a stop that has begun."""
        if self._grpc is not None:
            self._grpc_stop = asyncio.create_task(self._grpc.stop(grace_s))

    def _print_ready(self) -> None:
        """Log that the server is ready, and print a first request to copy."""
        settings, parts = self._settings, self._parts
        host, port = self._listener.getsockname()[:2]
        scheme = "http" if parts.tls is None else "https"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        models = [model.reference for model in parts.models]
        logger.info("serving", extra={"fields": {"address": address, "models": models}})
        sample = _SAMPLE.relative_to(Path.cwd()) if _SAMPLE.is_relative_to(Path.cwd()) else _SAMPLE
        docs = f" (documentation: {address}/docs)" if settings.docs else ""
        grpc = "" if self._grpc is None else f", gRPC on port {settings.grpc_port}"
        ca = "" if parts.tls is None else f" --cacert {settings.tls_certificate}"
        key = "" if parts.keys is None else " -H 'authorization: Bearer KEY'"
        sys.stdout.write(
            f"\nPoselift is ready on {address}{docs}{grpc}. Try:\n\n"
            f"  curl{ca}{key} -H 'content-type: application/json' --data-binary @{sample} {address}/lift\n\n"
        )
        sys.stdout.flush()


async def _give_memory_back_regularly() -> None:
    while True:
        await asyncio.sleep(_GC_INTERVAL_S)
        await give_memory_back()


def _allow_open_files(max_connections: int) -> None:
    """Raise the limit of open files, often 1024 by default: every connection is a file.

    Raises:
        CannotStart: the system does not allow as many.
    """
    needed = 2 * max_connections + _OTHER_FILES
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        raise CannotStart(
            f"The setting max_connections ({max_connections}) needs {needed} open files; the system allows {most}."
        )
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=2048)
    except OSError as error:
        raise CannotStart(f"Cannot listen on {host}, port {port}: {error.strerror or error}.") from error


def _listen_for_metrics(settings: Settings) -> socket.socket | None:
    """Open the metrics port, unless it is disabled."""
    if settings.metrics_port == 0:
        return None
    try:
        return _listen(settings.host, settings.metrics_port)
    except CannotStart as error:
        raise CannotStart(f"Cannot serve metrics: {error}") from error
