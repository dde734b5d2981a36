"""Somebody who wants to be served meanwhile: frames of a stream, single frames by POST, and health checks.

    python -m tests.attacks.victim PORT SECONDS [KEY]

Prints a line of JSON with all samples at the end. A request that was due while an earlier one was waiting counts with
the time since it was due, although it is not sent any more.
"""

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

from tests.attacks.kinds.websockets import FRAME
from tests.attacks.target import HOST, OPENING

_ADDRESS = "127.0.0.3"
_TIMEOUT_S = 60.0
# A frame every 50 ms, in turns over a stream and by POST.
_LIFT_EVERY_S, _PROBE_EVERY_S = 0.1, 0.02


class Sample(NamedTuple):
    """One request: what it was for, when it was due by `time.monotonic()`, how long it took, and what went wrong."""

    kind: str
    due_s: float
    took_s: float
    error: str = ""


class _Client:
    """Sends requests over one connection, which is opened again when it is lost."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S, source_address=(_ADDRESS, 0))
        self._stream: ClientConnection | None = None
        self._opened = contextlib.ExitStack()
        self._next = 0
        self._body = json.dumps(
            {name: OPENING[name] for name in ("skeleton", "image_size", "fps")} | {"keypoints": [FRAME]}
        )

    def probe(self) -> str:
        return self._ask("GET", "/healthz")[0]

    def post(self) -> str:
        return self._ask("POST", "/lift", self._body)[0]

    def stream(self) -> str:
        """Send a frame of a stream; a stream that has ended is opened again with a session of its own."""
        try:
            if self._stream is None:
                self._stream, self._next = self._open_stream(), 0
            self._stream.send(json.dumps({"frame_index": self._next, "keypoints": [FRAME]}))
            answer = json.loads(self._stream.recv(_TIMEOUT_S))
        except (OSError, WebSocketException, ValueError, KeyError) as error:
            self._close_stream()
            return repr(error)
        self._next += 1
        if "frames" in answer:
            return ""
        self._close_stream()
        return str(answer)

    def _open_stream(self) -> ClientConnection:
        error, answer = self._ask("POST", "/sessions", json.dumps(OPENING))
        if error:
            raise ValueError(error)
        opened = socket.create_connection((HOST, self._port), _TIMEOUT_S, source_address=(_ADDRESS, 0))
        address = f"ws://{HOST}:{self._port}/sessions/{answer['session_id']}/stream"
        headers = {name: value for name, value in self._headers.items() if name == "authorization"}
        connecting = connect_websocket(address, sock=opened, additional_headers=headers, open_timeout=_TIMEOUT_S)
        return self._opened.enter_context(connecting)

    def _close_stream(self) -> None:
        with contextlib.suppress(OSError, WebSocketException):
            self._opened.close()
        self._stream = None

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[str, dict[str, object]]:
        for is_last in (False, True):
            try:
                self._connection.request(method, path, body, self._headers)
                answer = self._connection.getresponse()
                content = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # A connection that was kept may have been closed meanwhile, which no client can know.
                if is_last:
                    return repr(error), {}
        if answer.status not in (200, 201):
            return f"{answer.status} {content[:200]!r}", {}
        return "", json.loads(content)


def _sample(kind: str, work: Callable[[], str], every_s: float, ends_s: float, samples: list[Sample]) -> None:
    due_s = time.monotonic()
    while due_s < ends_s:
        time.sleep(max(0.0, due_s - time.monotonic()))
        error = work()
        now = time.monotonic()
        samples.append(Sample(kind, due_s, now - due_s, error))
        due_s += every_s
        while due_s < min(now, ends_s):
            samples.append(Sample(kind, due_s, now - due_s, error and "as the one before"))
            due_s += every_s


def be_served(port: int, seconds: float, key: str = "") -> list[Sample]:
    """Be served for some seconds, by three clients at a time."""
    samples: list[Sample] = []
    ends_s = time.monotonic() + seconds
    probing, posting, streaming = (_Client(port, key) for _ in range(3))
    threads = [
        threading.Thread(target=_sample, args=(*given, ends_s, samples))
        for given in (
            ("probe", probing.probe, _PROBE_EVERY_S),
            ("post", posting.post, _LIFT_EVERY_S),
            ("stream", streaming.stream, _LIFT_EVERY_S),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return samples


if __name__ == "__main__":
    sys.stdout.write(json.dumps(be_served(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])) + "\n")
