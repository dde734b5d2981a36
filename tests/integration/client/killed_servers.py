"""A person who is streamed by a client of ours while the servers behind its address are killed."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from poselift.client import Client
from tests.integration.client import node
from tests.integration.client.flaky_proxy import connected
from tests.integration.client.people import WalkingPerson
from tests.integration.client.tcp_proxy import TcpProxy
from tests.integration.replicas import Replicas
from tests.integration.stream_clients import Replica

_KILLS = 4
# Longest delay between a message and the kill, so that it hits before, during and after the lifting.
_LATEST_KILL_S = 0.02
# Pauses between the frames of a camera, short ones so that several frames are on the way.
_PAUSES_MS = (0, 5, 20)
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
    """Stream a person through `poselift.client`, and kill the replica that serves it a few times.

    Returns:
        The number of frames, and the largest difference to the poses of POST /lift, in metres.
    """
    person = WalkingPerson(chance)
    with (
        _killing(replicas, person.length, chance, kill) as (http, grpc, before_frame),
        _client(kind, http, grpc) as client,
    ):
        poses = person.stream(client, before_frame)
        return person.length, person.difference_m(client, poses)


def stream_through_page(
    replicas: Replicas, chance: random.Random, kill: Callable[[Replica], None]
) -> tuple[int, float]:
    """As `stream_through_client`, through the module client.js of the page."""
    person, pause_ms = WalkingPerson(chance), chance.choice(_PAUSES_MS)
    with _killing(replicas, person.length, chance, kill) as (http, grpc, before_frame):
        url = f"http://127.0.0.1:{http}/"
        poses = node.stream(person, url, give_up_after_s=_TIMEOUT_S, pause_ms=pause_ms, before_frame=before_frame)
        with _client("websocket", http, grpc) as client:
            return person.length, person.difference_m(client, poses)


@contextmanager
def _killing(
    replicas: Replicas, frames: int, chance: random.Random, kill: Callable[[Replica], None]
) -> Iterator[tuple[int, int, Callable[[int], None]]]:
    """The HTTP and the gRPC port of an address, and what to call with the index of each frame before it is sent."""
    address, doomed = _Address(replicas), chance.choices(range(frames), k=_KILLS)

    def kill_at_some(index: int) -> None:
        if index in doomed:
            threading.Timer(chance.uniform(0, _LATEST_KILL_S), kill, (address.replica,)).start()

    with TcpProxy(address.http_port) as http, TcpProxy(address.grpc_port) as grpc:
        yield http.port, grpc.port, kill_at_some


def _client(kind: str, http_port: int, grpc_port: int) -> Client:
    return connected(kind, http_port, grpc_port, timeout_s=_TIMEOUT_S)
