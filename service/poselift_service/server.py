"""Puts the service together, runs it, and takes it down in order."""

import asyncio
import contextlib
import gc
import logging
import math
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from poselift.artifacts.artifact import Artifact
from poselift.errors import PoseliftError
from poselift_service.errors import CannotStart
from poselift_service.grpc.server import RpcServer
from poselift_service.grpc.sessions import add_session_calls
from poselift_service.http.admin import add_admin
from poselift_service.http.app import create_app
from poselift_service.http.protocol import http_protocol
from poselift_service.http.sessions import add_sessions
from poselift_service.http.stream import add_stream
from poselift_service.http.websocket_protocol import OrderlyWebSocketProtocol
from poselift_service.inference.engine import NetworkEngine, engine_for
from poselift_service.inference.loader import ModelLoader
from poselift_service.inference.models import ServedModels
from poselift_service.inference.networks.network import EngineUnavailable
from poselift_service.inference.networks.torch_cuda import gpu_memory
from poselift_service.pipeline.lift import Pipeline
from poselift_service.pipeline.live import LiveSessions
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.observed_store import ObservedStore
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import SessionStore
from poselift_service.settings import Settings
from poselift_service.telemetry import requests
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.keys import InvalidKeys, Keys, only_key, read_keys
from poselift_service.transport.limits import ConnectionLimits
from poselift_service.transport.streams import Streams
from poselift_service.transport.tls import InvalidTls, Tls, read_tls

if TYPE_CHECKING:
    from poselift_service.telemetry.traces import Traces

