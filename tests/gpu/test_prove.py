"""The steps for a machine with a GPU, tried without one."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.gpu import prove
from tests.gpu.prove import STEPS, Findings, Step, run_apart, run_step

LIMIT_S = 300  # half a minute on an idle machine
STEP = Step("facts", "facts", 1)


def test_all_steps_run_on_the_cpu(tmp_path: Path):
    out = tmp_path / "findings.jsonl"
    command = [sys.executable, "-m", "tests.gpu.prove", "--device", "cpu", "--tiny", "--out", str(out)]
    run = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    findings = [json.loads(line) for line in out.read_text().splitlines() if line.startswith("{")]
    assert {finding["step"] for finding in findings} == {step.name for step in STEPS}
    assert not [finding for finding in findings if finding["ok"] is False]
    assert sum(finding["ok"] is True for finding in findings) > 30
    assert out.read_text().count("\n| ") > len(findings)


@pytest.mark.parametrize(("missing", "ok"), [("httpx", None), ("poselift.gone", False)])
def test_a_step_is_skipped_without_the_packages_it_needs(
    monkeypatch: pytest.MonkeyPatch, missing: str, ok: bool | None
):
    def import_module(_: str) -> None:
        raise ModuleNotFoundError(name=missing)

    monkeypatch.setattr(prove, "import_module", import_module)
    findings = Findings(None)
    run_step(STEP, "cpu", 1.0, tiny=True, emit=findings.add)
    assert [(one["name"], one["ok"]) for one in findings.lines] == [("raised" if missing != "httpx" else "skipped", ok)]


def test_a_step_that_takes_too_long_is_ended_with_all_it_has_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    child = "import time; time.sleep(3600)"
    pid = tmp_path / "pid"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
    parent += f"open({str(pid)!r}, 'w').write(str(p.pid)); p.wait()"
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{parent}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(prove, "_GRACE_S", 0.0)

    class Timer(threading.Timer):
        def run(self) -> None:
            while not (pid.exists() and pid.read_text()):
                time.sleep(0.01)
            super().run()

    monkeypatch.setattr(threading, "Timer", Timer)
    findings = Findings(None)
    run_apart(STEP, "cpu", 0.0, findings)
    assert [(one["value"], one["ok"]) for one in findings.lines] == [("-9", False)]
    until_s = time.monotonic() + 60
    while is_running(int(pid.read_text())):
        assert time.monotonic() < until_s, "what the step has started goes on"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
