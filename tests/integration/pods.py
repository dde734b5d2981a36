"""Pods of the rendered Deployment as processes of this machine: what a kubelet, a Deployment and a Service do to them.

Only where a pod is, is other than in a cluster: each has an address of its own in 127.0.0.0/8, and the folder of the
image's models is that of the repository. Command, environment, probes, preStop and the time to end are those rendered.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.integration.server_process import REPOSITORY, START_S

# How long it takes until everyone knows that a pod is not to be asked any more; shorter than any sensible preStop.
NEWS_S = 1.0
_PIPED_BYTES = 64 * 1024

Manifest = dict[str, Any]


class Pod:
    """One server of the Deployment.

    Attributes:
        was_killed: whether it had not ended by itself in the time that it is given.
    """

    def __init__(self, deployment: Manifest, settings: dict[str, str], address: str, log: Path) -> None:
        """Args:
        settings: content of the ConfigMap that the container reads its environment from.
        """
        self._spec = deployment["spec"]["template"]["spec"]
        (self._container,) = self._spec["containers"]
        self._ports = {port["name"]: int(port["containerPort"]) for port in self._container["ports"]}
        self.address = address
        self.log = log
        self.was_killed = False
        self._has_started = False
        self._is_ready = False
        self._ending = threading.Event()
        with log.open("w") as written:
            self._process = subprocess.Popen(
                self._container["command"],
                cwd=REPOSITORY,
                env=self._environment(settings),
                stdout=written,
                stderr=written,
            )
        self._probing = threading.Thread(target=self._probe, daemon=True)
        self._probing.start()

    @property
    def is_ready(self) -> bool:
        return self._is_ready and not self._ending.is_set()

    @property
    def is_ending(self) -> bool:
        return self._ending.is_set()

    def port(self, name: str) -> int:
        return self._ports[name]

    def wait_until_ready(self) -> None:
        giving_up = time.monotonic() + START_S
        while not self.is_ready:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < giving_up, self.log.read_text()
            time.sleep(0.05)

    def end(self) -> int:
        """End it as a kubelet does; returns the exit code."""
        self._ending.set()
        giving_up = time.monotonic() + self._spec["terminationGracePeriodSeconds"]
        subprocess.run(self._container["lifecycle"]["preStop"]["exec"]["command"], check=True)
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(giving_up - time.monotonic())
        except subprocess.TimeoutExpired:
            self.was_killed = True
            self._process.kill()
            code = self._process.wait()
        self._probing.join()
        return code

    def kill(self) -> None:
        self._ending.set()
        self._process.kill()
        self._process.wait()

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        given = {variable["name"]: variable["value"] for variable in self._container.get("env", [])}
        here = {"POSELIFT_HOST": self.address, "POSELIFT_MODELS": settings["POSELIFT_MODELS"].replace("/", "", 1)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "OMP_NUM_THREADS": "1", **settings, **given, **here}

    def _probe(self) -> None:
        """Look whether it has started, then again and again whether it is ready, and whether it lives."""
        failures = {"startupProbe": 0, "readinessProbe": 0, "livenessProbe": 0}
        due = dict.fromkeys(failures, 0.0)
        while self._process.poll() is None and not self._ending.is_set():
            for name in ["readinessProbe", "livenessProbe"] if self._has_started else ["startupProbe"]:
                probe = self._container[name]
                if time.monotonic() < due[name]:
                    continue
                due[name] = time.monotonic() + probe.get("periodSeconds", 10)
                succeeded = self._look(probe)
                failures[name] = 0 if succeeded else failures[name] + 1
                given_up = failures[name] >= probe.get("failureThreshold", 3)
                if name == "startupProbe":
                    self._has_started = succeeded
                elif name == "readinessProbe" and (succeeded or given_up):
                    self._is_ready = succeeded
                if given_up and name != "readinessProbe":
                    self._process.kill()
            self._ending.wait(0.1)

    def _look(self, probe: Manifest) -> bool:
        asked = probe["httpGet"]
        try:
            address = f"http://{self.address}:{self.port(asked['port'])}{asked['path']}"
            return httpx.get(address, timeout=probe.get("timeoutSeconds", 1)).is_success
        except httpx.TransportError:
            return False


class Deployment:
    """Pods, and the order in which those of one revision take the place of those of another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first_address = random.randint(1, 2**23)
        self.pods: list[Pod] = []
        self.ended: list[tuple[Pod, int]] = []

    def ready(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.is_ready]

    def apply(self, deployment: Manifest, settings: dict[str, str]) -> None:
        """Bring a revision: one pod more, as soon as that is ready one of the old ones less, and so on."""
        strategy = deployment["spec"]["strategy"]["rollingUpdate"]
        assert strategy == {"maxUnavailable": 0, "maxSurge": 1}
        old = list(self.pods)
        with ThreadPoolExecutor() as ending:
            ends = []
            for _ in range(deployment["spec"]["replicas"]):
                pod = self._start(deployment, settings)
                pod.wait_until_ready()
                if old:
                    ends.append(ending.submit(self._end, old.pop(0)))
            ends += [ending.submit(self._end, pod) for pod in old]
            for end in ends:
                end.result()

    def close(self) -> None:
        for pod in self.pods:
            pod.kill()

    def _start(self, deployment: Manifest, settings: dict[str, str]) -> Pod:
        number = self._first_address + len(self.pods) + len(self.ended)
        address = f"127.{64 + number // 65_536 % 128}.{number // 256 % 256}.{1 + number % 254}"
        pod = Pod(deployment, settings, address, self._folder / f"pod-{len(self.pods) + len(self.ended)}.log")
        self.pods.append(pod)
        return pod

    def _end(self, pod: Pod) -> None:
        code = pod.end()
        self.pods.remove(pod)
        self.ended.append((pod, code))


