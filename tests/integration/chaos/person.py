"""A client that streams one person as docs/streaming.md asks of any, and checks every answer."""

import random
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.integration.chaos.tally import Tally
from tests.integration.conftest import MODEL
from tests.integration.replicas import Replicas
from tests.integration.server_process import ANSWER_S
from tests.integration.stream_clients import CLIENTS, Answer, Client, Lost, Refusal, Replica
from tests.integration.walking import IMAGE_SIZE, at_rate, body, keypoints

FPS = 30
SAME_POSES_M = 1e-4  # what the contract of sessions promises
TRANSPORTS = ("grpc", "post", "websocket-json", "websocket-protobuf")
_LONGEST_FRAMES = 300
_MOST_AHEAD = 8
# What may be sent without waiting for answers.
_UNANSWERED_FRAMES = 32
_PATIENCE_S = (0.5, 2.0, 10.0)
_LONGEST_PATIENCE_S = 20.0
_PAUSES_S = (0.01, 0.03, 0.1)
_LONGEST_RETRY_S = 2.0
# Without any progress in this time, what was sent is lost.
_STUCK_S = 240.0
_RETRIED = ("not_ready", "session_store_down", "overloaded", "deadline_exceeded", "stream_idle", "request_timeout")


class Surroundings(Protocol):
    """What a client sees of a run."""

    replicas: Replicas
    tally: Tally

    def check_goes_on(self) -> None:
        """Raise when the run is broken off."""


class Violation(Exception):
    """Something that must not happen, which ends the stream."""

    def __init__(self, what: str, *, unknown: int = 0) -> None:
        super().__init__(what)
        self.unknown = unknown


