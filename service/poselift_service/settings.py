"""The settings of the service, read from the environment (`POSELIFT_PORT=9000`) or the command line."""

import difflib
import ipaddress
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from poselift.artifacts.default_repository import default_repository
from poselift.validation import first_finding

_PREFIX = "POSELIFT_"
_MIN_ADMIN_KEY_CHARACTERS = 16
_ENDPOINT = re.compile(r"https?://[^/?#\s]+/?")


def _split(given: object) -> object:
    """The parts of a text with commas; a text that begins like a JSON list is read as one."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        return json.loads(given)
    return [part.strip() for part in given.split(",") if part.strip()]


def _number_or_word(given: object) -> object:
    return int(given) if isinstance(given, str) and given.isdecimal() else given


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""The type of every setting that is a list of texts."""


class Settings(BaseSettings):
    """All settings. Only the top of the service reads them; every other module receives plain values.

    The sentence below each field is its description in docs/settings.md.

    Raises:
        ValidationError: a value is out of range, or two contradict each other; `explain` turns it into a sentence.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port of the HTTP API; 0 takes a free one."""

    grpc_port: int = Field(default=8001, ge=0, le=65535)
    """Port of the gRPC API; 0 disables it."""

    metrics_port: int = Field(default=8002, ge=0, le=65535)
    """Port of the Prometheus metrics; 0 disables them."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged. At info every request logs one line, except health checks; at warning, only what an
    operator should look at."""

    log_format: Literal["auto", "human", "json"] = "auto"
    """Format of the log: json, one object per line; human, readable lines; auto, human on a terminal and json
    elsewhere."""

    otlp_endpoint: str = ""
    """OpenTelemetry collector that traces are sent to by OTLP over gRPC: http://host:4317 (https:// for TLS); empty
    disables tracing. OpenTelemetry's own variables set everything else: OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME,
    OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS and so on."""

    models: Annotated[Path | str, AfterValidator(lambda given: given or default_repository())] = Field(
        default="", validate_default=True
    )
    """Model repository: a folder of <name>/<version>/, or a URL in an object store, such as s3://bucket/prefix.
    Credentials and endpoint come from the store's own environment variables (AWS_ENDPOINT_URL and so on). When empty:
    the folder `models` of the working directory, or else the models installed with the package."""

    default_model: str | None = None
    """Model of requests that name none: name, name@version or name@label. Required when several names are served."""

    load: CommaSeparated = ()
    """Comma-separated models to load at startup besides the default: name, name@version or name@label. When empty, one
    version of every other name in the repository is loaded: the one labelled stable, or else the newest."""

    admin: bool = False
    """Enables /admin, which loads, unloads and labels models and changes the default while the server runs."""

    admin_key: SecretStr = SecretStr("")
    """Key that /admin requires as `Authorization: Bearer <key>`. At least 16 characters. Optional only if the
    server listens on the loopback interface, and neither api_keys_file nor cors_origins is set."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the network; auto takes a GPU if there is one."""

    engine: Literal["auto", "torch", "openvino"] = "auto"
    """Library that runs the network on a CPU; auto takes openvino if it is installed and measured faster than torch at
    startup."""

    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = "auto"
    """Precision of the network on a GPU; auto takes tf32 if it is faster than float32, within 1 mm of it and within
    0.1 mm in batches of all sizes at startup. With bfloat16 and float16, poses depend on the batch by millimetres."""

    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads of the network; 0 takes the number that measures fastest at startup."""

    api_keys_file: Path | None = None
    """File of API keys, one `name:hash` per line as `poselift keys new NAME` prints them; unset, no key is required.
    Health, readiness and the API documentation never require a key."""

    tls_certificate: Path | None = None
    """TLS certificate chain of the HTTP and gRPC ports, in PEM; unset, both are plaintext."""

    tls_key: Path | None = None
    """Private key of the certificate, in PEM, without a password."""

    tls_client_ca: Path | None = None
    """CA certificates, in PEM, that client certificates must be signed by; unset, clients need no certificate."""

    docs: bool = True
    """Serves the API documentation at /docs and /openapi.json, and gRPC reflection."""

    page: bool = True
    """Serves the page at /, which shows poses in a browser, and POST /lift/file, which reads files of detectors."""

    allowed_hosts: CommaSeparated = ()
    """Comma-separated host names that HTTP requests may be sent to, `*` for every name. When empty: every name, but on
    the loopback interface only localhost and its addresses, because web sites must not reach a server there."""

    cors_origins: CommaSeparated = ()
    """Comma-separated origins that browsers may call the HTTP API from (CORS) and open WebSockets from, such as
    https://example.org; `*` for every site."""

    trusted_proxies: CommaSeparated = ()
    """Comma-separated addresses and networks of proxies, such as 10.0.0.0/8, that are believed about whom they forward
    requests for (x-forwarded-for, over HTTP and gRPC) and over which scheme (x-forwarded-proto). Limits per address
    then count the clients behind them, but for max_connections_per_peer."""

    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    """Prefix of the path under which a proxy serves the HTTP API, such as /poselift, whether the proxy removes it or
    not."""

    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Largest request body, expanded if it is compressed; messages of protobuf and of sessions are limited further by
    max_frames and max_live_frames."""

    max_bytes_in_flight: int = Field(default=0, ge=0)
    """Bytes of all request bodies and messages that are being received or answered; more are rejected. At least
    max_body_bytes; 0 takes an eighth of the memory of the container or machine, and at least four times
    max_body_bytes."""

    max_frames: int = Field(default=10_000, ge=1)
    """Most frames in one request, summed over its tracks."""

    max_tracks: int = Field(default=64, ge=1)
    """Most tracks in one request."""

    max_live_frames: int = Field(default=256, ge=1, le=10_000)
    """Most frames in one message of a session. The server keeps all of them until the next message, so that the message
    can be sent again."""

    max_windows_queued: int = Field(default=20_000, ge=1)
    """Windows that may be queued or running at a time, per model; more are rejected. Requests of up to a hundredth of
    it are taken up to a tenth beyond, so that long clips do not keep live frames and short clips out. A clip takes one
    window per frame (far fewer with a sequence-to-sequence network), and twice as many with mirrored averaging."""

    redis_url: SecretStr = SecretStr("")
    """Redis in which replicas share sessions: redis://host:port, rediss://, redis+cluster://host:port,host:port or
    redis+sentinel://host:port,host:port/master; empty keeps sessions in this process."""

    session_ttl_s: float = Field(default=120.0, ge=1, le=86_400)
    """Time after which an unused session expires."""

    session_store_timeout_s: float = Field(default=1.0, gt=0, le=60)
    """Timeout of a Redis call, connecting included. A cluster node or a Sentinel gets half of it, so that another one
    can still be tried."""

    default_lookahead: Annotated[
        Annotated[int, Field(ge=0, le=1_000_000)] | Literal["full", "recommended"],
        BeforeValidator(_number_or_word),
    ] = "recommended"
    """Later frames that the poses of a session wait for when its opening does not say: a number, full for as many as
    the network's window reaches, or recommended: what suits the network, 0.3 s where it answers for whole windows, else
    full."""

    max_sessions: int = Field(default=10_000, ge=1)
    """Sessions that this process serves at a time; opening more is rejected. Each takes memory here (58 kB at 50 frames
    per second, 153 kB without Redis; a third more with full lookahead) until it ends or expires, so Redis holds
    at most this many sessions per server."""

    max_sessions_per_caller: int = Field(default=0, ge=0)
    """Sessions of this process that one API key, or without keys one address, may have opened; 0 takes half of
    max_sessions."""

    max_session_frames: int = Field(default=4_000_000, ge=1)
    """Frames that all sessions of this process may keep; opening more sessions is rejected. A session counts with the
    frames of its window plus max_live_frames, at most 200 bytes each, and 400 without Redis."""

    max_streams: int = Field(default=1000, ge=1)
    """Streams (gRPC and WebSocket together) that may be open at a time; more are rejected."""

    max_streams_per_peer: int = Field(default=0, ge=0)
    """Streams that one IPv4 address or one /64 network of IPv6 may have open, so that nobody can take them all; 0 takes
    nine tenths of max_streams."""

    max_websocket_frames_per_s: int = Field(default=500, ge=1)
    """Frames of the WebSocket protocol, pings and fragments included, that are read per second from one connection;
    more wait in the client."""

    max_websocket_fragments: int = Field(default=4096, ge=1)
    """Most fragments of one message over WebSocket; a message with more closes the WebSocket with 1008."""

    deadline_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Time within which a request is answered or fails."""

    grace_s: float = Field(default=35.0, gt=0, allow_inf_nan=False)
    """Time that accepted requests have to finish after SIGTERM; at least deadline_s."""

    max_header_bytes: int = Field(default=16 * 1024, ge=1024, le=1024 * 1024)
    """Largest request header, and largest gRPC metadata."""

    max_connections: int = Field(default=1000, ge=1)
    """Most connections to each of the two ports; more are rejected."""

    max_connections_per_peer: int = Field(default=0, ge=0)
    """Most connections to the HTTP port from one IPv4 address or one /64 network of IPv6, so that nobody can take them
    all; 0 takes nine tenths of max_connections. Probes are answered beyond both limits."""

    max_calls_per_connection: int = Field(default=1000, ge=1)
    """Most concurrent gRPC calls, streams included, on one connection; more wait in the client."""

    header_timeout_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Time within which a client must send a request header or finish the HTTP/2 handshake (over gRPC also TLS)."""

    first_message_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Time within which a client must send the first message of a stream; later ones have session_ttl_s."""

    stall_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Time within which a client must read at least part of a pending answer, or its connection is closed."""

    keep_alive_s: int = Field(default=75, ge=1, le=86_400)
    """Time after which an idle connection is closed."""

    connection_age_s: float = Field(default=20.0, ge=1, le=86_400)
    """Age at which a client is asked to reconnect: over HTTP with the answer to its next request, over gRPC while its
    calls continue. New servers therefore soon receive requests, and a terminating one no longer does. Streams stay."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_an_endpoint(cls, endpoint: str) -> str:
        if endpoint and not _ENDPOINT.fullmatch(endpoint):
            raise ValueError("it must be http://host:port or https://host:port")
        return endpoint

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(f"{proxy} is neither an address nor a network, such as 10.0.0.0/8") from None
        return proxies

    @field_validator("admin_key")
    @classmethod
    def _is_long_enough(cls, key: SecretStr) -> SecretStr:
        if 0 < len(key.get_secret_value()) < _MIN_ADMIN_KEY_CHARACTERS:
            raise ValueError(f"it needs at least {_MIN_ADMIN_KEY_CHARACTERS} characters, which nobody guesses")
        return key

    @property
    def is_loopback_only(self) -> bool:
        """Whether other machines cannot reach the server."""
        return _is_loopback(self.host)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.grace_s < self.deadline_s:
            raise ValueError(
                f"grace_s ({self.grace_s:g}) is shorter than deadline_s ({self.deadline_s:g}), so accepted requests "
                "could be cut off at shutdown"
            )
        if self.max_windows_queued < 2 * self.max_frames:
            raise ValueError(
                f"max_windows_queued ({self.max_windows_queued}) must be at least twice max_frames "
                f"({self.max_frames}), or the largest request with mirrored averaging could never be taken"
            )
        if 0 < self.max_bytes_in_flight < self.max_body_bytes:
            raise ValueError(
                f"max_bytes_in_flight ({self.max_bytes_in_flight}) must be at least max_body_bytes "
                f"({self.max_body_bytes}), or the largest body could never be taken"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are of no use without each other")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca is of no use without tls_certificate")
        if self.admin and not self.admin_key.get_secret_value():
            if not self.is_loopback_only:
                raise ValueError(f"admin needs an admin_key, for {self.host} can be reached from other machines")
            if self.api_keys_file is not None:
                raise ValueError("admin needs an admin_key where there is an api_keys_file")
            if self.cors_origins:
                raise ValueError("admin needs an admin_key where there are cors_origins, whose scripts could use it")
        ports = {"port": self.port, "grpc_port": self.grpc_port, "metrics_port": self.metrics_port}
        for (name, port), (other, other_port) in itertools.combinations(ports.items(), 2):
            if port == other_port != 0:
                raise ValueError(f"{name} and {other} are both {port}")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def explain(error: ValidationError) -> str:
    """Describe the first invalid setting in a sentence."""
    found = first_finding(error)
    if not found.path:
        return f"The settings do not fit: {found.message}."
    return f"The setting {found.path} cannot be used: {found.message}."


def unknown_variable(names: Iterable[str]) -> str | None:
    """Describe the first environment variable that has the prefix of the settings and is none, in a sentence.

    Without this, a misspelt POSELIFT_API_KEYS_FILE would serve everybody.
    """
    known = [f"{_PREFIX}{name.upper()}" for name in Settings.model_fields]
    unknown = sorted(name for name in names if name.upper().startswith(_PREFIX) and name.upper() not in known)
    if not unknown:
        return None
    nearest = difflib.get_close_matches(unknown[0].upper(), known, n=1, cutoff=0)[0]
    return f"The environment variable {unknown[0]} is no setting of the server; the nearest one is {nearest}."
