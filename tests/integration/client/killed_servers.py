"""A person who is streamed by the client library while the servers behind its address are killed."""

import random
import threading
from collections.abc import Callable

from tests.integration.client.flaky_proxy import KINDS, connected
from tests.integration.client.people import WalkingPerson
from tests.integration.client.tcp_proxy import TcpProxy
from tests.integration.replicas import Replicas
from tests.integration.stream_clients import Replica

CLIENT_KINDS = KINDS
_KILLS = 4
# Longest delay between a message and the kill, so that it hits before, during and after the lifting.
_LATEST_KILL_S = 0.02
# Servers that start in the place of others keep the machine busy.
_TIMEOUT_S = 300.0


class _Address:
    """What a load balancer is to a client: an address behind which there is always some server."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.replica = replicas.any()

    def http_port(self) -> int:
        return int(self._serving().address.rpartition(":")[2])

    def grpc_port(self) -> int:
        return self._serving().grpc_port

    def _serving(self) -> Replica:
        if self.replica not in self._replicas.ready():
            self.replica = self._replicas.any(but=self.replica)
        return self.replica


def stream_through_client(
    replicas: Replicas, kind: str, chance: random.Random, kill: Callable[[Replica], None]
) -> tuple[int, float]:
    """Stream a person, and kill the replica that serves it a few times.

    Returns:
        The number of frames, and the largest difference to the poses of POST /lift, in metres.
    """
    person, address = WalkingPerson(chance), _Address(replicas)
    doomed = chance.choices(range(person.length), k=_KILLS)

    def kill_at_some(index: int) -> None:
        if index in doomed:
            threading.Timer(chance.uniform(0, _LATEST_KILL_S), kill, (address.replica,)).start()

    with (
        TcpProxy(address.http_port) as http,
        TcpProxy(address.grpc_port) as grpc,
        connected(kind, http.port, grpc.port, timeout_s=_TIMEOUT_S) as client,
    ):
        poses = person.stream(client, kill_at_some)
        return person.length, person.difference_m(client, poses)
