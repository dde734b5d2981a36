"""One attack, and what was seen of the server and of others meanwhile."""

import json
import multiprocessing
import os
import queue
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.attacks.servers import Server
from tests.attacks.target import Target
from tests.attacks.victim import Sample

CONTROL_S, TAIL_S = 1.5, 1.0
# How long an attacker may take beyond its time, for a server that hangs; and its victim.
_PATIENCE_S = 90.0
_STARTING_S = 0.5
# Attackers share the cores with the server here, and must not take them from it by the number of their processes.
_NICENESS = 10
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Attack:
    """What an attacker does.

    Attributes:
        name: as it is chosen and printed.
        run: sends to a target until the time is over; counts what it sees.
        attackers: processes that do it at a time.
        needs_key: whether the server has API keys.
        kept_s: time for which the server keeps what it was sent by contract, as it keeps sessions.
    """

    name: str
    run: Callable[[Target], Counter[str]]
    attackers: int = 1
    needs_key: bool = False
    kept_s: float = 0.0


@dataclass
class Result:
    """What was seen during an attack, and in the seconds before it.

    Attributes:
        stall_s, p99_s: longest wait of a health check, and what 99 % of the victim's frames take at most.
        control_stall_s, control_p99_s: the same before the attack.
        failed, frames: requests of the victim that failed, and all of them.
        before_mb, peak_mb, after_mb: memory of the server; the last one a minute later.
        seen: what the attackers have counted.
        error: why there is nothing else.
    """

    name: str
    stall_s: float = 0.0
    p99_s: float = 0.0
    control_stall_s: float = 0.0
    control_p99_s: float = 0.0
    failed: int = 0
    frames: int = 0
    before_mb: float = 0.0
    peak_mb: float = 0.0
    after_mb: float = 0.0
    seen: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    error: str = ""


def perform(attack: Attack, server: Server, seconds: float) -> Result:
    """Attack a server while a victim is served; the memory afterwards is still to be measured."""
    target = server.target(seconds)
    result = Result(attack.name)
    most_s = _STARTING_S + CONTROL_S + seconds + TAIL_S
    answers = _PROCESSES.Queue()
    attackers = [
        _PROCESSES.Process(target=_attack, args=(attack.run, target, answers), daemon=True)
        for _ in range(attack.attackers)
    ]
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.attacks.victim", str(target.port), str(most_s), *filter(None, [target.key])],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(_STARTING_S)
        control = (time.monotonic(), time.monotonic() + CONTROL_S)
        time.sleep(CONTROL_S)
        with server.watched() as memory:
            for attacker in attackers:
                attacker.start()
            result.seen = _collect(answers, len(attackers), seconds + _PATIENCE_S)
            said, _ = victim.communicate(timeout=most_s + _PATIENCE_S)
            result.before_mb, result.peak_mb = memory[0], max(memory)
        _judge([Sample(*sample) for sample in json.loads(said)], control, result)
    except (subprocess.TimeoutExpired, ValueError) as error:
        result.error = f"the victim was not served: {error}"[:200]
    finally:
        victim.kill()
        victim.communicate()
        for attacker in attackers:
            if attacker.pid is not None:
                attacker.kill()
                attacker.join()
    if not server.is_alive:
        result.error = f"the server has ended, see {server.log}"
    return result


def _attack(run: Callable[[Target], Counter[str]], target: Target, answers: Any) -> None:
    os.nice(_NICENESS)
    try:
        answers.put(dict(run(target)))
    except Exception as error:
        answers.put({repr(error)[:200]: 1})


def _collect(answers: Any, number: int, seconds: float) -> dict[str, int]:
    seen: Counter[str] = Counter()
    until_s = time.monotonic() + seconds
    for _ in range(number):
        try:
            seen.update(answers.get(timeout=max(0.1, until_s - time.monotonic())))
        except queue.Empty:
            seen["attackers that did not end"] += 1
    return dict(seen)


def _judge(samples: list[Sample], control: tuple[float, float], result: Result) -> None:
    """Tell what the samples say; they are due before the attack or from its beginning on."""
    before = [sample for sample in samples if control[0] <= sample.due_s and sample.due_s + sample.took_s < control[1]]
    during = [sample for sample in samples if sample.due_s + sample.took_s >= control[1]]
    result.control_stall_s, result.control_p99_s = _stall_s(before), _p99_s(before)
    result.stall_s, result.p99_s = _stall_s(during), _p99_s(during)
    result.frames = len(during)
    failures = [f"{sample.kind}: {sample.error}" for sample in during if sample.error]
    result.failed, result.failures = len(failures), list(dict.fromkeys(failures))[:3]


def _stall_s(samples: list[Sample]) -> float:
    return max((sample.took_s for sample in samples if sample.kind == "probe"), default=0.0)


def _p99_s(samples: list[Sample]) -> float:
    took = sorted(sample.took_s for sample in samples if sample.kind != "probe")
    return took[min(len(took) - 1, int(0.99 * len(took)))] if took else 0.0
