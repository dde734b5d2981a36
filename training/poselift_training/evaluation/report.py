"""What an evaluation found: numbers to keep, and tables to read."""

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

# Where the output is no terminal, tables are not squeezed into its 80 columns.
_WIDTH_WITHOUT_TERMINAL = 160


@dataclass(frozen=True)
class Scores:
    """Scores of a set of frames. The root joint counts, with an error of zero.

    Attributes:
        mpjpe_mm, p_mpjpe_mm, n_mpjpe_mm: as it is, after similarity alignment, after scaling.
        velocity_mm: error of the movement from frame to frame, mm per frame; NaN where no frame follows another.
        pck_percent, auc_percent: share of joints within 150 mm, and the mean of that over thresholds up to there.
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
        """Each score's plain mean; the frames add up."""
        rows = [dataclasses.asdict(score) for score in scores]
        means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        return cls(**{**means, "frames": sum(row["frames"] for row in rows)})


@dataclass(frozen=True)
class Run:
    """One way to get poses, from one kind of keypoints.

    Attributes:
        groups: scores by group, as {"action": {"Walking": ..., ...}}.
        windows_per_s: how fast the lifter was; None where none ran.
    """

    keypoints: str
    poses: str
    total: Scores
    groups: Mapping[str, Mapping[str, Scores]]
    windows_per_s: float | None


@dataclass(frozen=True)
class Missing:
    """Scores when the lifter is not shown some joints.

    Attributes:
        hidden: which ones.
        hidden_mm: mean error of these joints alone; NaN where none is hidden.
    """

    hidden: str
    total: Scores
    hidden_mm: float


@dataclass(frozen=True)
class Report:
    """All runs of one evaluation, the same groups in each.

    Attributes:
        parameters: of the network, all of them.
        flops_per_frame: operations of the network for each pose that a window gives, all of them.
        missing: of the first kind of keypoints, or of 3D poses that are completed; empty where it was not asked for.
    """

    artifact: str
    data: str
    split: str
    protocol: str
    parameters: int
    flops_per_frame: int
    runs: tuple[Run, ...]
    missing: tuple[Missing, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it: NaN becomes None."""
        plain: dict[str, Any] = _without_nan(dataclasses.asdict(self))
        return plain


def show(report: Report, *, as_json: bool = False) -> None:
    """Print a report: tables for people, or one JSON document."""
    if as_json:
        sys.stdout.write(json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)
    console.print(f"{report.artifact} on {report.data}, {report.split} split", markup=False)
    console.print(report.protocol, markup=False)
    console.print(
        f"{report.parameters / 1e6:.3f} M parameters, {report.flops_per_frame / 1e6:,.1f} MFLOPs per pose", markup=False
    )
    if report.runs:
        console.print(_totals(report))
    if report.missing:
        console.print(_without_joints(report))
    for group in report.runs[0].groups if report.runs else ():
        console.print(_by_group(report, group))


def _totals(report: Report) -> Table:
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


def _without_joints(report: Report) -> Table:
    given = f"{report.runs[0].keypoints} keypoints" if report.runs else "true poses"
    table = _table(f"Scores in mm without some of the joints; {given} otherwise", "hidden")
    for heading in ("MPJPE", "P-MPJPE", "velocity", "MPJPE of the hidden"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in report.missing:
        scores = (run.total.mpjpe_mm, run.total.p_mpjpe_mm, run.total.velocity_mm)
        of_hidden = "" if math.isnan(run.hidden_mm) else f"{run.hidden_mm:.2f}"
        table.add_row(run.hidden, *(f"{score:.2f}" for score in scores), of_hidden)
    return table


def _by_group(report: Report, group: str) -> Table:
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
