"""Options and credentials of the gRPC server."""

import math

import grpc

from poselift_service.transport.limits import ConnectionLimits
from poselift_service.transport.tls import Tls

# The library rejects messages over its own limit without running our code. With that limit at a multiple of ours, a
# message up to there is read and refused with the same error as over HTTP.
_READ_FACTOR = 2
_LARGEST_MESSAGE = 2**31 - 1


def server_options(max_message_bytes: int, limits: ConnectionLimits | None) -> list[tuple[str, int]]:
    """Give the options of the server.

    Args:
        max_message_bytes: size of the largest request that is not refused.
        limits: what a client may do with a connection; None leaves that to the library.
    """
    return [
        # Otherwise two servers could share a port unnoticed.
        ("grpc.so_reuseport", 0),
        # Identity only: a small compressed message may expand to a huge one.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        *(() if limits is None else _connection_options(limits)),
        ("grpc.max_receive_message_length", min(_READ_FACTOR * max_message_bytes, _LARGEST_MESSAGE)),
    ]


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """Build the credentials of a port with TLS."""
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)], tls.client_ca, require_client_auth=tls.client_ca is not None
    )


def _connection_options(limits: ConnectionLimits) -> list[tuple[str, int]]:
    header_timeout_ms = math.ceil(1000 * limits.header_timeout_s)
    return [
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.calls),
        # The soft and the hard limit: between the two, the library would refuse at random.
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.server_handshake_timeout_ms", header_timeout_ms),
        ("grpc.http2.settings_timeout", header_timeout_ms),
        ("grpc.max_connection_idle_ms", 1000 * limits.keep_alive_s),
        ("grpc.max_connection_age_ms", math.ceil(1000 * limits.age_s)),
        # Pings detect a peer that has vanished, and end its calls.
        ("grpc.keepalive_time_ms", 1000 * limits.keep_alive_s),
        ("grpc.keepalive_timeout_ms", math.ceil(1000 * limits.stall_timeout_s)),
    ]
