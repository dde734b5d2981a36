"""Where the server is, and how to prove who calls."""

import ssl
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Endpoint:
    """The addresses of a server.

    Attributes:
        url: of its HTTP port, `http` or `https`, with the path that a proxy puts before everything, if it does.
        grpc: `host:port` of its gRPC port; streams are sent there if it is given, with TLS if `url` is `https`.
        key: API key.
        ca_file: certificates of the authorities that the server's certificate may be signed by, in PEM; those of the
            machine if None.
        certificate: files in PEM with the client's own certificate and its key, for servers that demand one.
    Raises:
        ValueError: the address is not of that form.
    """

    url: str
    grpc: str | None = None
    key: str | None = field(default=None, repr=False)
    ca_file: str | Path | None = None
    certificate: tuple[str | Path, str | Path] | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"an address like http://127.0.0.1:8000 was expected, not {self.url!r}")
        if self.grpc is not None and "/" in self.grpc:
            raise ValueError(f"`grpc` is `host:port`, not {self.grpc!r}")

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is used, on both ports."""
        return self.url.startswith("https:")

    @property
    def headers(self) -> dict[str, str]:
        """Headers, or metadata, of every request."""
        return {} if self.key is None else {"authorization": f"Bearer {self.key}"}

    def http_url(self, path: str) -> str:
        """The address of a call, whose path begins with a slash."""
        return self.url.rstrip("/") + path

    def websocket_url(self, path: str) -> str:
        """The address of a WebSocket, whose path begins with a slash."""
        return "ws" + self.http_url(path).removeprefix("http")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext | None:
        """What HTTP and WebSockets check the server with, and show it; None without TLS."""
        if not self.is_encrypted:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        return context
