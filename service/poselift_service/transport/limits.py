"""Limits of connections and of what comes over them, the same for both transports, and the count of open ones."""

import ipaddress
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

# An IPv6 host usually has a whole network of this prefix to itself.
_IPV6_PREFIX_BITS = 64


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, and the timeouts of each.

    Attributes:
        connections: most open connections of one port.
        connections_per_peer: most open connections of one address, over HTTP.
        calls: most concurrent gRPC calls of one connection.
        header_bytes: size of the largest header, or of the largest metadata of a call.
        header_timeout_s: time for a header to arrive, and for the handshake of TLS or HTTP/2.
        stall_timeout_s: time after which a connection is closed whose client reads nothing of an answer.
        keep_alive_s: time after which an idle connection is closed.
        age_s: time after which a client is asked to reconnect.
        websocket_frames_per_s: frames of a WebSocket that are read per second; more wait in the client.
        websocket_fragments: most fragments of one message over WebSocket.
    """

    connections: int
    connections_per_peer: int
    calls: int
    header_bytes: int
    header_timeout_s: float
    stall_timeout_s: float
    keep_alive_s: int
    age_s: float
    websocket_frames_per_s: int
    websocket_fragments: int


class SizeLimit(NamedTuple):
    """The size of the largest body or message; the smaller of two is their `min`.

    Attributes:
        setting: what changes it; empty where nothing does.
    """

    bytes: int
    setting: str = "max_body_bytes"


class Connections:
    """Counts the open connections of a port, in total and per peer."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._per_peer: Counter[str] = Counter()
        self._total = 0

    def enter(self, address: str) -> str | None:
        """Count a connection, for which `leave` must follow, unless it exceeds a limit.

        Returns:
            The setting whose limit it exceeds, or None.
        """
        peer = peer_of(address)
        if self._per_peer.get(peer, 0) >= self._limits.connections_per_peer:
            return "max_connections_per_peer"
        if self._total >= self._limits.connections:
            return "max_connections"
        self._total += 1
        self._per_peer[peer] += 1
        return None

    def leave(self, address: str) -> None:
        """Count a connection as closed."""
        peer = peer_of(address)
        self._total -= 1
        self._per_peer[peer] -= 1
        if self._per_peer[peer] <= 0:
            del self._per_peer[peer]


def peer_of(address: str) -> str:
    """Give what addresses of one client have in common: an IPv4 address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    host = ipaddress.IPv6Address(address.partition("%")[0])
    if host.ipv4_mapped is not None:
        return str(host.ipv4_mapped)
    return str(ipaddress.IPv6Network((host, _IPV6_PREFIX_BITS), strict=False))
