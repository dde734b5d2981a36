"""Proxies that are believed about whom they forward requests for."""

import ipaddress
from collections.abc import Iterable

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """The addresses of proxies whose `x-forwarded-for` tells the address of a client, over HTTP and gRPC alike."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Trust some addresses and networks.

        Raises:
            ValueError: one of them is neither.
        """
        self._networks: tuple[_Network, ...] = tuple(ipaddress.ip_network(network) for network in networks)

    def trusts(self, address: str) -> bool:
        """Whether an address is one of theirs."""
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_of(self, peer: str, forwarded_for: Iterable[str]) -> str:
        """The address of the client that a request came from.

        Each proxy adds the address that it was called from, so the last one that is not a proxy's is the client's. What
        stands before it the client may have made up.

        Args:
            peer: address of the connection.
            forwarded_for: the values of the header `x-forwarded-for`, in order.
        """
        client = peer
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        while hops and self.trusts(client):
            parsed = _parse(hops.pop())
            if parsed is None:
                break
            client = str(parsed)
        return client


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, also with a port behind it, as some proxies write it; IPv4 within IPv6 becomes IPv4."""
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
