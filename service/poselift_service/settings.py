"""Everything that can be set about the service, from the environment (`POSELIFT_PORT=9000`) or the command line."""

import ipaddress
import itertools
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from poselift.artifacts.default_repository import default_repository

_ENDPOINT = re.compile(r"https?://[^/?#\s]+/?")


class Settings(BaseSettings):
    """Read by `server` alone; every other module receives plain values.

    Raises:
        ValidationError: a value is out of range, or two of them cannot both hold; `explain` makes a sentence of it.
    """

    model_config = SettingsConfigDict(
        env_prefix="POSELIFT_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port of the HTTP interface; 0 takes a free one."""

    grpc_port: int = Field(default=8001, ge=0, le=65535)
    """Port of the gRPC interface; 0 switches it off."""

    metrics_port: int = Field(default=8002, ge=0, le=65535)
    """Port on which Prometheus finds the metrics; 0 switches them off."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged. At info every request leaves a line, except those that only ask how the server is; at warning,
    only what the operator should look at."""

    log_format: Literal["auto", "human", "json"] = "auto"
    """How logs are written: json, one JSON object per line; human, lines for people; auto, human on a terminal and json
    elsewhere."""

    otlp_endpoint: str = ""
    """Where traces of requests are sent to: http://host:4317 (https:// for TLS) of a collector that takes OTLP over
    gRPC; empty sends none. Everything else about them is set by OpenTelemetry's own variables: OTEL_TRACES_SAMPLER,
    OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS and so on."""

    models: Annotated[Path | str, AfterValidator(lambda given: given or default_repository())] = Field(
        default="", validate_default=True
    )
    """Model repository: a folder of <name>/<version>/, or the address of one in an object store, like s3://bucket/prefix;
    credentials and endpoint come from the environment, as its own tools read them (AWS_ENDPOINT_URL and so on). When
    empty: the folder `models` where the server is started, or the models that were installed with it."""

    default_model: str | None = None
    """Model for requests that name none: name, name@version or name@label; needed when several names are served."""

    load: Annotated[tuple[str, ...], NoDecode] = ()
    """What to load at the start besides the default, as name, name@version or name@label with commas between them; when
    empty, one version of every other name of the repository: that labelled stable, or the newest where none is."""

    admin: bool = False
    """Whether models can be loaded, unloaded, labelled and made the default while the server runs, under /admin."""

    admin_key: SecretStr = SecretStr("")
    """Key that calls under /admin bring, as `Authorization: Bearer <key>`; it can be left out where only this machine
    can call the server and no API keys are asked for."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto takes the GPU when there is one."""

    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the network; auto takes openvino where it is installed and was faster than torch at the start."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the network on a GPU; auto takes bfloat16 where it is faster and within 5 mm of float32 at the start."""

    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads of the network; 0 takes the fastest number measured at the start."""

    api_keys_file: Path | None = None
    """File with the keys of those who may ask, one `name:hash` per line as `poselift keys new NAME` makes them; without
    it everybody may. Health, readiness and the documentation never need a key."""

    tls_certificate: Path | None = None
    """Certificate of both ports, in PEM, with those that vouch for it; without it they speak no TLS."""

    tls_key: Path | None = None
    """Key of the certificate, in PEM, without a password."""

    tls_client_ca: Path | None = None
    """Certificates, in PEM, of the authorities one of which must vouch for a client; without it every client may."""

    docs: bool = True
    """Whether the interface is described at /docs and /openapi.json, and by gRPC's reflection."""

    cors_origins: tuple[str, ...] = ()
    """Web sites whose scripts may use the HTTP interface, as a list in JSON: ["https://example.org"]."""

    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Largest body of a request, and largest message over gRPC."""

    max_frames: int = Field(default=10_000, ge=1)
    """Most frames in one request, over all its tracks."""

    max_tracks: int = Field(default=64, ge=1)
    """Most tracks in one request."""

    max_windows_queued: int = Field(default=20_000, ge=1)
    """Windows that may wait or run at a time, for each model; more are refused. A clip is one per frame, or far fewer
    for a network that answers for whole windows, and twice as many with mirrored averaging."""

    redis_url: SecretStr = SecretStr("")
    """Redis that replicas share their sessions in: redis://host:port, rediss://, redis+cluster://host:port,host:port or
    redis+sentinel://host:port,host:port/master; empty keeps the sessions in this process."""

    session_ttl_s: float = Field(default=120.0, ge=1, le=86_400)
    """Time after which a session that is not used is forgotten."""

    session_store_timeout_s: float = Field(default=1.0, gt=0, le=60)
    """Time in which Redis has to answer, connecting included. A server of a cluster, or a Sentinel, has half of it, so
    that another one can still be asked."""

    max_sessions: int = Field(default=10_000, ge=1)
    """Sessions that this process serves at a time; opening more is refused. Each takes some memory here (at 50 frames
    per second 25 kB, without Redis 55 kB) until it ends or is not used for session_ttl_s, so Redis holds at most so
    many sessions for each server."""

    max_streams: int = Field(default=1000, ge=1)
    """Streams, over gRPC and WebSocket together, that may be open at a time; more are refused."""

    deadline_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Time in which a request is answered or fails."""

    grace_s: float = Field(default=35.0, gt=0, allow_inf_nan=False)
    """Time that accepted requests get to finish after SIGTERM; at least the deadline."""

    max_header_bytes: int = Field(default=16 * 1024, ge=1024, le=1024 * 1024)
    """Largest header of a request, and largest metadata over gRPC."""

    max_connections: int = Field(default=1000, ge=1)
    """Most connections to each of both ports; more are refused."""

    max_calls_per_connection: int = Field(default=1000, ge=1)
    """Most gRPC calls, streams among them, that run at a time on one connection; more wait at the client."""

    header_timeout_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Time in which a client has to send the header of a request, and to agree on HTTP/2, and over gRPC also on TLS."""

    stall_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Time in which a client has to read at least something of an answer that waits for it."""

    keep_alive_s: int = Field(default=75, ge=1, le=86_400)
    """Time after which a connection without requests is closed."""

    connection_age_s: float = Field(default=20.0, ge=1, le=86_400)
    """Time after which a client is asked to open another connection: over HTTP with the answer to its next request,
    over gRPC while its calls go on. So requests soon come to servers that are new, and no more to one that is about to
    end. Streams stay."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_an_endpoint(cls, endpoint: str) -> str:
        if endpoint and not _ENDPOINT.fullmatch(endpoint):
            raise ValueError("it must be http://host:port or https://host:port")
        return endpoint

    @field_validator("load", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given

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
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are of no use without each other")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca is of no use without tls_certificate")
        if self.admin and not self.admin_key.get_secret_value():
            if not _is_loopback(self.host):
                raise ValueError(f"admin needs an admin_key, for {self.host} can be reached from other machines")
            if self.api_keys_file is not None:
                raise ValueError("admin needs an admin_key where there is an api_keys_file")
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
    """Say in a sentence what is wrong with the first setting at fault."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"The setting {field} cannot be used: {message}." if field else f"The settings do not fit: {message}."
