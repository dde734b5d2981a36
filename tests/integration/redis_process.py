"""Real redis-server processes on free ports; nothing is written to disk unless requested."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

START_S = 20.0


class RedisProcess:
    """A server that can be suspended, killed and restarted on the same port."""

    def __init__(self, folder: Path, **more: object) -> None:
        """`more`: further settings, with _ for -; they override the default ones."""
        self._folder = folder
        self._more = {name.replace("_", "-"): value for name, value in more.items()}
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        options: dict[str, object] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": self._folder,
            # A replica is synchronized at once, instead of after five seconds in which others might join.
            "repl-diskless-sync-delay": 0,
            **self._more,
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *_words(options)], stdout=log, stderr=log)
        wait_for(lambda: answers(self.port), f"redis-server did not start; its log is in {self._folder}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *command: object) -> Any:
        """Return the reply to a command, on a new connection."""
        with redis.Redis(port=self.port) as client:
            return client.execute_command(*command)

    def wait_for_replica(self) -> None:
        """Wait until its replica has everything that it has now."""
        written = self.ask("INFO", "replication")["master_repl_offset"]
        wait_for(lambda: self.ask("INFO", "replication")["slave0"]["offset"] >= written, "the replica did not catch up")

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Suspend it: it accepts connections and commands, but answers none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_redis(folder: Path, **more: object) -> Iterator[RedisProcess]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server here; `make redis` installs it where that is allowed")
    server = RedisProcess(folder, **more)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def running_replica(folder: Path, master: RedisProcess) -> Iterator[RedisProcess]:
    """A replica of another server, fully synchronized."""
    with running_redis(folder, replicaof=f"127.0.0.1 {master.port}") as replica:
        wait_for(
            lambda: replica.ask("INFO", "replication")["master_link_status"] == "up", "the replica did not synchronize"
        )
        yield replica


@dataclass(frozen=True)
class ClusterProcesses:
    """The servers of a cluster, and its URL for the service."""

    url: str
    nodes: list[RedisProcess]

    def servers_of(self, key: str) -> tuple[RedisProcess, RedisProcess]:
        """Return the master that has a key, and its replica, which must exist."""
        master = next(node for node in self.nodes if _serves(node, key))
        replica_port = master.ask("INFO", "replication")["slave0"]["port"]
        return master, next(node for node in self.nodes if node.port == replica_port)

    def move_slot(self, key: str) -> None:
        """Move the slot of a key, with all keys in it, permanently from its master to another one."""
        source = next(node for node in self.nodes if _serves(node, key))
        target = next(node for node in self.nodes if node is not source)
        slot = source.ask("CLUSTER KEYSLOT", key)
        identities = {node: node.ask("CLUSTER MYID").decode() for node in self.nodes}
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", identities[source])
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", identities[target])
        keys = source.ask("CLUSTER GETKEYSINSLOT", slot, 1000)
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 10_000, "KEYS", *keys)
        for node in (target, source, *(node for node in self.nodes if node not in (source, target))):
            node.ask("CLUSTER SETSLOT", slot, "NODE", identities[target])


def _serves(node: RedisProcess, key: str) -> bool:
    try:
        return bool(node.ask("EXISTS", key))
    except redis.exceptions.MovedError:
        return False


@contextmanager
def running_cluster(folder: Path, *, replicas: int = 0, **more: object) -> Iterator[ClusterProcesses]:
    """Run three masters that share the slots, with some replicas each; `more`: further settings of all servers."""
    with ExitStack() as running:
        nodes = []
        for number in range(3 * (1 + replicas)):
            home = folder / str(number)
            home.mkdir()
            settings = {"cluster_enabled": "yes", "cluster_port": free_port(), "cluster_node_timeout": 2000, **more}
            nodes.append(running.enter_context(running_redis(home, **settings)))
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        creation = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", str(replicas)]
        subprocess.run([*creation, "--cluster-yes"], check=True, capture_output=True, timeout=START_S)
        for node in nodes:
            wait_for(partial(_has_joined, node), "the cluster did not form")
        yield ClusterProcesses(f"redis+cluster://{','.join(addresses[:3])}", nodes)


def _has_joined(node: RedisProcess) -> bool:
    """Whether a node of a cluster knows all slots and, as a replica, is synchronized."""
    return (
        node.ask("CLUSTER INFO")["cluster_state"] == "ok"
        and node.ask("INFO", "replication").get("master_link_status", "up") == "up"
    )


@contextmanager
def running_sentinel(folder: Path, master: RedisProcess, *, down_after_ms: int = 30_000) -> Iterator[str]:
    """Run a Sentinel that monitors a server; yield its URL for the service."""
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"sentinel monitor main 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds main {down_after_ms}\n"
    )
    port = free_port()
    words = _words({"port": port, "bind": "127.0.0.1", "dir": folder})
    with (folder / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(["redis-server", str(settings), "--sentinel", *words], stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(port), "the Sentinel did not start")
        yield f"redis+sentinel://127.0.0.1:{port}/main"
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], otherwise: str) -> None:
    give_up_at = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < give_up_at, otherwise
        time.sleep(0.02)


def _words(options: dict[str, object]) -> list[str]:
    return [str(word) for name, value in options.items() for word in (f"--{name}", value)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Whether a server answers commands, even if it demands a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(4096).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
