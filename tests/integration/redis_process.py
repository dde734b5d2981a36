"""A real redis-server, as a process of its own on a free port; nothing is written to disk."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

START_S = 20.0


class RedisProcess:
    """A server that can be stopped, held up, killed and started anew on the same port."""

    def __init__(self, folder: Path, *more: object) -> None:
        """`more`: further words of its command line."""
        self._folder = folder
        self._more = more
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
        }
        arguments = [*map(str, self._more), *_words(options)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *arguments], stdout=log, stderr=log)
        giving_up = time.monotonic() + START_S
        while not answers(self.port):
            assert time.monotonic() < giving_up, (self._folder / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Let it take connections and requests, and answer none of them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_redis(folder: Path, *more: object) -> Iterator[RedisProcess]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server here; `make redis` installs it where that is allowed")
    server = RedisProcess(folder, *more)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def running_cluster(folder: Path) -> Iterator[str]:
    """Three masters that share the slots; gives the address as the service takes it."""
    with ExitStack() as nodes:
        ports = []
        for number in range(3):
            home = folder / str(number)
            home.mkdir()
            words = _words({"cluster-enabled": "yes", "cluster-port": free_port()})
            ports.append(nodes.enter_context(running_redis(home, *words)).port)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=START_S,
        )
        giving_up = time.monotonic() + START_S
        while not all(says(port, b"CLUSTER INFO", b"cluster_state:ok") for port in ports):
            assert time.monotonic() < giving_up, "the cluster did not come together"
            time.sleep(0.05)
        yield f"redis+cluster://{','.join(addresses)}"


@contextmanager
def running_sentinel(folder: Path, master: RedisProcess) -> Iterator[str]:
    """A Sentinel that watches a server; gives the address as the service takes it."""
    settings = folder / "sentinel.conf"
    settings.write_text(f"sentinel monitor main 127.0.0.1 {master.port} 1\n")
    port = free_port()
    words = _words({"port": port, "bind": "127.0.0.1", "dir": folder})
    with (folder / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(["redis-server", str(settings), "--sentinel", *words], stdout=log, stderr=log)
    try:
        giving_up = time.monotonic() + START_S
        while not answers(port):
            assert time.monotonic() < giving_up, (folder / "sentinel.log").read_text()
            time.sleep(0.02)
        yield f"redis+sentinel://127.0.0.1:{port}/main"
    finally:
        process.kill()
        process.wait()


def _words(options: dict[str, object]) -> list[str]:
    return [str(word) for name, value in options.items() for word in (f"--{name}", value)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    return says(port, b"PING", b"+PONG")


def says(port: int, command: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(command + b"\r\n")
            return expected in connection.recv(4096)
    except OSError:
        return False
