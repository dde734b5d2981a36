import json
from dataclasses import replace

import pytest
from poselift_training.evaluation.report import Report, print_report

from tests.unit.training.evaluation.golden_artifacts import SCORE_MM


def test_a_report_is_printed_as_tables(refined_report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(refined_report)
    printed = capsys.readouterr().out
    for word in (
        "golden@0",
        "M parameters",
        "MFLOPs per pose",
        "P-MPJPE",
        "mirrored average",
        "3279.58",
        "400.69",
        "WalkTogether",
        "windows/s",
    ):
        assert word in printed


def test_a_report_is_printed_as_json(refined_report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    first = refined_report.runs[0]
    still = replace(first, total=replace(first.total, velocity_mm=float("nan")))
    print_report(replace(refined_report, runs=(still, *refined_report.runs[1:])), as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["runs"][1]["groups"]["action"]["Walking"]["mpjpe_mm"] == pytest.approx(3301.18, abs=SCORE_MM)
    assert printed["runs"][0]["total"]["velocity_mm"] is None
