"""Prove on a machine with a GPU what only such a machine can show, and measure it, in eight minutes.

    python -m tests.gpu.prove --out gpu.jsonl           # on the GPU
    python -m tests.gpu.prove --device cpu --tiny       # tries the steps themselves, within a minute

Each finding is a JSON line, written at once; a table follows. The exit code is 1 if something is not as expected. On a
GPU each step is a process of its own, because an error may leave the GPU unusable in a process.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

_DEADLINE_S = 470.0
# A step is not begun with less time than this.
_LEAST_S = 5.0
# What a step may take longer than its time before it is ended.
_GRACE_S = 10.0
_OWN = ("poselift", "poselift_service", "poselift_training", "tests")


@dataclass(frozen=True)
class Step:
    """A step, in a module of this folder, and its time on a GPU."""

    module: str
    name: str
    seconds: float


# The first ones decide whether the others mean anything.
STEPS = (
    Step("facts", "facts", 20),
    Step("serving_steps", "right", 60),
    Step("serving_steps", "batch_sizes", 25),
    Step("serving_steps", "workspaces", 20),
    Step("serving_steps", "memcheck", 60),
    Step("serving_steps", "failures", 30),
    Step("serving_steps", "waits", 15),
    Step("facts", "tests", 60),
    Step("serving_steps", "speed", 60),
    Step("serving_steps", "attention", 20),
    Step("serving_steps", "warm_up", 50),
    Step("training_steps", "stages", 40),
    Step("training_steps", "step_times", 60),
    Step("training_steps", "torchrun", 30),
    Step("server_step", "server", 60),
)


class Findings:
    """All findings so far; each is also written to standard output and to a file, at once."""

    def __init__(self, out: Path | None) -> None:
        self.lines: list[dict[str, Any]] = []
        self._file = None if out is None else out.open("w", encoding="utf-8")

    def add(self, line: str) -> None:
        """Take a line of JSON."""
        self.lines.append(json.loads(line))
        self.write(line)

    def note(self, step: str, name: str, value: str, *, ok: bool | None) -> None:
        """Add a finding about a step itself."""
        self.add(json.dumps({"step": step, "name": name, "value": value, "expected": "", "ok": ok}))

    def write(self, text: str) -> None:
        """Write text where the findings go."""
        for file in (sys.stdout, self._file):
            if file is not None:
                file.write(f"{text}\n")
                file.flush()

    @property
    def table(self) -> str:
        """All findings in Markdown."""
        marks = {True: "ok", False: "**no**", None: ""}
        rows = [[one["step"], one["name"], one["value"], one["expected"], marks[one["ok"]]] for one in self.lines]
        head = ["| step | finding | value | expected | |", "|---|---|---|---|---|"]
        return "\n".join([*head, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def run_step(step: Step, device: str, seconds: float, *, tiny: bool, emit: Callable[[str], None]) -> None:
    """Run a step in this process."""
    from tests.gpu.context import Context

    context = Context(step.name, device, tiny, time.monotonic() + seconds, emit)
    try:
        work: Callable[[Context], None] = getattr(import_module(f"tests.gpu.{step.module}"), step.name)
        work(context)
    except Exception as error:
        # A bare image for GPUs lacks packages that single steps need.
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] not in _OWN:
            context.report("skipped", f"the package {error.name} is not installed")
            return
        traceback.print_exc()
        context.report("raised", f"{type(error).__name__}: {error}"[:500], "nothing", ok=False)


def run_apart(step: Step, device: str, seconds: float, findings: Findings) -> None:
    """Run a step in a process of its own, and end it if it takes too long."""
    command = [sys.executable, "-m", "tests.gpu.prove", f"--step={step.name}", f"--device={device}"]
    command += [f"--seconds={seconds}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        timer = threading.Timer(seconds + _GRACE_S, _end, [process])
        timer.start()
        try:
            for line in process.stdout:
                if line.startswith('{"step"'):
                    findings.add(line.rstrip())
            process.wait()
        finally:
            timer.cancel()
            _end(process)
    if process.returncode:
        findings.note(step.name, "ended with exit code", str(process.returncode), ok=False)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a step, and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    """Run all steps, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="smallest networks and numbers, in one process")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], help="steps to run")
    parser.add_argument("--out", type=Path, help="file for the JSON lines and the table")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    by_name = {step.name: step for step in STEPS}
    if options.step:
        step = by_name[options.step]
        run_step(step, options.device, options.seconds, tiny=options.tiny, emit=Findings(None).add)
        return 0
    return _run([by_name[name] for name in options.only or by_name], options)


def _run(steps: list[Step], options: argparse.Namespace) -> int:
    findings, started = Findings(options.out), time.monotonic()
    if options.tiny:
        # Numbers so small gain nothing from threads, and lose much on a busy machine.
        os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    for step in steps:
        seconds = min(step.seconds, _DEADLINE_S - (time.monotonic() - started))
        if seconds < _LEAST_S:
            findings.note(step.name, "skipped", "no time is left", ok=None)
        elif options.tiny:
            run_step(step, options.device, seconds, tiny=True, emit=findings.add)
        else:
            run_apart(step, options.device, seconds, findings)
    findings.write(f"\n{findings.table}\n\n{time.monotonic() - started:.0f} s")
    return int(any(one["ok"] is False for one in findings.lines))


if __name__ == "__main__":
    # As `make` would: the packages of this checkout, without an installation.
    root = Path(__file__).parents[2]
    paths = [str(root), str(root / "service"), str(root / "training")]
    sys.path[:0] = paths
    # For the processes that steps start, too.
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    sys.exit(main())
