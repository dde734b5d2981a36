"""Requests that a proxy forwards: whom they come from, and under which prefix of the path the server is reached."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from poselift_service.transport.proxies import TrustedProxies

_ENCRYPTED = {"http": "https", "websocket": "wss"}


class ForwardingMiddleware:
    """Sets the client, the scheme and the path of a request to what they were before its proxies.

    Not uvicorn's own middleware: gRPC needs the same rule, and that one takes any text for an address.
    """

    def __init__(self, app: ASGIApp, *, proxies: TrustedProxies, root_path: str) -> None:
        """Wrap an application.

        Args:
            proxies: who is believed about clients and schemes.
            root_path: prefix of the path; proxies may remove it or leave it.
        """
        self._app = app
        self._proxies = proxies
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in _ENCRYPTED:
            scope = {**scope, **self._origin(scope), **self._place(scope["path"])}
        await self._app(scope, receive, send)

    def _origin(self, scope: Scope) -> Scope:
        host, port = scope.get("client") or ("", 0)
        if not self._proxies.trusts(host):
            return {}
        headers = Headers(scope=scope)
        client = self._proxies.client_of(host, headers.getlist("x-forwarded-for"))
        is_encrypted = headers.get("x-forwarded-proto") == "https"
        scheme = {"scheme": _ENCRYPTED[scope["type"]]} if is_encrypted else {}
        return {"client": (client, port if client == host else 0), **scheme}

    def _place(self, path: str) -> Scope:
        prefix = self._root_path
        if not prefix:
            return {}
        # ASGI wants the prefix in the path, whether the proxy has removed it or not.
        return {"root_path": prefix, "path": path if f"{path}/".startswith(f"{prefix}/") else prefix + path}
