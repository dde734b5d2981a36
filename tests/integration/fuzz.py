"""Sends a million messages that are almost good to a server, over HTTP in JSON and protobuf and over WebSocket.

python -m tests.integration.fuzz
Tiny variant: python -m tests.integration.fuzz --messages 2000
Where a run was stopped: python -m tests.integration.fuzz --seed 7 --first 400000

Every message follows from the seed of the run and its number. Fails when an answer blames the server, is not in the
server's OpenAPI document, or has another form than all errors; when a stream ends with a code that is not documented;
and when the server logs an error or is not ready at the end. Prints the numbers of such messages. What hypothesis finds
by thinking, at a fraction of the rate, is looked for in test_fuzz.
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.integration.almost_good import OPENING, Kind, message
from tests.integration.conftest import LIMITS, MODEL, publish_completion_model, publish_random_models
from tests.integration.server_process import ANSWER_S, running

_CHUNK = 400
_PROCESSES = 2
_SHOW_EVERY_S = 10.0
_MEDIA_TYPES = {Kind.PROTOBUF: "application/x-protobuf"}
# Sessions that messages open by chance expire soon.
_SETTINGS = {**LIMITS, "default_model": MODEL, "session_ttl_s": 15, "log_level": "warning"}
_STREAM_CLOSES = {1000, 1009, *range(4400, 4500)}


class Chunk(NamedTuple):
    """What became of some messages: how many were answered in which way, and what was wrong with the others."""

    answers: Counter[str]
    faults: list[str]


@dataclass
class _Client:
    """Sends the messages of one process."""

    address: str
    documented: dict[str, set[int]]
    connection: http.client.HTTPConnection = field(init=False)
    stream: ClientConnection | None = None
    session_id: str = ""
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        host, port = self.address.removeprefix("http://").split(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_S)

    def post(self, kind: Kind, path: str, body: bytes | str) -> str:
        """Send a request; returns its status, or raises ValueError about what is wrong with the answer."""
        template = path
        if "{session_id}" in path:
            path = path.replace("{session_id}", self.session_id or self.open_session())
        headers = {"content-type": _MEDIA_TYPES.get(kind, "application/json")}
        status, content = self._ask(path, body, headers)
        if status == 404 and template != path:
            self.session_id = ""  # it has expired
        if status >= 500 or status not in self.documented[template]:
            raise ValueError(f"{status} of {path}: {content[:300]!r}")
        if status >= 400 and set(json.loads(content)["error"]) < {"code", "message"}:
            raise ValueError(f"another form of error, of {path}: {content[:300]!r}")
        return f"{kind.name.lower()} {status}"

    def send(self, body: bytes | str) -> str:
        """Send a message of a stream; returns what became of it, or raises ValueError."""
        stream = self.stream or self._open_stream()
        try:
            stream.send(body)
            answer = stream.recv(ANSWER_S)
        except ConnectionClosed:
            return self._ended(stream)
        if isinstance(answer, str) and "error" in json.loads(answer):
            return self._ended(stream)
        return "websocket answered"

    def open_session(self) -> str:
        """Open a session for the next messages."""
        status, content = self._ask("/sessions", json.dumps(OPENING).encode(), {"content-type": "application/json"})
        if status != 201:
            raise ValueError(f"{status} of an opening: {content[:300]!r}")
        self.session_id = str(json.loads(content)["session_id"])
        return self.session_id

    def _ended(self, stream: ClientConnection) -> str:
        self.stream = None
        with contextlib.suppress(ConnectionClosed):
            while True:
                stream.recv(ANSWER_S)
        self.opened.close()
        self.session_id = "" if stream.close_code in (1000, 4404) else self.session_id
        if stream.close_code not in _STREAM_CLOSES:
            raise ValueError(f"a stream was closed with {stream.close_code}: {stream.close_reason}")
        return f"websocket closed {stream.close_code}"

    def _open_stream(self) -> ClientConnection:
        path = f"/sessions/{self.session_id or self.open_session()}/stream"
        connecting = connect(self.address.replace("http", "ws", 1) + path, open_timeout=ANSWER_S, compression=None)
        self.stream = self.opened.enter_context(connecting)
        return self.stream

    def _ask(self, path: str, body: bytes | str, headers: dict[str, str]) -> tuple[int, bytes]:
        for _ in range(2):  # a connection that was kept may have been closed by the server meanwhile
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
                self.connection.request("POST", path, body, headers)
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            self.connection.close()
        raise ValueError(f"no answer of {path}")


_client: _Client | None = None


def _prepare(address: str, documented: dict[str, set[int]]) -> None:
    """Begin a process, which leaves Ctrl-C to its parent."""
    global _client
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _client = _Client(address, documented)


def send_chunk(seed: int, numbers: range) -> Chunk:
    """Send the messages with some numbers, one after the other."""
    assert _client is not None
    answers: Counter[str] = Counter()
    faults = []
    for number in numbers:
        kind, path, body = message(random.Random(f"{seed} {number}"))
        try:
            answers[_client.send(body) if path is None else _client.post(kind, path, body)] += 1
        except (ValueError, OSError, TimeoutError) as error:
            faults.append(f"message {number}: {error}")
    return Chunk(answers, faults)


@contextlib.contextmanager
def _serving() -> Iterator[tuple[str, dict[str, set[int]]]]:
    """A server, and the statuses that it documents of each call; checks at the end that nothing happened to it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        publish_random_models(folder / "models")
        publish_completion_model(folder / "models")
        with running(folder / "models", folder / "log", **_SETTINGS) as server:
            paths: dict[str, Any] = httpx.get(f"{server.address}/openapi.json").json()["paths"]
            posts = {path: calls["post"]["responses"] for path, calls in paths.items() if "post" in calls}
            yield server.address, {path: set(map(int, responses)) for path, responses in posts.items()}
            if httpx.get(f"{server.address}/readyz").status_code != 200:
                raise SystemExit("The server is not ready any more.")
            if errors := [line for line in server.log_lines() if line["level"] in ("ERROR", "CRITICAL")]:
                raise SystemExit(f"The server has logged {len(errors)} errors, the first is {errors[0]}")


