"""The result of an evaluation: scores, and how they are printed as tables or JSON."""

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.table import Table

# Width of tables if the output is not a terminal, instead of rich's default of 80 columns.
_WIDTH_WITHOUT_TERMINAL = 160


@dataclass(frozen=True)
class Scores:
    """Scores of a set of frames. The root joint counts, with an error of zero.

    Attributes:
        mpjpe_mm, p_mpjpe_mm, n_mpjpe_mm: MPJPE as it is, after similarity alignment, and after scaling.
        velocity_mm: error of the movement from frame to frame, mm per frame; NaN if no frame follows another.
        pck_percent, auc_percent: share of joints within 150 mm, and its mean over thresholds up to 150 mm.
    """

    frames: int
    mpjpe_mm: float
    p_mpjpe_mm: float
    n_mpjpe_mm: float
    velocity_mm: float
    pck_percent: float
    auc_percent: float

    @classmethod
    def mean(cls, scores: Iterable[Self]) -> Self:
        """Unweighted mean of each score, and the sum of the frames."""
        rows = [dataclasses.asdict(score) for score in scores]
        means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        return cls(**{**means, "frames": sum(row["frames"] for row in rows)})


@dataclass(frozen=True)
class Run:
    """The scores of one way to predict poses from one kind of keypoints.

    Attributes:
        poses: name of the way, such as "plain".
        groups: scores by group, such as {"action": {"Walking": ..., ...}}.
        windows_per_s: speed of the lifter; None for baselines and refined poses.
    """

    keypoints: str
    poses: str
    total: Scores
    groups: Mapping[str, Mapping[str, Scores]]
    windows_per_s: float | None


@dataclass(frozen=True)
class HiddenJointScores:
    """Scores with some joints hidden from the lifter.

    Attributes:
        hidden: name of the hidden joints.
        hidden_mm: mean error of the hidden joints alone; NaN if none is hidden.
    """

    hidden: str
    total: Scores
    hidden_mm: float


@dataclass(frozen=True)
class Report:
    """All runs of one evaluation, with the same groups in each.

    Attributes:
        artifact: `name@version`.
        parameters: number of all parameters of the network.
        flops_per_frame, flops_per_live_frame: operations per pose of a clip and of a live stream, as `ServedCost`.
        missing: scores with hidden joints, for the first kind of keypoints or for 3D poses to complete; empty unless
            requested.
    """

    artifact: str
    data: str
    split: str
    protocol: str
    parameters: int
    flops_per_frame: int
    flops_per_live_frame: int
    runs: tuple[Run, ...]
    missing: tuple[HiddenJointScores, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as values of JSON; NaN becomes None."""
        plain: dict[str, Any] = _without_nan(dataclasses.asdict(self))
        return plain


def print_report(report: Report, *, as_json: bool = False) -> None:
    """Print a report to standard output, as tables or as one JSON document."""
    if as_json:
        sys.stdout.write(json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)
    console.print(f"{report.artifact} on {report.data}, {report.split} split", markup=False)
    console.print(report.protocol, markup=False)
    console.print(
        f"{report.parameters / 1e6:.3f} M parameters, {report.flops_per_frame / 1e6:,.1f} MFLOPs per pose of a clip, "
        f"{report.flops_per_live_frame / 1e6:,.1f} per live frame",
        markup=False,
    )
    if report.runs:
        console.print(_total_table(report))
    if report.missing:
        console.print(_hidden_joint_table(report))
    for group in report.runs[0].groups if report.runs else ():
        console.print(_group_table(report, group))


def _total_table(report: Report) -> Table:
    table = _table("Scores in mm, of velocity in mm per frame, of PCK and AUC in percent", "keypoints", "poses")
    for heading in ("MPJPE", "P-MPJPE", "N-MPJPE", "velocity", "PCK@150", "AUC", "frames", "windows/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in report.runs:
        total = run.total
        millimetres = (total.mpjpe_mm, total.p_mpjpe_mm, total.n_mpjpe_mm, total.velocity_mm)
        percent = (total.pck_percent, total.auc_percent)
        table.add_row(
            run.keypoints,
            run.poses,
            *(f"{score:.2f}" for score in millimetres),
            *(f"{score:.1f}" for score in percent),
            f"{total.frames:,}",
            "" if run.windows_per_s is None else f"{run.windows_per_s:,.0f}",
        )
    return table


def _hidden_joint_table(report: Report) -> Table:
    given = f"{report.runs[0].keypoints} keypoints" if report.runs else "true poses"
    table = _table(f"Scores in mm without some of the joints; {given} otherwise", "hidden")
    for heading in ("MPJPE", "P-MPJPE", "velocity", "MPJPE of the hidden"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in report.missing:
        scores = (run.total.mpjpe_mm, run.total.p_mpjpe_mm, run.total.velocity_mm)
        of_hidden = "" if math.isnan(run.hidden_mm) else f"{run.hidden_mm:.2f}"
        table.add_row(run.hidden, *(f"{score:.2f}" for score in scores), of_hidden)
    return table


def _group_table(report: Report, group: str) -> Table:
    table = _table(f"MPJPE / P-MPJPE in mm by {group}", group)
    for run in report.runs:
        table.add_column(f"{run.keypoints}\n{run.poses}", justify="right")
    for name in report.runs[0].groups[group]:
        scores = [run.groups[group][name] for run in report.runs]
        table.add_row(name, *(f"{score.mpjpe_mm:.2f} / {score.p_mpjpe_mm:.2f}" for score in scores))
    return table


def _table(title: str, *headings: str) -> Table:
    return Table(*headings, title=title, title_justify="left", box=box.SIMPLE_HEAD)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
