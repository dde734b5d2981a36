"""Where the parts of the service are put together from the settings."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from poselift.artifacts.artifact import Artifact
from poselift.networks.candidates import gpu_memory
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.protobuf.counts import most_bytes
from poselift_service.errors import CannotStart
from poselift_service.grpc.lift import lift_methods
from poselift_service.grpc.server import GrpcServer
from poselift_service.grpc.sessions import session_methods
from poselift_service.http.admin import add_admin, refuse_admin
from poselift_service.http.app import create_app
from poselift_service.http.server import HttpServer, http_server
from poselift_service.http.sessions import add_sessions
from poselift_service.http.stream import add_stream
from poselift_service.inference.engine import NetworkEngine, engine_for
from poselift_service.inference.loader import ModelLoader
from poselift_service.inference.models import ServedModels
from poselift_service.pipeline.lift import Pipeline
from poselift_service.pipeline.live import LiveLifter
from poselift_service.pipeline.request import Limits
from poselift_service.sessions.copies import SessionLimits
from poselift_service.sessions.memory_store import MemoryStore
from poselift_service.sessions.observed_store import ObservedStore
from poselift_service.sessions.redis_store import RedisStore
from poselift_service.sessions.sessions import Sessions
from poselift_service.sessions.store import SessionStore
from poselift_service.settings import Settings
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.byte_budget import ByteBudget, default_capacity
from poselift_service.transport.keys import InvalidKeys, Keys, only_key, read_keys
from poselift_service.transport.limits import ConnectionLimits, SizeLimit
from poselift_service.transport.proxies import TrustedProxies
from poselift_service.transport.streams import Streams
from poselift_service.transport.tls import InvalidTls, Tls, read_tls

if TYPE_CHECKING:
    from poselift_service.telemetry.traces import Traces


_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# A frame in JSON has a few kilobytes at most; a message of one frame may have some space around it.
_MAX_BYTES_PER_LIVE_FRAME = 8 * 1024


@dataclass
class State:
    """Where the server is in its life; probes and metrics read it."""

    is_ready: bool = False
    is_draining: bool = False
    device_lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the GPU no longer works in this process."""


@dataclass(frozen=True)
class Parts:
    """The parts of a service that does not run yet."""

    state: State
    metrics: Metrics
    traces: "Traces | None"
    keys: Keys | None
    tls: Tls | None
    limits: ConnectionLimits
    models: ServedModels
    loader: ModelLoader
    pipeline: Pipeline
    sessions: Sessions
    live: LiveLifter
    streams: Streams
    budget: ByteBudget


