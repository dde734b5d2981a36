"""What a client may do with a connection, the same for both transports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, and how much patience there is with each.

    Attributes:
        connections: most of them at a time, on one port.
        calls: most gRPC calls that run at a time on one connection.
        header_bytes: most bytes of a header, or of the metadata of a call.
        header_timeout_s: time in which a header has to arrive, and TLS or HTTP/2 have to be agreed on.
        stall_timeout_s: time after which a client is hung up on that reads nothing of its answer.
        keep_alive_s: time after which a connection without requests is closed.
        age_s: time after which a client is asked to open another connection.
    """

    connections: int
    calls: int
    header_bytes: int
    header_timeout_s: float
    stall_timeout_s: float
    keep_alive_s: int
    age_s: float
