"""Real redis-server processes on free ports; nothing is written to disk unless requested."""

import contextlib
import secrets
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

# A server reads a long log when it starts, on a machine that may be busy with others.
START_S = 120.0


class _Process:
    """A process of redis-server that can be suspended, killed and restarted on the same port."""

    def __init__(self, folder: Path, settings: dict[str, object], *flags: str) -> None:
        self._folder = folder
        self._flags = flags
        self.port = lasting_port()
        self._process: subprocess.Popen[bytes] | None = None
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": folder, **settings}
        # A file, in which it keeps what others tell it, for example of whom it is a replica.
        self._settings_file = folder / "redis.conf"
        self._settings_file.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in settings.items()))

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            command = ["redis-server", str(self._settings_file), *self._flags]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: answers(self.port), f"redis-server did not start; its log is in {self._folder}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """Stop it: it accepts connections and commands, but answers none."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Suspend it for a while."""
        self.suspend()
        try:
            yield
        finally:
            self.resume()

    def ask(self, *command: object) -> Any:
        """Return the reply to a command, on a new connection."""
        with redis.Redis(port=self.port) as client:
            return client.execute_command(*command)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class RedisProcess(_Process):
    """A server that keeps data."""

    def __init__(self, folder: Path, **more: object) -> None:
        """`more`: further settings, with _ for -; they override the default ones."""
        settings: dict[str, object] = {
            "save": "",
            "appendonly": "no",
            # A replica is synchronized at once, instead of after five seconds in which others might join.
            "repl-diskless-sync-delay": 0,
        }
        super().__init__(folder, settings | {name.replace("_", "-"): value for name, value in more.items()})

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def wait_for_replica(self) -> None:
        """Wait until its replica has everything that it has now."""
        written = self.ask("INFO", "replication")["master_repl_offset"]
        wait_for(lambda: self.ask("INFO", "replication")["slave0"]["offset"] >= written, "the replica did not catch up")


class SentinelProcess(_Process):
    """A Sentinel that monitors a server under the name `main`."""

    def __init__(self, folder: Path, master: RedisProcess, *, quorum: int, down_after_ms: int) -> None:
        super().__init__(folder, {}, "--sentinel")
        with self._settings_file.open("a") as settings:
            settings.write(f"sentinel monitor main 127.0.0.1 {master.port} {quorum}\n")
            settings.write(f"sentinel down-after-milliseconds main {down_after_ms}\n")
            # A failover that itself fails is tried again after twice this time.
            settings.write("sentinel failover-timeout main 5000\n")


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
def running_replica(folder: Path, master: RedisProcess, **more: object) -> Iterator[RedisProcess]:
    """A replica of another server, fully synchronized; `more`: further settings."""
    with running_redis(folder, replicaof=f"127.0.0.1 {master.port}", **more) as replica:
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


@dataclass(frozen=True)
class SentinelProcesses:
    """Sentinels of one server, and their URL for the service."""

    url: str
    sentinels: list[SentinelProcess]


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
            settings = {"cluster_enabled": "yes", "cluster_port": lasting_port(), "cluster_node_timeout": 2000, **more}
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
    with running_sentinels(folder, master, count=1, down_after_ms=down_after_ms) as processes:
        yield processes.url


@contextmanager
def running_sentinels(
    folder: Path, master: RedisProcess, *, count: int = 3, down_after_ms: int
) -> Iterator[SentinelProcesses]:
    """Run Sentinels that monitor a server; most of them must agree to a failover."""
    with ExitStack() as running:
        sentinels = []
        for number in range(count):
            home = folder / f"sentinel-{number}"
            home.mkdir()
            sentinel = SentinelProcess(home, master, quorum=count // 2 + 1, down_after_ms=down_after_ms)
            running.callback(sentinel.kill)
            sentinel.start()
            sentinels.append(sentinel)
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        yield SentinelProcesses(f"redis+sentinel://{addresses}/main", sentinels)


def wait_for(condition: Callable[[], bool], otherwise: str) -> None:
    give_up_at = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < give_up_at, otherwise
        time.sleep(0.02)


def _quoted(value: object) -> str:
    """A value as a line of settings has it; several words stay several."""
    return f'"{value}"' if isinstance(value, Path) or value == "" else str(value)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def lasting_port() -> int:
    """A free port that stays free while its server is down, because no outgoing connection is given it."""
    while True:
        port = secrets.choice(range(12_000, 30_000))
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def answers(port: int) -> bool:
    """Whether a server answers commands, even if it demands a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(4096).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