class Service:
    """One address for all pods: each new connection goes to one that is ready, as far as has become known.

    A connection stays with its pod until one of both ends it, also when the pod is not to be asked any more.
    """

    def __init__(self, pods: Callable[[], list[Pod]]) -> None:
        self._pods = pods
        self._known: list[tuple[float, list[Pod]]] = []
        self._ports: dict[str, int] = {}
        # asyncio itself forgets who serves a connection that is lost.
        self._pipes: set[asyncio.Task[None] | None] = set()

    def port(self, name: str) -> int:
        return self._ports[name]

    @contextmanager
    def running(self, *names: str) -> Iterator["Service"]:
        """Take connections, for ports of these names, in a thread."""
        started, stopping = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()

        async def serve() -> None:
            servers = {
                name: await asyncio.start_server(partial(self._pipe, name), "127.0.0.1", 0, backlog=1024)
                for name in names
            }
            self._ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
            started.set()
            await stopping.wait()
            for server in servers.values():
                server.close()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in others:
                    task.cancel()
                await asyncio.wait(others, timeout=1)
            await asyncio.sleep(0.1)  # until closed connections are let go of

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        started.wait()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stopping.set)
            thread.join()
            loop.close()

    async def _pipe(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            pod = random.choice(self._endpoints())
            to_pod = await asyncio.open_connection(pod.address, pod.port(name))
        except (OSError, IndexError):
            writer.transport.abort()
            return
        pipe = asyncio.current_task()
        self._pipes.add(pipe)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, to_pod[1]))
                both.create_task(_copy(to_pod[0], writer))
        finally:
            for end in (writer, to_pod[1]):
                end.close()
            self._pipes.discard(pipe)

    def _endpoints(self) -> list[Pod]:
        """The pods that were ready a while ago: it takes time until everyone knows."""
        now = time.monotonic()
        self._known.append((now, self._pods()))
        while len(self._known) > 1 and self._known[1][0] <= now - NEWS_S:
            self._known.pop(0)
        # Those that have ended meanwhile are known to be gone once nobody answers there any more, not before.
        return self._known[0][1]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and its end; an end without a word is passed on likewise."""
    try:
        while data := await reader.read(_PIPED_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (OSError, RuntimeError):
        with contextlib.suppress(OSError):
            writer.transport.abort()
