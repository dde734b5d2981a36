"""The gRPC server: its port, its health, and its start and end."""

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from poselift_service.grpc.call import SERVICE, CallRunner, Handler, Methods
from poselift_service.grpc.options import credentials, server_options
from poselift_service.grpc.public import health_handlers, reflection_handlers
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.spans import SpanRecorder
from poselift_service.transport.byte_budget import ByteBudget
from poselift_service.transport.keys import Keys
from poselift_service.transport.limits import ConnectionLimits, SizeLimit
from poselift_service.transport.proxies import TrustedProxies
from poselift_service.transport.tls import Tls


class GrpcServer:
    """The gRPC server. Create and use it on one event loop."""

    def __init__(
        self,
        *methods: Methods,
        metrics: Metrics,
        max_message: SizeLimit,
        deadline_s: float,
        keys: Keys | None = None,
        traces: SpanRecorder | None = None,
        limits: ConnectionLimits | None = None,
        budget: ByteBudget | None = None,
        proxies: TrustedProxies | None = None,
        enable_reflection: bool = True,
    ) -> None:
        """Build a server that does not listen yet.

        Args:
            methods: what it serves, besides its health.
            max_message: the largest request.
            deadline_s: time from the first byte of a request to its response or failure; the client's own deadline can
                only shorten it.
            keys: accepted API keys; None serves every client.
            traces: exporter of the calls' spans, if any.
            limits: what a client may do with a connection; None leaves that to the library.
            budget: of the bytes of all requests; None leaves them unlimited.
            proxies: who is believed about the clients of forwarded calls; None believes nobody.
            enable_reflection: whether the interface describes itself.
        """
        self._calls = CallRunner(
            metrics=metrics,
            max_message=max_message,
            deadline_s=deadline_s,
            keys=keys,
            traces=traces,
            budget=budget,
            proxies=proxies,
        )
        self._ending = asyncio.Lock()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=server_options(max_message.bytes, limits))
        for some in methods:
            self._add(SERVICE, self._calls.handlers(some))
        self._add(health.SERVICE_NAME, health_handlers(self._health))
        if enable_reflection:
            described = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            self._add(reflection.SERVICE_NAME, reflection_handlers(described))

    def listen(self, host: str, port: int, tls: Tls | None = None) -> int:
        """Bind a port; 0 binds a free one.

        Returns:
            Its number.
        Raises:
            OSError: it cannot be bound.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials(tls))
        except RuntimeError as error:
            raise OSError("the address is in use or not one of this machine") from error

    async def start(self) -> None:
        """Begin to serve, with a health of NOT_SERVING."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def set_ready(self) -> None:
        """Set the health to SERVING."""
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Set the health to NOT_SERVING, refuse new calls, and wait for the running ones for at most the given time.

        May be called again, with less time, to end sooner.
        """
        self._calls.refuse_new()
        await self._health.enter_graceful_shutdown()
        # Not the library's own wait: that would include clients that watch the health, whose calls never end.
        await self._calls.wait_until_idle(grace_s)
        # One at a time, and without the library's own grace: a second stop during the first frees the server while it
        # is in use, and the process crashes (grpcio 1.85).
        async with self._ending:
            await self._server.stop(None)

    def _add(self, service: str, handlers: dict[str, Handler]) -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def _set_health(self, status: int) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)
