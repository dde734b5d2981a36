"""The contents of a model's card, and its Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poselift.artifacts.manifest import Manifest
from poselift_training.cards.real_clip import BoneLength, LiftedClip
from poselift_training.evaluation.calibration import Decile
from poselift_training.evaluation.conditions import Series
from poselift_training.evaluation.report import Report, Run, Scores
from poselift_training.recipe import flat

GENERATED_MARKER = "<!-- From here on written by `poselift evaluate --report`; what stands above is kept. -->"
SERIES_PICTURE, CALIBRATION_PICTURE, CLIP_PICTURE = "card-conditions.svg", "card-expected-error.svg", "card-clip.svg"

_METRICS = {
    "MPJPE": ("mpjpe_mm", ".1f"),
    "P-MPJPE": ("p_mpjpe_mm", ".1f"),
    "N-MPJPE": ("n_mpjpe_mm", ".1f"),
    "velocity": ("velocity_mm", ".2f"),
    "PCK@150": ("pck_percent", ".1f"),
    "AUC": ("auc_percent", ".1f"),
}
_BASELINES = ("mean pose", "flat figure")
# Recipe keys, or their prefixes, that are not listed: they are elsewhere in the card, or do not affect the result.
_UNLISTED_KEYS = (
    "name stage network publish system data.root precision compile accelerator devices num_nodes runs log_every_steps "
    "checkpoint_every_s validate_every_steps validation_batches".split()
)


@dataclass(frozen=True)
class Card:
    """All measurements of a model.

    Attributes:
        report: scores of every frame of the split, with the baselines.
        beside: reports of the models to compare with.
        series: scores under changing conditions, by title.
        calibration: expected and true errors, by kind of keypoints; empty for a network without expected errors.
        clip: a real clip, lifted, if one was given.
        command: repeats the measurements.
        split_shares_people: whether somebody of the split is in another one, too.
    """

    manifest: Manifest
    report: Report
    beside: tuple[Report, ...]
    series: Mapping[str, Series]
    calibration: Mapping[str, Sequence[Decile]]
    clip: LiftedClip | None
    command: str
    split_shares_people: bool


def as_markdown(card: Card) -> str:
    """The generated part of the card, from its marker on."""
    parts = [
        GENERATED_MARKER,
        _description(card),
        _score_table(card),
        *(_series(title, series) for title, series in card.series.items()),
        f"![Errors under all of these conditions]({SERIES_PICTURE})",
        *(_group(card.report, group) for group in card.report.runs[0].groups),
    ]
    if card.calibration:
        parts.append(_calibration(card.calibration))
    if card.clip:
        parts.append(_clip(card.clip))
    parts.append(_how_to_repeat(card))
    return "\n\n".join(parts) + "\n"


def _description(card: Card) -> str:
    manifest = card.manifest
    seconds = (manifest.network["frames"] - 1) * manifest.temporal_stride / manifest.frame_rate_hz
    missing = "a learnt token" if manifest.missing_joints == "token" else "its last seen position"
    rows = {
        "system": manifest.system,
        "network": _as_list(manifest.network),
        "window": f"{manifest.network['frames']} frames, {manifest.temporal_stride} apart at "
        f"{manifest.frame_rate_hz:g} Hz: {seconds:.2f} s",
        "samples of a window": "each the mean of a frame, the one before and the one after"
        if manifest.smoothed
        else "",
        "size": f"{card.report.parameters / 1e6:.2f} M parameters, "
        f"{card.report.flops_per_frame / 1e6:,.1f} MFLOPs per pose of a clip, "
        f"{card.report.flops_per_live_frame / 1e6:,.1f} per live frame",
        "keypoints, poses": f"{manifest.input_skeleton}, {manifest.output_skeleton}",
        "a missing joint is": missing,
        "recipe": _as_list({key: value for key, value in flat(manifest.recipe).items() if _is_listed(key)}),
        "training data": "; ".join(f"{data.source} ({data.licence})" for data in manifest.data),
        "attribution": manifest.attribution,
        "code revision": manifest.code_revision,
        "weights": f"SHA-256 {manifest.weights_sha256}",
    }
    return "## What it is\n\n" + _table(("", ""), ((name, text) for name, text in rows.items() if text))


def _score_table(card: Card) -> str:
    report = card.report
    columns = _columns(card)
    rows = [
        (f"{name}, {kind}", *(_number(getattr(scores[kind], field), form) for scores in columns.values()))
        for name, (field, form) in _METRICS.items()
        for kind in _kinds(report)
    ]
    rows += _comparison_rows(card, columns)
    frames = served(report)[0].total.frames
    people = "some of its people are in other splits, too" if card.split_shares_people else "no person is in two splits"
    return (
        f"## Scores, {report.split} split\n\n"
        f"{report.protocol} {frames:,} frames; {people}. Millimetres relative to the pelvis, "
        'whose own zero counts; velocity in mm per frame, PCK and AUC in percent. "Detector-like" keypoints '
        "have the errors, drifts, outliers and gaps of a detector. A flat figure is the keypoints at their true size, "
        "without depth.\n\n" + _table(("", *columns), rows)
    )


def _columns(card: Card) -> dict[str, dict[str, Scores]]:
    """Scores by the source of the poses (this model, others, baselines), then by kind of keypoints."""
    own: dict[str, dict[str, Scores]] = {}
    for run in card.report.runs:
        own.setdefault(run.poses, {})[run.keypoints] = run.total
    others = {report.artifact: {run.keypoints: run.total for run in served(report)} for report in card.beside}
    poses = {name: scores for name, scores in own.items() if name not in _BASELINES}
    return {**poses, **others, **{name: own[name] for name in _BASELINES}}


def _comparison_rows(card: Card, columns: Mapping[str, Mapping[str, Scores]]) -> list[tuple[str, ...]]:
    """Rows with the sizes of the models, and the errors of this one relative to the others."""
    if not card.beside:
        return []
    reports = {report.artifact: report for report in card.beside}
    reports |= {run.poses: card.report for run in card.report.runs if run.poses not in _BASELINES}
    rows = [
        ("parameters, M", *(f"{reports[name].parameters / 1e6:.2f}" if name in reports else "" for name in columns)),
        (
            "MFLOPs per pose of a clip; per live frame",
            *(_megaflops(reports[name]) if name in reports else "" for name in columns),
        ),
    ]
    for run in served(card.report):
        changes = (100 * (run.total.mpjpe_mm / scores[run.keypoints].mpjpe_mm - 1) for scores in columns.values())
        heading = f"MPJPE of this model ({run.poses}) against it, {run.keypoints}, %"
        rows.append((heading, *(f"{change:+.1f}" for change in changes)))
    return rows


def _megaflops(report: Report) -> str:
    return f"{report.flops_per_frame / 1e6:,.1f}; {report.flops_per_live_frame / 1e6:,.1f}"


def served(report: Report) -> list[Run]:
    """The runs that are served by default, one for each kind of keypoints."""
    names = {run.poses for run in report.runs}
    return [run for run in report.runs if run.poses == ("blended" if "blended" in names else "plain")]


def _kinds(report: Report) -> list[str]:
    return list(dict.fromkeys(run.keypoints for run in report.runs))


def _series(title: str, series: Series) -> str:
    metrics = {
        name: place
        for name, place in _METRICS.items()
        if not all(math.isnan(getattr(scores, place[0])) for scores in series.scores.values())
    }
    rows = [
        (
            name,
            *(_number(getattr(scores, field), form) for field, form in metrics.values()),
            "" if name == series.reference else f"{series.cost_percent(name):+.1f}",
        )
        for name, scores in series.scores.items()
    ]
    frames = min(scores.frames for scores in series.scores.values())
    return f"## {title}\n\n{series.note} They are {frames:,} frames.\n\n" + _table(
        ("", *metrics, f"MPJPE over {series.reference}, %"), rows
    )


def _group(report: Report, group: str) -> str:
    runs = served(report)
    headings = [f"{metric}, {run.keypoints}" for run in runs for metric in ("MPJPE", "P-MPJPE")]
    rows = [
        (
            name,
            f"{scores.frames:,}",
            *(f"{error:.1f}" for run in runs for error in _two_errors(run.groups[group][name])),
        )
        for name, scores in runs[0].groups[group].items()
    ]
    return f"## By {group}\n\n" + _table((group, "frames", *headings), rows)


def _two_errors(scores: Scores) -> tuple[float, float]:
    return scores.mpjpe_mm, scores.p_mpjpe_mm


def _calibration(calibration: Mapping[str, Sequence[Decile]]) -> str:
    rows = [
        (str(number), *(cell for decile in deciles for cell in _decile(decile)))
        for number, deciles in enumerate(zip(*calibration.values(), strict=True), start=1)
    ]
    headings = [f"{what}, {kind}" for kind in calibration for what in ("expected, mm", "true, mm", "expected / true")]
    return (
        "## Expected errors\n\n"
        "The network says of each joint how far off it expects to be. Joints other than the pelvis, sorted by that, a "
        f"tenth at a time. The grey band is 20 % around the truth.\n\n{_table(('tenth', *headings), rows)}\n\n"
        f"![True over expected errors]({CALIBRATION_PICTURE})"
    )


def _decile(decile: Decile) -> tuple[str, str, str]:
    return f"{decile.expected_mm:.1f}", f"{decile.true_mm:.1f}", f"{decile.ratio:.2f}"


def _clip(clip: LiftedClip) -> str:
    frames, height = len(clip.joints), clip.head_above_feet_m
    swaps = sum(clip.swaps.values())
    rows = {
        "left and right joints that change places": f"{swaps} times ({_as_list(clip.swaps)})" if swaps else "never",
        "hips and shoulders in the order in which they were detected": f"{clip.sides_agree_percent:.1f} %",
        "feet below the head, in the camera's up direction": f"{100 * (height > 0).mean():.1f} % of the frames; the "
        f"head at least {height.min():.2f} m above both ankles",
    }
    bones = (
        (name, *(cell for side in ((None, None, *sides)[-2:]) for cell in _bone(side)))
        for name, sides in clip.bones.items()
    )
    return (
        f"## A real clip\n\n{clip.file}: {frames} frames of {clip.sequence.skeleton.name} keypoints from a real video, "
        f"lifted as they are.\n\n{_table(('', ''), rows.items())}\n\n"
        "Bone lengths over the clip; the deviation in percent of the mean:\n\n"
        + _table(("bone", "left, mm", "deviation, %", "right or middle, mm", "deviation, %"), bones)
        + f"\n\n![The clip, lifted, from three sides]({CLIP_PICTURE})"
    )


def _bone(bone: BoneLength | None) -> tuple[str, str]:
    return ("", "") if bone is None else (f"{1000 * bone.mean_m:.0f}", f"{bone.deviation_percent:.1f}")


def _how_to_repeat(card: Card) -> str:
    return f"## How to measure this again\n\n    {card.command}"


def _as_list(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_as_text(value)}" for key, value in values.items())


def _as_text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return " / ".join(_as_text(item) for item in value)
    return str(value)


def _is_listed(key: str) -> bool:
    return not any(key == other or key.startswith(f"{other}.") for other in _UNLISTED_KEYS)


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
