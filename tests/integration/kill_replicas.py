"""Kills replicas while people are streamed: no stream may lose a frame or get a pose twice.

python -m tests.integration.kill_replicas
Tiny variant: python -m tests.integration.kill_replicas --kills 6

Several clients stream people, each over one of the transports, to replicas that share a real Redis. At random messages
a client kills (SIGKILL) the replica that serves it, a moment after it has sent the message, and goes on at another one
as the contract says: it sends again what has no answer. Meanwhile a new replica starts in the place of the dead one.
With `--client python` the people are streamed by `poselift.client`, with `--client javascript` by the page's client.js
in Node.js.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.integration.client.flaky_proxy import TRANSPORTS
from tests.integration.client.killed_servers import stream_through_client, stream_through_page
from tests.integration.conftest import MODEL, publish_random_models
from tests.integration.redis_process import running_redis
from tests.integration.replicas import Replicas
from tests.integration.server_process import ANSWER_S
from tests.integration.stream_clients import CLIENTS, Client, LiftedFrame, Lost, Refusal, Replica, open_session
from tests.integration.walking import at_rate, body, keypoints, wandering

FPS = 30
REPLICAS = 3
CLIENTS_AT_A_TIME = 3
LONGEST_FRAMES = 200
KILLS_PER_STREAM = 4
KINDS = ("grpc", "websocket-protobuf", "websocket-json", "post")
CLIENTS_UNDER_TEST = ("harness", "python", "javascript")
MOST_AHEAD = 8
# Longest delay between a message and the kill, so that it hits before, during and after the lifting.
LATEST_KILL_S = 0.02
# Temporary errors, when Redis gets little CPU time; the client waits and continues.
PASSING = ("session_store_down", "overloaded", "deadline_exceeded")


@dataclass(frozen=True)
class Tally:
    """The results of a run.

    Attributes:
        sent_again: messages without an answer that were sent to another replica; 0 where a library does that.
        had_arrived: how many of those the dead one had taken.
        largest_difference_m: between a streamed pose and that of POST /lift.
    """

    kills: int
    streams: Counter[str]
    frames: int
    sent_again: int
    had_arrived: int
    largest_difference_m: float

    def __str__(self) -> str:
        over = ", ".join(f"{count} {kind}" for kind, count in sorted(self.streams.items()))
        again = f"{self.sent_again} messages sent again, of which {self.had_arrived} had arrived; "
        return (
            f"{self.kills} kills in {self.streams.total()} streams ({over}): {self.frames} frames, each answered once; "
            f"{again if self.sent_again else ''}largest difference to POST /lift {self.largest_difference_m:.1e} m"
        )


@dataclass
class _Run:
    """State shared by the clients of a run."""

    replicas: Replicas
    wanted: int
    client: str
    kills: int = 0
    streams: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    sent_again: int = 0
    had_arrived: int = 0
    largest_difference_m: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def stream_people(self, seed: int) -> None:
        """Stream people one after another until enough replicas have been killed."""
        number = 0
        while self.kills < self.wanted:
            chance = random.Random(f"{seed} {number}")
            if self.client == "python":
                kind = TRANSPORTS[(seed + number) % len(TRANSPORTS)]
                frames, difference_m = stream_through_client(self.replicas, kind, chance, self.kill)
                self.note(kind, frames, 0, 0, difference_m)
            elif self.client == "javascript":
                frames, difference_m = stream_through_page(self.replicas, chance, self.kill)
                self.note("websocket", frames, 0, 0, difference_m)
            else:
                _Person(self, KINDS[(seed + number) % len(KINDS)], chance).stream()
            number += 1

    def kill(self, replica: Replica) -> None:
        with self.lock:
            if self.kills < self.wanted:
                self.kills += self.replicas.kill(replica)

    def note(self, kind: str, frames: int, sent_again: int, had_arrived: int, difference_m: float) -> None:
        with self.lock:
            self.streams[kind] += 1
            self.frames += frames
            self.sent_again += sent_again
            self.had_arrived += had_arrived
            self.largest_difference_m = max(self.largest_difference_m, difference_m)


class _Person:
    """One stream, over any number of connections."""

    def __init__(self, run: _Run, kind: str, chance: random.Random) -> None:
        self._run = run
        self._kind = kind
        self._chance = chance
        length = chance.randint(1, LONGEST_FRAMES)
        # Every other camera tells the times of its frames.
        self._times_s = wandering(length, chance.randrange(1000)) if chance.random() < 0.5 else None
        times_s = at_rate(FPS, length) if self._times_s is None else self._times_s
        self._points = keypoints(times_s, chance.randrange(1000)).astype(np.float32).astype(np.float64)
        # Ranges of frame indices; empty for the message that ends the stream.
        self._messages = list(_cut(length, chance))
        self._doomed_at = chance.choices(range(len(self._messages)), k=KILLS_PER_STREAM)
        self._ahead = chance.choice((1, 1, chance.randint(2, MOST_AHEAD)))
        self._unanswered: deque[range] = deque()
        self._lifted: list[LiftedFrame] = []
        self._sent_again = 0
        self._had_arrived = 0

    def stream(self) -> None:
        replica = self._run.replicas.any()
        session_id = self._open()
        sent = 0
        client: Client | None = None
        while sent < len(self._messages) or self._unanswered:
            try:
                if client is None:
                    client = self._connect(replica, session_id)
                while sent < len(self._messages) and len(self._unanswered) < self._ahead:
                    self._unanswered.append(self._messages[sent])
                    self._send(client, self._messages[sent])
                    if sent in self._doomed_at:
                        self._kill(replica)
                    sent += 1
                self._lifted += client.receive().frames
                self._unanswered.popleft()
            except Lost:
                _leave(client)
                client, replica = None, self._run.replicas.any(but=replica)
            except Refusal as refusal:
                if refusal.code not in PASSING:
                    raise
                _leave(client)
                client = None
                time.sleep(0.1)
        _leave(client)
        self._judge()

    def _open(self) -> str:
        while True:
            try:
                return open_session(self._run.replicas.any(), fps=FPS if self._times_s is None else None)
            except httpx.TransportError:
                continue

    def _connect(self, replica: Replica, session_id: str) -> Client:
        client = CLIENTS[self._kind](replica, session_id)
        if self._unanswered:
            self._sent_again += len(self._unanswered)
            self._had_arrived += self._arrived(replica, session_id)
        for message in self._unanswered:
            self._send(client, message)
        return client

    def _send(self, client: Client, message: range) -> None:
        if not message:
            client.end()
            return
        sent = slice(message.start, message.stop)
        client.send(message.start, self._points[sent], None if self._times_s is None else self._times_s[sent])

    def _arrived(self, replica: Replica, session_id: str) -> int:
        """How many of the unanswered messages the killed replica had stored."""
        try:
            session = httpx.get(f"{replica.address}/sessions/{session_id}", timeout=ANSWER_S)
        except httpx.TransportError as error:
            raise Lost from error
        if session.status_code == 404:  # it has ended
            return len(self._unanswered)
        if session.status_code != 200:
            raise Lost
        frames = session.json()["next_frame_index"]
        return sum(len(message) > 0 and message.stop <= frames for message in self._unanswered)

    def _kill(self, replica: Replica) -> None:
        delay_s = self._chance.uniform(0, LATEST_KILL_S)
        threading.Timer(delay_s, self._run.kill, (replica,)).start()

    def _judge(self) -> None:
        """Check that every frame was answered once, in order, with the pose of POST /lift."""
        assert [frame.index for frame in self._lifted] == list(range(len(self._points)))
        expected = self._whole()
        difference_m = np.abs(np.array([frame.pose for frame in self._lifted]) - expected).max()
        self._run.note(self._kind, len(self._points), self._sent_again, self._had_arrived, float(difference_m))

    def _whole(self) -> NDArray[np.float64]:
        clip = body(self._points, fps=FPS)
        if self._times_s is not None:
            del clip["fps"]
            clip["timestamps_s"] = self._times_s.tolist()
        while True:
            try:
                address = self._run.replicas.any().address
                answer = httpx.post(f"{address}/lift", json=clip, timeout=ANSWER_S)
            except httpx.TransportError:
                continue
            return np.array(answer.json()["poses"])


def _leave(client: Client | None) -> None:
    if client is not None:
        client.close()


def _cut(length: int, chance: random.Random) -> Iterator[range]:
    first = 0
    while first < length:
        stop = min(first + chance.choice((1, 1, 1, 1, 1, 2, 3, 5, 12)), length)
        yield range(first, stop)
        first = stop
    yield range(length, length)


def kill_replicas(kills: int, models: Path, folder: Path, client: str = "harness") -> Tally:
    """Stream people until some number of replicas have been killed.

    Args:
        client: one of `CLIENTS_UNDER_TEST`.
        models: repository with the model that they serve.
        folder: for what the processes log.
    """
    with running_redis(folder) as redis:
        settings = {
            "models": models,
            "default_model": f"{MODEL}@stable",
            "threads": 1,
            "engine": "torch",  # it starts fastest
            "redis_url": redis.url,
            # Starting replicas may keep the machine busy.
            "session_store_timeout_s": 20,
        }
        replicas = Replicas(folder, settings, count=REPLICAS)
        try:
            run = _Run(replicas, kills, client)
            with ThreadPoolExecutor(CLIENTS_AT_A_TIME) as clients:
                for result in clients.map(run.stream_people, range(CLIENTS_AT_A_TIME)):
                    assert result is None
        finally:
            replicas.close()
    return Tally(run.kills, run.streams, run.frames, run.sent_again, run.had_arrived, run.largest_difference_m)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Kill servers while they stream.")
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--client", choices=CLIENTS_UNDER_TEST, default="harness")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        publish_random_models(folder / "models")
        sys.stdout.write(f"{kill_replicas(given.kills, folder / 'models', folder, given.client)}\n")
