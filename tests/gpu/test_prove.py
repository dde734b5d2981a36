"""The steps for a machine with a GPU, tried without one."""

import json
import subprocess
import sys
from pathlib import Path

from tests.gpu.prove import STEPS

LIMIT_S = 300  # a quarter of a minute on an idle machine


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