class Person:
    """One stream, over any number of connections."""

    def __init__(self, run: Surroundings, transport: str, version: int, chance: random.Random) -> None:
        self._run = run
        self._transport = transport
        self._version = version
        self._chance = chance
        length = chance.randint(1, _LONGEST_FRAMES)
        self._points = keypoints(at_rate(FPS, length), chance.randrange(1000)).astype(np.float32).astype(np.float64)
        self._patience_s = self._usual_patience_s = chance.choice(_PATIENCE_S)
        self._pause_s = chance.choice(_PAUSES_S)
        self._ahead = chance.choice((1, 1, chance.randint(2, _MOST_AHEAD)))
        # Ranges of frame indices; empty for the message that ends the stream.
        self._pending = deque(self._cut(0))
        self._unanswered: deque[range] = deque()
        self._session_id, self._lookahead = "", 0
        self._poses: list[tuple[int, NDArray[np.float64]]] = []
        self._moved_on_s = time.monotonic()
        self._said: deque[str] = deque(maxlen=12)

    def stream(self) -> None:
        """Stream the person to its end."""
        tally, length = self._run.tally, len(self._points)
        try:
            self._open()
            self._send_all()
            self._compare(whole(self._run, self._points, self._version))
        except Violation as violation:
            answered = len({index for index, _ in self._poses})
            what = f"{self._name()}: {violation}; {answered} of {length} frames answered; {' | '.join(self._said)}"
            tally.note_violation(what, lost=length - answered, unknown=violation.unknown)
            return
        with tally.lock:
            tally.streams[self._transport] += 1
            tally.frames += length

    def _open(self) -> None:
        opening = {"skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": FPS, "lookahead": "full"}
        sent = {**opening, "model": f"{MODEL}@{self._version}"}
        opened = ask(self._run, "/sessions", sent, patience_s=self._patience_s)
        self._session_id, self._lookahead = opened["session_id"], opened["lookahead"]
        self._say("opened")

    def _send_all(self) -> None:
        client: Client | None = None
        replica: Replica | None = None
        try:
            while self._pending or self._unanswered:
                self._check_moves_on()
                try:
                    if client is None:
                        replica = self._run.replicas.any(but=replica)
                        client = self._connect(replica)
                    self._send_some(client)
                    self._take(client.receive())
                    time.sleep(self._chance.uniform(0, 2 * self._pause_s))
                except (Lost, Refusal) as error:
                    _leave(client)
                    client = None
                    self._react(error)
        finally:
            _leave(client)

    def _connect(self, replica: Replica) -> Client:
        self._say(f"at {replica.grpc_port}")
        client = CLIENTS[self._transport](replica, self._session_id, self._patience_s)
        with self._run.tally.lock:
            self._run.tally.resent += len(self._unanswered)
        for message in self._unanswered:
            self._send(client, message)
        return client

    def _send_some(self, client: Client) -> None:
        """Send the next messages, as many as may be without an answer."""
        while self._pending and len(self._unanswered) < self._ahead:
            message = self._pending[0]
            frames = sum(map(len, self._unanswered)) + len(message)
            if self._unanswered and frames > _UNANSWERED_FRAMES:
                return
            self._unanswered.append(self._pending.popleft())
            self._send(client, message)

    def _send(self, client: Client, message: range) -> None:
        if message:
            client.send(message.start, self._points[message.start : message.stop])
        else:
            client.end(len(self._points))

    def _take(self, answer: Answer) -> None:
        """Take the answer to the oldest message, which has exactly the poses that its frames complete."""
        message = self._unanswered.popleft()
        length, lookahead = len(self._points), self._lookahead
        stop = message.stop - lookahead if message else length
        expected = list(range(max(0, message.start - lookahead), max(0, stop)))
        given = [frame.index for frame in answer.frames]
        self._poses += [(frame.index, frame.pose) for frame in answer.frames]
        self._moved_on_s = time.monotonic()
        self._patience_s = self._usual_patience_s
        if given != expected or answer.next_frame_index < message.stop:
            what = (
                f"{self._name()}: the answer to {message} has {given} instead of {expected}, and the session expects "
                f"{answer.next_frame_index}; {' | '.join(self._said)}"
            )
            lost, doubled = len(set(expected) - set(given)), len(given) - len(set(given) & set(expected))
            self._run.tally.note_violation(what, lost=lost, doubled=doubled)

    def _react(self, error: Lost | Refusal) -> None:
        """Do what an error demands, and wait a moment; what has no answer is sent again afterwards."""
        if isinstance(error, Lost):
            self._say("lost")
            # On a busy machine an answer may take longer.
            self._patience_s = min(2 * self._patience_s, _LONGEST_PATIENCE_S)
            time.sleep(self._chance.uniform(0, 0.2))
            return
        self._say(error.code)
        self._run.tally.note_refusal(error.code)
        if error.code == "session_conflict":
            self._go_back(error.expected_frame_index)
        elif error.code == "unknown_session":
            raise Violation("its session is unknown", unknown=1)
        elif error.code not in _RETRIED:
            raise Violation(f"it was refused: {error}")
        time.sleep(min(error.retry_after_s or 0.1, _LONGEST_RETRY_S) * self._chance.uniform(0.5, 1.5))

    def _go_back(self, expected: int | None) -> None:
        """Send frames again that the session has lost and says so."""
        answered = self._unanswered[0].start
        if expected is None or expected >= answered:
            raise Violation(f"a conflict at {expected} that nothing explains: {answered} frames have been answered")
        self._say(f"back from {answered} to {expected}")
        with self._run.tally.lock:
            self._run.tally.rewinds += 1
            self._run.tally.rewound += answered - expected
        self._unanswered.clear()
        self._pending = deque(self._cut(expected))

    def _compare(self, expected: NDArray[np.float64]) -> None:
        """Compare every pose that was answered with that of POST /lift."""
        tally = self._run.tally
        missing = set(range(len(expected))) - {index for index, _ in self._poses}
        if missing:
            tally.note_violation(f"{self._name()}: {sorted(missing)} have no answer", lost=len(missing))
        differences_m = [float(np.abs(pose - expected[index]).max()) for index, pose in self._poses]
        wrong = [self._poses[row][0] for row, apart_m in enumerate(differences_m) if not apart_m < SAME_POSES_M]
        with tally.lock:
            tally.largest_difference_m = max(tally.largest_difference_m, *differences_m)
        if wrong:
            what = f"{self._name()}: wrong poses of {wrong}, by {max(differences_m):.1e} m; {' | '.join(self._said)}"
            tally.note_violation(what, wrong=len(wrong))

    def _cut(self, first: int) -> Iterator[range]:
        """Messages for the frames from an index on, and for the end."""
        length = len(self._points)
        while first < length:
            stop = min(first + self._chance.choice((1, 1, 1, 1, 1, 2, 3, 5, 12)), length)
            yield range(first, stop)
            first = stop
        yield range(length, length)

    def _check_moves_on(self) -> None:
        self._run.check_goes_on()
        if time.monotonic() > self._moved_on_s + _STUCK_S:
            raise Violation(f"nothing was answered in {_STUCK_S:g} s")

    def _say(self, what: str) -> None:
        self._said.append(f"{time.strftime('%H:%M:%S')} {what}")

    def _name(self) -> str:
        first = self._unanswered[0] if self._unanswered else None
        return f"{self._transport} version {self._version} session {self._session_id} oldest without an answer {first}"


def whole(run: Surroundings, points: NDArray[np.float64], version: int) -> NDArray[np.float64]:
    """The poses [F, J, 3] that POST /lift gives for a whole clip."""
    answer = ask(run, "/lift", body(points, fps=FPS, model=f"{MODEL}@{version}"), patience_s=ANSWER_S)
    if answer["model"]["version"] != version:
        raise Violation(f"version {answer['model']['version']} has lifted in place of {version}")
    return np.array(answer["poses"])


def ask(run: Surroundings, path: str, sent: Any, *, patience_s: float) -> Any:
    """Post a request to one replica after the other, until one answers it; returns the answer."""
    giving_up = time.monotonic() + _STUCK_S
    code = ""
    while time.monotonic() < giving_up:
        run.check_goes_on()
        try:
            answer = httpx.post(f"{run.replicas.any().address}{path}", json=sent, timeout=patience_s)
        except httpx.TransportError as error:
            code, patience_s = repr(error), min(2 * patience_s, ANSWER_S)
            continue
        if answer.is_success:
            return answer.json()
        code = answer.json()["error"]["code"]
        run.tally.note_refusal(code)
        # One replica at a time is without a version, while that is loaded again.
        if code not in (*_RETRIED, "unknown_model"):
            raise Violation(f"POST {path} was refused: {answer.text}")
        time.sleep(random.uniform(0.05, 0.3))
    raise Violation(f"POST {path} was not answered in {_STUCK_S:g} s: {code}")


def _leave(client: Client | None) -> None:
    if client is not None:
        client.close()