def assemble(settings: Settings) -> Parts:
    """Build everything behind the transports.

    Raises:
        CannotStart: a setting cannot be used.
    """
    state, metrics = State(), Metrics()
    metrics.bind_state(is_ready=lambda: state.is_ready, is_draining=lambda: state.is_draining)
    if (measure := gpu_memory(settings.device)) is not None:
        metrics.bind_device_memory("cuda:0", measure)
    traces, keys, tls = _traces(settings), _keys(settings), _tls(settings)
    models = ServedModels()
    limits = Limits(settings.max_frames, settings.max_tracks, settings.max_live_frames)
    pipeline = Pipeline(models, limits=limits)
    sessions = _sessions(settings, metrics, traces)
    return Parts(
        state=state,
        metrics=metrics,
        traces=traces,
        keys=keys,
        tls=tls,
        limits=_connection_limits(settings),
        models=models,
        loader=_loader(settings, models, metrics, traces, device_lost=state.device_lost.set),
        pipeline=pipeline,
        sessions=sessions,
        live=LiveLifter(pipeline, sessions),
        streams=Streams(
            capacity=settings.max_streams,
            per_peer=settings.max_streams_per_peer or max(1, (9 * settings.max_streams) // 10),
            first_message_s=min(settings.first_message_timeout_s, settings.session_ttl_s),
            idle_s=settings.session_ttl_s,
            stall_s=settings.stall_timeout_s,
        ),
        budget=ByteBudget(settings.max_bytes_in_flight or default_capacity(settings.max_body_bytes)),
    )


def assemble_http(settings: Settings, parts: Parts) -> HttpServer:
    """Build the HTTP server."""
    max_body, deadline_s = SizeLimit(settings.max_body_bytes), settings.deadline_s
    json_reader = JsonReader(parts.pipeline.limits)
    app = create_app(
        parts.pipeline,
        json_reader,
        metrics=parts.metrics,
        is_ready=lambda: parts.state.is_ready,
        max_body=max_body,
        deadline_s=deadline_s,
        version=version("poselift"),
        keys=parts.keys,
        traces=parts.traces,
        docs=settings.docs,
        page=settings.page,
        cors_origins=settings.cors_origins,
        allowed_hosts=allowed_hosts(settings),
        budget=parts.budget,
        proxies=TrustedProxies(settings.trusted_proxies),
        root_path=settings.root_path,
    )
    live_bytes = _MAX_BYTES_PER_LIVE_FRAME * (8 + settings.max_live_frames)
    max_message = min(max_body, SizeLimit(live_bytes, "max_live_frames"))
    add_sessions(app, parts.live, json_reader, max_body=max_message, deadline_s=deadline_s)
    add_stream(app, parts.live, parts.streams, json_reader, metrics=parts.metrics, deadline_s=deadline_s)
    if settings.admin:
        keys = _admin_keys(settings)
        add_admin(app, parts.loader, parts.models, keys=keys, max_body=max_body, deadline_s=deadline_s)
    else:
        refuse_admin(app)
    return http_server(
        app,
        parts.limits,
        metrics=parts.metrics,
        max_message=max_message,
        idle_s=settings.session_ttl_s,
        grace_s=settings.grace_s,
        budget=parts.budget,
        tls=parts.tls,
    )


def assemble_grpc(settings: Settings, parts: Parts) -> GrpcServer:
    """Build the gRPC server. To be called on the event loop that it will run on."""
    return GrpcServer(
        lift_methods(parts.pipeline),
        session_methods(parts.live, parts.streams, metrics=parts.metrics, deadline_s=settings.deadline_s),
        metrics=parts.metrics,
        max_message=min(SizeLimit(settings.max_body_bytes), SizeLimit(most_bytes(parts.pipeline.limits), "max_frames")),
        deadline_s=settings.deadline_s,
        keys=parts.keys,
        traces=parts.traces,
        limits=parts.limits,
        budget=parts.budget,
        proxies=TrustedProxies(settings.trusted_proxies),
        enable_reflection=settings.docs,
    )


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Collect the host names that requests may have; None allows every name.

    A server that listens on the loopback interface only must not be reached by the scripts of web sites.
    """
    if "*" in settings.allowed_hosts or not (settings.allowed_hosts or settings.is_loopback_only):
        return None
    own = (*_LOOPBACK_NAMES, settings.host) if settings.is_loopback_only else ()
    return frozenset(host.lower() for host in (*settings.allowed_hosts, *own))


def _loader(
    settings: Settings,
    models: ServedModels,
    metrics: Metrics,
    traces: "Traces | None",
    *,
    device_lost: Callable[[], None],
) -> ModelLoader:
    return ModelLoader(
        settings.models,
        models,
        make_engine=_make_engine(settings),
        capacity_windows=settings.max_windows_queued,
        metrics=metrics,
        trace=None if traces is None else traces.record_batcher_entry,
        device_lost=device_lost,
    )


def _make_engine(settings: Settings) -> Callable[[Artifact], NetworkEngine]:
    def make(artifact: Artifact) -> NetworkEngine:
        return engine_for(
            artifact,
            library=settings.engine,
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
        )

    return make


def _sessions(settings: Settings, metrics: Metrics, traces: "Traces | None") -> Sessions:
    sessions = Sessions(
        _session_store(settings, metrics, traces),
        ttl_s=settings.session_ttl_s,
        limits=SessionLimits(
            settings.max_sessions,
            per_caller=settings.max_sessions_per_caller or -(-settings.max_sessions // 2),
            frames=settings.max_session_frames,
            message_frames=settings.max_live_frames,
        ),
        default_lookahead=settings.default_lookahead,
        observe=metrics.count_session_event,
    )
    metrics.bind_sessions(lambda: sessions.held)
    return sessions


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


def _traces(settings: Settings) -> "Traces | None":
    if not settings.otlp_endpoint:
        return None
    try:
        # Imported here: OpenTelemetry's SDK is an optional dependency, and takes a part of a second to import.
        from poselift_service.telemetry.traces import Traces
    except ModuleNotFoundError as error:
        raise CannotStart(
            "The setting otlp_endpoint needs OpenTelemetry, which is not installed; "
            "pip install 'poselift[otel]' brings it."
        ) from error
    return Traces(settings.otlp_endpoint, version=version("poselift"))


def _keys(settings: Settings) -> Keys | None:
    path: Path | None = settings.api_keys_file
    try:
        return None if path is None else read_keys(path)
    except InvalidKeys as error:
        raise CannotStart(str(error)) from None


def _admin_keys(settings: Settings) -> Keys | None:
    key = settings.admin_key.get_secret_value()
    return only_key("admin", key) if key else None


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return read_tls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    except InvalidTls as error:
        raise CannotStart(str(error)) from None


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        connections=settings.max_connections,
        connections_per_peer=settings.max_connections_per_peer or max(1, (9 * settings.max_connections) // 10),
        calls=settings.max_calls_per_connection,
        header_bytes=settings.max_header_bytes,
        header_timeout_s=settings.header_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        keep_alive_s=settings.keep_alive_s,
        age_s=settings.connection_age_s,
        websocket_frames_per_s=settings.max_websocket_frames_per_s,
        websocket_fragments=settings.max_websocket_fragments,
    )
