"""Servers in rotation: one is attacked while the others rest."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue

from poselift_service.transport.keys import new_key

from tests.attacks.attack import Attack, Result, perform
from tests.attacks.servers import Server


class Rotation:
    """Carries out attacks on several servers, so that nobody waits while one of them rests."""

    def __init__(self, tree: Path, logs: Path, servers: int, *, rest_s: float) -> None:
        """Prepare the servers, which `carry_out` starts.

        Args:
            tree: checkout whose servers they are.
            logs: folder for what they log.
            rest_s: time after an attack at which memory is measured again.
        """
        self._tree = tree
        self._logs = logs
        self._rest_s = rest_s
        self._room = threading.Semaphore(servers)
        self._rested: list[Server] = []
        self._servers: list[Server] = []
        self._numbers = itertools.count()
        self._results: Queue[Result] = Queue()

    def carry_out(self, attacks: Sequence[Attack], seconds: float) -> Iterator[Result]:
        """Carry out attacks; results come when the memory after them has been measured. All servers are ended."""
        resting: list[threading.Thread] = []
        try:
            for attack in attacks:
                while not self._results.empty():
                    yield self._results.get()
                self._room.acquire()
                resting.append(self._carry_out(attack, seconds))
            for thread in resting:
                while thread.is_alive():
                    thread.join(0.5)
                    while not self._results.empty():
                        yield self._results.get()
            while not self._results.empty():
                yield self._results.get()
        finally:
            for server in self._servers:
                server.stop()

    def _carry_out(self, attack: Attack, seconds: float) -> threading.Thread:
        server = None
        try:
            server = self._start(needs_key=True) if attack.needs_key else self._take()
            result = perform(attack, server, seconds)
        except Exception as error:
            result = Result(attack.name, error=repr(error))
        thread = threading.Thread(target=self._rest, args=(attack, server, result), daemon=True)
        thread.start()
        return thread

    def _rest(self, attack: Attack, server: Server | None, result: Result) -> None:
        if server is not None and not result.error:
            time.sleep(self._rest_s + (attack.kept_s if self._rest_s else 0))
            result.after_mb = server.memory_mb()
        self._results.put(result)
        if server is not None:
            if result.error or attack.needs_key:
                server.stop()
                self._servers.remove(server)
            else:
                self._rested.append(server)
        self._room.release()

    def _take(self) -> Server:
        return self._rested.pop(0) if self._rested else self._start()

    def _start(self, *, needs_key: bool = False) -> Server:
        number = next(self._numbers)
        key, settings = "", {}
        if needs_key:
            key, stored = new_key("victim")
            keys = self._logs / f"keys-{number}"
            keys.write_text(f"{stored.line}\n")
            settings = {"api_keys_file": keys}
        server = Server(self._tree, self._logs / f"log-{number}", key, **settings)
        self._servers.append(server)
        server.wait_until_ready()
        server.warm_up()
        return server
