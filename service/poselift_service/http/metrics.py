"""The metrics port: the metrics for Prometheus, served by the event loop."""

from collections.abc import Collection
from dataclasses import replace

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poselift_service.http.connections.protocol import limited_http_protocol
from poselift_service.http.connections.turns import Turns
from poselift_service.http.server import HttpServer
from poselift_service.http.sites import allows_hosts
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.limits import ConnectionLimits, Connections

# A page takes a few milliseconds of the event loop, and there are few who read it.
_CONNECTIONS = 16


def metrics_server(metrics: Metrics, limits: ConnectionLimits, allowed_hosts: Collection[str] | None) -> HttpServer:
    """Build the server of the metrics port.

    Args:
        limits: what a client may do with a connection; the number of connections is limited to fewer.
        allowed_hosts: host names that requests may have; None allows every name.
    """

    async def page(request: Request) -> Response:
        if not allows_hosts(allowed_hosts, (host.lower() for host in request.headers.getlist("host"))):
            return Response("The server is not known by this host name (setting allowed_hosts).", 403)
        media_type, body = metrics.page(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type})

    limits = replace(limits, connections=_CONNECTIONS, connections_per_peer=_CONNECTIONS)
    config = uvicorn.Config(
        Starlette(routes=[Route("/", page), Route("/metrics", page)]),
        http=limited_http_protocol(limits, Connections(limits), Turns(), lambda status, code: None),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=1,
    )
    return HttpServer(config)
