"""Which web sites may use the server from a browser: by host name, and by the origin of a WebSocket.

A site can point its own name at the server's address, and its scripts then reach a server that listens on the loopback
interface only. WebSockets are not subject to CORS, so a browser connects them on behalf of every site.
"""

from collections.abc import Collection, Iterable

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from poselift_service.http.errors import FORBIDDEN, ErrorDetail, error_response
from poselift_service.http.paths import PROBES, path_of

_STATUS = 403


class SiteMiddleware:
    """Refuses requests with other host names, and WebSockets of other sites."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None, origins: Collection[str]) -> None:
        """Wrap an application.

        Args:
            hosts: names that requests may have in their header `host`, in lower case; None allows every name.
            origins: sites that may open WebSockets, besides the server's own; `*` for every site.
        """
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(origin.lower().removesuffix("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if message is None:
            await self._app(scope, receive, send)
            return
        response = error_response(HTTPConnection(scope), _STATUS, ErrorDetail(code=FORBIDDEN, message=message))
        await response(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        hosts = _values(scope, b"host")
        if path_of(scope) not in PROBES and not allows_hosts(self._hosts, hosts):
            return "The server is not known by this host name (setting allowed_hosts)."
        if scope["type"] == "websocket":
            allowed = {*self._origins, *(f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts)}
            if "*" not in allowed and not allowed.issuperset(_values(scope, b"origin")):
                return "This site may not open a WebSocket (setting cors_origins)."
        return None


def allows_hosts(allowed: Collection[str] | None, hosts: Iterable[str]) -> bool:
    """Whether a request may have these values of the header `host`. No browser leaves it out."""
    return allowed is None or all(_name(host) in allowed for host in hosts)


def _name(host: str) -> str:
    """The name or address in the header `host`, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key == name]
