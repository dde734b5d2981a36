"""Clients that open sessions and leave them behind, with as much in them as they may have."""

import contextlib
import json
from collections import Counter

from tests.attacks.kinds.http import requests
from tests.attacks.kinds.websockets import FINAL, TEXT, frame, open_websocket
from tests.attacks.target import JSON, OPENING, Target, head, ticks

_NULLS = json.dumps({"frame_index": 0, "keypoints": [None] * 256}).encode()
_MANY_NULLS = json.dumps({"frame_index": 0, "keypoints": [None] * 10_000}).encode()


def opened(target: Target) -> Counter[str]:
    """Open one session after the other."""
    body = json.dumps(OPENING).encode()
    return requests(target, head("POST", "/sessions", JSON, f"content-length: {len(body)}") + body)


def nulls_by_websocket(target: Target, *, many: bool) -> Counter[str]:
    """Open sessions, send frames in which nobody is seen, and hang up."""
    message = frame(TEXT | FINAL, _MANY_NULLS if many else _NULLS)
    seen: Counter[str] = Counter()
    for _ in ticks(target.seconds, 100):
        with contextlib.suppress(OSError):
            session_id = target.open_session()
            if not session_id:
                seen["no session"] += 1
                continue
            with open_websocket(target, session_id) as connection:
                connection.sendall(message)
                seen[f"answer {connection.recv(1000)[:1].hex()}"] += 1
    return seen


def nulls_by_post(target: Target) -> Counter[str]:
    """The same by POST, without waiting for the answer."""
    seen: Counter[str] = Counter()
    for _ in ticks(target.seconds, 100):
        with contextlib.suppress(OSError):
            path = f"/sessions/{target.open_session()}/frames"
            with target.connect() as connection:
                connection.sendall(head("POST", path, JSON, f"content-length: {len(_NULLS)}") + _NULLS)
                seen["left"] += 1
    return seen


def unknown(target: Target) -> Counter[str]:
    """Ask for sessions that there are not."""
    seen: Counter[str] = Counter()
    for number in ticks(target.seconds, 300):
        with contextlib.suppress(OSError):
            status, _ = target.request("GET", f"/sessions/{number:016x}-{number:032x}", b"", JSON)
            seen[str(status)] += 1
    return seen