SAMPLE = Path(__file__).parent / "web" / "sample.json"
# A body of ten thousand frames is half a million short-lived objects; with Python's default of 700 the collector walks
# over everything again and again meanwhile, which takes as long as the parsing itself.
_COLLECT_AFTER_OBJECTS = 50_000
# Libraries, logs, Redis, metrics, and connections that are just being refused.
_OTHER_FILES = 512

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Returns:
        The exit code: 0 after an orderly end, 2 when it could not start (a sentence on standard error says why).
    """
    try:
        _allow_open_files(settings.max_connections)
        with contextlib.ExitStack() as cleanup:
            listener = cleanup.enter_context(_listen(settings.host, settings.port))
            server = Server(settings, listener)
            cleanup.callback(_serve_metrics(server.metrics, settings))
            if server.traces is not None:
                cleanup.callback(server.traces.close)
            with asyncio.Runner(loop_factory=server.loop_factory) as runner:
                runner.run(server.run())
    except (CannotStart, EngineUnavailable, PoseliftError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


class Server:
    """The loaded models, and the HTTP and gRPC servers in front of them."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        """Raises:
        CannotStart: a setting cannot be used.
        """
        self.metrics = Metrics()
        self.traces = _open_traces(settings)
        self._settings = settings
        self._listener = listener
        self._ready = self._draining = False
        self.metrics.bind_state(is_ready=lambda: self._ready, is_draining=lambda: self._draining)
        if (gpu := gpu_memory()) is not None:
            self.metrics.bind_device_memory(*gpu)
        self._keys = _read_keys(settings.api_keys_file)
        self._tls = _read_tls(settings)
        self._connections = _connection_limits(settings)
        self._models = ServedModels()
        self._loader = ModelLoader(
            settings.models,
            self._models,
            make_engine=self._make_engine,
            capacity_windows=settings.max_windows_queued,
            metrics=self.metrics,
            trace=None if self.traces is None else self.traces.record_batcher_entry,
        )
        self._pipeline = Pipeline(self._models, limits=Limits(frames=settings.max_frames, tracks=settings.max_tracks))
        app = create_app(
            self._pipeline,
            metrics=self.metrics,
            is_ready=lambda: self._ready,
            max_body_bytes=settings.max_body_bytes,
            deadline_s=settings.deadline_s,
            version=version("poselift"),
            keys=self._keys,
            traces=self.traces,
            docs=settings.docs,
            cors_origins=settings.cors_origins,
        )
        self._sessions = Sessions(
            _session_store(settings, self.metrics, self.traces),
            ttl_s=settings.session_ttl_s,
            capacity=settings.max_sessions,
            observe=self.metrics.count_session_event,
        )
        self.metrics.bind_sessions(lambda: self._sessions.held)
        self._live = LiveSessions(self._pipeline, self._sessions, max_frames=settings.max_frames)
        self._streams = Streams(
            capacity=settings.max_streams, idle_s=settings.session_ttl_s, stall_s=settings.stall_timeout_s
        )
        add_sessions(app, self._live, max_body_bytes=settings.max_body_bytes, deadline_s=settings.deadline_s)
        add_stream(app, self._live, self._streams, metrics=self.metrics, deadline_s=settings.deadline_s)
        if settings.admin:
            add_admin(
                app,
                self._loader,
                self._models,
                keys=_admin_keys(settings),
                max_body_bytes=settings.max_body_bytes,
                deadline_s=settings.deadline_s,
            )
        config = uvicorn.Config(
            app,
            http=http_protocol(self._connections, self._note_refusal),
            ws=OrderlyWebSocketProtocol,
            ws_max_size=settings.max_body_bytes,
            # A small compressed message may be a huge one.
            ws_per_message_deflate=False,
            # Pongs are read behind the messages that wait, so a busy server must not take one that is late for dead.
            ws_ping_timeout=settings.session_ttl_s,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=math.ceil(settings.grace_s),
            ssl_context_factory=None if (tls := self._tls) is None else lambda *_: tls.context,
        )
        self.loop_factory = config.get_loop_factory()
        self._http = _HttpServer(config)
        self._rpc: RpcServer | None = None
        self._rpc_stopping: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let every accepted request finish.

        Raises:
            CannotStart: the port for gRPC cannot be had, or the repository does not hold what is to be served.
            EngineUnavailable: the engine or the device that is asked for is not there.
            InvalidArtifact, UnreachableRepository: a model is broken, or cannot be had.
        """
        stopping = self._stop_on_signals()
        if self._settings.grpc_port != 0:
            self._rpc = await self._start_rpc()
        http = asyncio.create_task(self._http.serve(sockets=[self._listener]))
        try:
            await self._loader.start(default=self._settings.default_model, references=self._settings.load)
        except BaseException:
            await self._shut_down(http)
            raise
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)
        self._ready = not stopping.is_set()
        if self._ready:
            if self._rpc is not None:
                await self._rpc.set_ready()
            self._greet()
        await asyncio.wait({http, asyncio.ensure_future(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        await self._shut_down(http)

    async def _shut_down(self, http: "asyncio.Task[None]") -> None:
        """The order matters: each step leaves to the next only work that is still wanted."""
        logger.info("stopping")
        self._ready, self._draining = False, True
        self._streams.stop()
        self._http.should_exit = True  # closes the listener, then waits for the requests that are running
        self._stop_rpc(self._settings.grace_s)
        await http
        if self._rpc_stopping is not None:
            await self._rpc_stopping
        await self._loader.close(drain=not self._http.force_exit)
        await self._sessions.close()
        logger.info("stopped")

    def _stop_on_signals(self) -> asyncio.Event:
        stopping = asyncio.Event()

        def stop() -> None:
            if stopping.is_set():
                self._http.force_exit = True  # asked twice: do not wait
                self._stop_rpc(0)
            stopping.set()

        for signal_number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_number, stop)
        return stopping

    async def _start_rpc(self) -> RpcServer:
        settings = self._settings
        rpc = RpcServer(
            self._pipeline,
            metrics=self.metrics,
            max_message_bytes=settings.max_body_bytes,
            deadline_s=settings.deadline_s,
            keys=self._keys,
            traces=self.traces,
            connections=self._connections,
            reflects=settings.docs,
        )
        add_session_calls(rpc, self._live, self._streams, metrics=self.metrics, deadline_s=settings.deadline_s)
        try:
            rpc.listen(settings.host, settings.grpc_port, self._tls)
        except OSError as error:
            await rpc.stop(0)
            raise CannotStart(f"Cannot serve gRPC on {settings.host}, port {settings.grpc_port}: {error}.") from error
        await rpc.start()
        return rpc

    def _stop_rpc(self, grace_s: float) -> None:
        """Begin to stop, or, when that has begun, go on with less patience."""
        if self._rpc is not None:
            self._rpc_stopping = asyncio.create_task(self._rpc.stop(grace_s))

    def _make_engine(self, artifact: Artifact) -> NetworkEngine:
        settings = self._settings
        return engine_for(
            artifact,
            library=settings.engine,
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
        )

    def _note_refusal(self, status: int, code: str) -> None:
        """Of what came over HTTP and is no request."""
        record = requests.open_request("http", "-", lambda header: None, self.metrics)
        record.status, record.code = status, code
        requests.close_request(record, self.metrics)

    def _greet(self) -> None:
        host, port = self._listener.getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        logger.info(
            "serving", extra={"fields": {"address": address, "models": [model.reference for model in self._models]}}
        )
        sample = SAMPLE.relative_to(Path.cwd()) if SAMPLE.is_relative_to(Path.cwd()) else SAMPLE
        rpc = "" if self._rpc is None else f", gRPC on port {self._settings.grpc_port}"
        docs = f" (documentation: {address}/docs)" if self._settings.docs else ""
        trusting = "" if self._tls is None else f" --cacert {self._settings.tls_certificate}"
        asking = "" if self._keys is None else " -H 'authorization: Bearer KEY'"
        sys.stdout.write(
            f"\nPoselift is ready on {address}{docs}{rpc}. Try:\n\n"
            f"  curl{trusting}{asking} -H 'content-type: application/json' --data-binary @{sample} {address}/lift\n\n"
        )
        sys.stdout.flush()


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: they would end the process with the signal instead of code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _read_keys(path: Path | None) -> Keys | None:
    try:
        return None if path is None else read_keys(path)
    except InvalidKeys as error:
        raise CannotStart(str(error)) from None


def _read_tls(settings: Settings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return read_tls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    except InvalidTls as error:
        raise CannotStart(str(error)) from None


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        connections=settings.max_connections,
        calls=settings.max_calls_per_connection,
        header_bytes=settings.max_header_bytes,
        header_timeout_s=settings.header_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        keep_alive_s=settings.keep_alive_s,
        age_s=settings.connection_age_s,
    )


def _admin_keys(settings: Settings) -> Keys | None:
    key = settings.admin_key.get_secret_value()
    return only_key("admin", key) if key else None


def _open_traces(settings: Settings) -> "Traces | None":
    if not settings.otlp_endpoint:
        return None
    try:
        # OpenTelemetry's SDK is an extra, and takes a part of a second to import.
        from poselift_service.telemetry.traces import Traces
    except ModuleNotFoundError as error:
        raise CannotStart(
            "The setting otlp_endpoint needs OpenTelemetry, which is not installed; "
            "pip install 'poselift[otel]' brings it."
        ) from error
    return Traces(settings.otlp_endpoint, version=version("poselift"))


def _session_store(settings: Settings, metrics: Metrics, traces: "Traces | None") -> SessionStore:
    url = settings.redis_url.get_secret_value()
    if not url:
        return MemoryStore(ttl_s=settings.session_ttl_s)
    try:
        store = RedisStore(url, ttl_s=settings.session_ttl_s, timeout_s=settings.session_store_timeout_s)
    except ValueError as error:
        # Without the address itself, which may hold a password.
        raise CannotStart(f"The setting redis_url cannot be used: {error}.") from None
    return ObservedStore(store, metrics, traces)


def _allow_open_files(max_connections: int) -> None:
    """Many systems let a process open 1024 files unless it asks for more, and every connection is one."""
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


def _serve_metrics(metrics: Metrics, settings: Settings) -> Callable[[], None]:
    """Open the metrics port, unless it is switched off; returns what closes it."""
    if settings.metrics_port == 0:
        return lambda: None
    try:
        return metrics.listen(settings.host, settings.metrics_port)
    except OSError as error:
        raise CannotStart(
            f"Cannot serve metrics on {settings.host}, port {settings.metrics_port}: {error.strerror or error}."
        ) from error
