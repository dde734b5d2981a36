"""Replaces all servers of a Deployment while they are used: no request may fail, and no stream may break.

python -m tests.integration.rolling_replacement
Tiny variant: python -m tests.integration.rolling_replacement --replacements 1 --pre-stop 4

The chart is rendered with Helm's engine, and its Deployment run as processes (`pods.py`), two replicas with one Redis.
Clients know only the address of the Service. Over HTTP some open a connection for each request and some keep theirs;
over gRPC each keeps a channel. Others stream people, over WebSockets and gRPC. None of those who lift tries again.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.chart.rendering import one, render
from tests.integration.pods import NEWS_S, Deployment, Service
from tests.integration.redis_process import free_port, running_redis
from tests.integration.server_process import ANSWER_S, eventually
from tests.integration.stream_clients import CLIENTS, Client, LiftedFrame, Lost, Refusal, Replica, open_session
from tests.integration.walking import IMAGE_SIZE, at_rate, body, keypoints

FPS = 30
CLIP_FRAMES = 30
STREAM_KINDS = ("grpc", "websocket-json", "websocket-protobuf")
# A client waits so long between two requests, or two frames: the machine is not what is tried here.
PAUSE_S, FRAME_PAUSE_S = 0.03, 0.1
MOST_AHEAD = 3
GRACE_S = 120
MOST_FRAMES = 5000
_END = -1
_NEW, _KEPT, _CHANNEL, _WHOLE = "over new connections", "over kept connections", "over gRPC", "of streams as a whole"
KINDS = {_NEW, _KEPT, _CHANNEL, _WHOLE}


@dataclass
class Tally:
    """What happened.

    Attributes:
        sent: requests that clients have sent, by how they were sent.
        answered: those of them that got their poses.
        failures: what happened to the others.
        accepted: requests to lift that the pods have logged.
        moved: how often a stream went on at another pod.
        pods: that have ended, and how many of them in order.
    """

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    accepted: int = 0
    streams: int = 0
    frames: int = 0
    moved: int = 0
    largest_difference_m: float = 0.0
    pods: int = 0
    ended_in_order: int = 0

    def __str__(self) -> str:
        by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(self.answered.items()))
        said = (
            f"{self.pods} pods replaced, {self.ended_in_order} of them ended in order: "
            f"{self.accepted} accepted == {self.answered.total()} answered of {self.sent.total()} sent ({by_kind}); "
            f"{self.streams} streams of {self.frames} frames, each answered once, went on at another pod {self.moved} "
            f"times; largest difference to POST /lift {self.largest_difference_m:.1e} m"
        )
        return "\n".join([said, *self.failures[:20]])


class _Load:
    """Clients that use the Service until they are told to end."""

    def __init__(self, service: Service, tally: Tally) -> None:
        self._replica = Replica(f"http://127.0.0.1:{service.port('http')}", service.port("grpc"))
        self._tally = tally
        self._lock = threading.Lock()
        self.ending = threading.Event()
        points = keypoints(at_rate(FPS, CLIP_FRAMES), 1)
        self._json = json.dumps(body(points, fps=FPS)).encode()
        size = pb.ImageSize(width_px=IMAGE_SIZE[0], height_px=IMAGE_SIZE[1])
        self._message = pb.LiftRequest(keypoints=points.ravel(), skeleton="coco17", image_size=size, fps=FPS)

    def connect_each_time(self) -> None:
        def lift() -> None:
            self._post(httpx)

        self._again_and_again(_NEW, lift)

    def keep_a_connection(self) -> None:
        with httpx.Client(timeout=ANSWER_S) as client:
            self._again_and_again(_KEPT, lambda: self._post(client))

    def keep_a_channel(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._replica.grpc_port}") as channel:
            stub: Any = LiftingServiceStub(channel)

            def lift() -> None:
                assert stub.Lift(self._message, timeout=ANSWER_S).joints

            self._again_and_again(_CHANNEL, lift)

    def _post(self, client: Any) -> None:
        address = f"{self._replica.address}/lift"
        answer = client.post(
            address, content=self._json, headers={"content-type": "application/json"}, timeout=ANSWER_S
        )
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["poses"]) == CLIP_FRAMES

    def _again_and_again(self, kind: str, lift: Callable[[], None]) -> None:
        while not self.ending.is_set():
            with self._lock:
                self._tally.sent[kind] += 1
            try:
                lift()
            except (httpx.HTTPError, grpc.RpcError, AssertionError) as error:
                with self._lock:
                    self._tally.failures.append(f"{kind}: {type(error).__name__} {error}".replace("\n", " "))
            else:
                with self._lock:
                    self._tally.answered[kind] += 1
            time.sleep(PAUSE_S)

    def stream(self, kind: str) -> None:
        """Stream one person; what has no answer when a pod ends is sent again, to the next."""
        points = keypoints(at_rate(FPS, MOST_FRAMES), len(kind))
        session_id = open_session(self._replica, fps=FPS)
        unanswered: deque[int] = deque()  # indices of frames, and _END
        lifted: list[LiftedFrame] = []
        frames = moved = 0
        has_ended = False
        client: Client | None = None

        def send(index: int) -> None:
            assert client is not None
            client.end() if index == _END else client.send(index, points[index : index + 1])

        while unanswered or not has_ended:
            try:
                if client is None:
                    client = CLIENTS[kind](self._replica, session_id)
                    for index in unanswered:
                        send(index)
                while len(unanswered) < MOST_AHEAD and not has_ended:
                    has_ended = self.ending.is_set() or frames == MOST_FRAMES
                    unanswered.append(_END if has_ended else frames)
                    frames += not has_ended
                    send(unanswered[-1])
                lifted += client.receive().frames
                unanswered.popleft()
            except (Lost, Refusal) as broken:
                if isinstance(broken, Refusal) and broken.code != "not_ready":
                    raise
                if client is not None:
                    client.close()
                client, moved = None, moved + 1
            time.sleep(FRAME_PAUSE_S)
        if client is not None:
            client.close()
        assert [frame.index for frame in lifted] == list(range(frames)), f"the stream over {kind} is broken"
        whole = httpx.post(f"{self._replica.address}/lift", json=body(points[:frames], fps=FPS), timeout=GRACE_S)
        assert whole.status_code == 200, whole.text
        difference_m = np.abs(np.array([frame.pose for frame in lifted]) - whole.json()["poses"]).max()
        with self._lock:
            self._tally.sent[_WHOLE] += 1
            self._tally.answered[_WHOLE] += 1
            self._tally.streams += 1
            self._tally.frames += frames
            self._tally.moved += moved
            self._tally.largest_difference_m = max(self._tally.largest_difference_m, float(difference_m))


def replace_under_load(folder: Path, *, replacements: int, pre_stop_s: int) -> Tally:
    """Replace all pods so many times while they are used.

    Args:
        folder: for what the processes log.
    """
    tally = Tally()
    with ExitStack() as cleanup:
        redis = cleanup.enter_context(running_redis(folder))
        values = {
            "redis": {"url": redis.url},
            "preStopSeconds": pre_stop_s,
            "terminationGracePeriodSeconds": pre_stop_s + GRACE_S + 1,
            "settings": {
                **{name: free_port() for name in ("port", "grpc_port", "metrics_port")},
                # It starts fastest.
                "engine": "torch",
                "threads": 1,
                # The machine may be busy with starting pods.
                "session_store_timeout_s": 20,
                "deadline_s": GRACE_S,
                "grace_s": GRACE_S,
                # What is left when everyone knows that a pod ends, and some time for the machine.
                "connection_age_s": 0.8 * pre_stop_s - NEWS_S,
            },
        }
        deployment = Deployment(folder)
        cleanup.callback(deployment.close)
        _apply(deployment, values, 0)
        service = cleanup.enter_context(Service(deployment.ready).running("http", "grpc"))
        load = _Load(service, tally)
        lifting = (load.connect_each_time, load.keep_a_connection, load.keep_a_connection, load.keep_a_channel)
        with ThreadPoolExecutor(len(lifting) + len(STREAM_KINDS)) as clients:
            running = [clients.submit(client) for client in lifting]
            running += [clients.submit(load.stream, kind) for kind in STREAM_KINDS]
            with contextlib.ExitStack() as ending:
                ending.callback(load.ending.set)
                for revision in range(1, replacements + 1):
                    _apply(deployment, values, revision)
            for client in running:
                client.result()
        for pod, code in deployment.ended:
            tally.pods += 1
            tally.ended_in_order += code == 0 and not pod.was_killed
        logs = [pod.log for pod, _ in deployment.ended] + [pod.log for pod in deployment.pods]

        def all_are_logged() -> bool | None:
            tally.accepted = sum(_lifted(log) for log in logs)
            return tally.accepted >= tally.answered.total() or None

        # A pod writes the line of a request when its answer is out.
        with contextlib.suppress(AssertionError):
            eventually(all_are_logged)
    return tally


def _apply(deployment: Deployment, values: dict[str, Any], revision: int) -> None:
    rendered = render({**values, "podAnnotations": {"revision": str(revision)}})
    deployment.apply(one(rendered, "Deployment"), one(rendered, "ConfigMap")["data"])


def _lifted(log: Path) -> int:
    """Requests to lift clips that a pod has answered with their poses."""
    lines = [json.loads(line) for line in log.read_text().split("\n")[:-1] if line.startswith("{")]
    lifts = ("POST /lift", "poselift.v1.LiftingService/Lift")
    return sum(line["message"] in lifts and line["code"] == "ok" for line in lines)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Replace all servers of a Deployment while they are used.")
    options.add_argument("--replacements", type=int, default=3, help="how often all of them are replaced")
    options.add_argument("--pre-stop", type=int, default=25, help="preStopSeconds of the chart")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        tally = replace_under_load(Path(place), replacements=given.replacements, pre_stop_s=given.pre_stop)
    sys.stdout.write(f"{tally}\n")
    sys.exit(bool(tally.failures) or tally.ended_in_order != tally.pods)