def fuzz(seed: int, numbers: range, processes: int) -> Chunk:
    """Send the messages with some numbers from several processes."""
    answers: Counter[str] = Counter()
    faults: list[str] = []
    started_s = shown_s = time.monotonic()
    chunks = iter(range(numbers.start, numbers.stop, _CHUNK))
    context = multiprocessing.get_context("spawn")
    with _serving() as given, ProcessPoolExecutor(processes, context, _prepare, given) as pool:
        running: set[Future[Chunk]] = set()
        while True:
            while len(running) < 2 * processes and (first := next(chunks, None)) is not None:
                running.add(pool.submit(send_chunk, seed, range(first, min(first + _CHUNK, numbers.stop))))
            if not running:
                return Chunk(answers, faults)
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for chunk in (future.result() for future in finished):
                answers += chunk.answers
                faults += chunk.faults
                sys.stdout.write("".join(f"{fault}\n" for fault in chunk.faults))
            if time.monotonic() > shown_s + _SHOW_EVERY_S:
                shown_s = time.monotonic()
                _show(sum(answers.values()) + len(faults), len(numbers), shown_s - started_s, len(faults))


def _show(done: int, wanted: int, elapsed_s: float, faults: int) -> None:
    rate = done / elapsed_s
    left_min = (wanted - done) / rate / 60
    sys.stdout.write(f"{done:,} of {wanted:,} messages, {rate:.0f}/s, {left_min:.0f} min left, {faults} faults\n")
    sys.stdout.flush()


def main() -> int:
    """Run the command. Returns its exit code: 1 when there were faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first message")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the run; printed")
    parser.add_argument("--processes", type=int, default=_PROCESSES)
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    started_s = time.monotonic()
    answers, faults = fuzz(options.seed, range(options.first, options.first + options.messages), options.processes)
    for answer, number in sorted(answers.items()):
        sys.stdout.write(f"{number:>10,} {answer}\n")
    elapsed_s = time.monotonic() - started_s
    sent = sum(answers.values()) + len(faults)
    sys.stdout.write(f"{sent:,} messages in {elapsed_s:.0f} s, {sent / elapsed_s:.0f}/s: {len(faults)} faults.\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
