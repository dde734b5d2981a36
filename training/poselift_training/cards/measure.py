"""Measure the contents of a model's card, and write the card beside the artifact.

The artifact itself is not changed. A card may be written again: its hand-written text, above a marker line, is kept.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn

from poselift.artifacts.artifact import Artifact
from poselift.lifters.lifter import Task
from poselift_training.cards import figures as pictures
from poselift_training.cards.markdown import (
    CALIBRATION_PICTURE,
    CLIP_PICTURE,
    GENERATED_MARKER,
    SERIES_PICTURE,
    Card,
    as_markdown,
)
from poselift_training.cards.real_clip import lift_clip
from poselift_training.data.mocap import Motion, subjects_in
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.conditions import (
    Condition,
    ScoredLifter,
    Series,
    frame_rate_conditions,
    keypoint_conditions,
    lookahead_conditions,
    missing_conditions,
    subsampled,
)
from poselift_training.evaluation.evaluate import evaluate, scoring_views
from poselift_training.evaluation.report import Report

CARD_FILE = "card.md"
KEYPOINTS = {"exact": False, "detector-like": True}
"""Kinds of keypoints, and whether they have a detector's errors and gaps."""

_SPLITS = frozenset({"train", "val", "test"})

SCORED = "Two neighbouring frames of every ten are scored."


def write_card(folder: Path, card: Card) -> Path:
    """Write a card and its pictures beside an artifact, in place of earlier ones.

    Returns:
        The file of the card.
    """
    figures = {SERIES_PICTURE: pictures.series(card.series)}
    if card.calibration:
        figures[CALIBRATION_PICTURE] = pictures.calibration(card.calibration)
    if card.clip:
        figures[CLIP_PICTURE] = pictures.clip(card.clip)
    for name in (SERIES_PICTURE, CALIBRATION_PICTURE, CLIP_PICTURE):
        (folder / name).unlink(missing_ok=True)
    for name, figure in figures.items():
        pictures.save(figure, folder / name)
    file = folder / CARD_FILE
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    above, marker, _ = before.partition(GENERATED_MARKER)
    if not marker:
        above = f"# {card.manifest.name}, version {card.manifest.version}\n\n"
    scratch = folder / f".{CARD_FILE}.{os.getpid()}"
    scratch.write_text(above + as_markdown(card), encoding="utf-8")
    scratch.replace(file)
    return file


def measure_card(
    artifact: Artifact,
    *,
    root: Path,
    split: str = "test",
    beside: Sequence[Artifact] = (),
    clip: Path | None = None,
    device: torch.device | str = "cpu",
) -> Card:
    """Measure a lifter on a split of motion capture.

    Args:
        root: folder of the data set.
        beside: other lifters to compare with, scored on every frame.
        clip: detections of a real video to lift and draw.
    Raises:
        InvalidArtifact: a network does not lift keypoints.
        InvalidDataset, InvalidFile, InvalidKeypoints: data is missing or invalid.
    """
    for compared in (artifact, *beside):
        compared.manifest.require(Task.LIFT)
    lifted = lift_clip(artifact, clip) if clip else None
    report = evaluate(artifact, data="mocap", root=root, split=split, baselines=True, device=device)
    lifter = artifact.lifter.for_inference()
    cast(nn.Module, lifter).to(device)
    scored = ScoredLifter(lifter, artifact.manifest)
    motion = Motion.load(root, (split,))
    views = {name: subsampled(scoring_views(motion, noise=noise)).to(device) for name, noise in KEYPOINTS.items()}
    return Card(
        manifest=artifact.manifest,
        report=report,
        beside=tuple(
            evaluate(other, data="mocap", root=root, split=split, mirrored_average=False, device=device)
            for other in beside
        ),
        series=_series(scored, motion, *views.values()),
        calibration=scored.calibration([Condition(name, sequences) for name, sequences in views.items()]),
        clip=lifted,
        command=_command(report, root, beside, clip),
        split_shares_people=any(subjects_in(root, split) & subjects_in(root, other) for other in _SPLITS - {split}),
    )


def _series(scored: ScoredLifter, motion: Motion, exact: Sequences, detected: Sequences) -> dict[str, Series]:
    series = {
        "Errors of the keypoints": scored.series(
            "noise",
            list(keypoint_conditions(exact, detected)),
            reference="exact",
            note="Gaussian noise on exact keypoints; its deviation is in screen coordinates, in which a picture is 2 "
            f"wide. {SCORED}",
        ),
        "Lookahead": scored.series(
            "lookahead",
            list(lookahead_conditions(scored.manifest, detected)),
            reference="full",
            note=f"Detector-like keypoints of a live stream at {motion.fps:g} Hz: how many frames after it a pose may "
            f"see. {SCORED}",
        ),
        "Missing joints": scored.series(
            "missing joints",
            list(missing_conditions(exact)),
            reference="0 %",
            note="Exact keypoints without a share of the joints, by chance in each frame, or without a limb in all "
            f"frames. {SCORED}",
        ),
    }
    for name, noise in KEYPOINTS.items():
        series[f"Frame rate, {name} keypoints"] = scored.series(
            f"frame rates, {name}",
            [
                condition.to(exact.keypoints.device)
                for condition in frame_rate_conditions(motion, partial(scoring_views, noise=noise))
            ],
            reference="50 fps",
            note="The same films at other frame rates: the same cameras, and at the same moment the same errors of "
            "the detector. The moments that all rates have in common are scored.",
        )
    return series


def _command(report: Report, root: Path, beside: Sequence[Artifact], clip: Path | None) -> str:
    """The command that writes the same card, without the folders of this machine."""
    words = ["poselift evaluate", f"--model {report.artifact}", "--data mocap", f"--root {root.resolve().name}"]
    words += [f"--split {report.split}", "--report"]
    words += [f"--beside {other.manifest.name}@{other.manifest.version}" for other in beside]
    words += [f"--clip {clip.name}"] if clip else []
    return " ".join(words)
