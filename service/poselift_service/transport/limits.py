"""Limits of connections, the same for both transports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, and the timeouts of each.

    Attributes:
        connections: most open connections of one port.
        calls: most concurrent gRPC calls of one connection.
        header_bytes: size of the largest header, or of the largest metadata of a call.
        header_timeout_s: time for a header to arrive, and for the handshake of TLS or HTTP/2.
        stall_timeout_s: time after which a connection is closed whose client reads nothing of an answer.
        keep_alive_s: time after which an idle connection is closed.
        age_s: time after which a client is asked to reconnect.
    """

    connections: int
    calls: int
    header_bytes: int
    header_timeout_s: float
    stall_timeout_s: float
    keep_alive_s: int
    age_s: float
