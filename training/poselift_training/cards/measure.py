"""Measures what a model's card shows, and writes it beside the artifact.

The artifact itself stays as it was published, and the card may be written again; what stands in it above the line that
says so is left as somebody wrote it.
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
    SERIES_PICTURE,
    WRITTEN_FROM_HERE,
    Card,
    as_markdown,
)
from poselift_training.cards.real_clip import lift_clip
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.conditions import (
    Case,
    Series,
    Subject,
    frame_rate_cases,
    keypoint_cases,
    lookahead_cases,
    missing_cases,
    thinned,
)
from poselift_training.evaluation.evaluate import evaluate, filmed
from poselift_training.evaluation.report import Report

CARD_FILE = "card.md"
KEYPOINTS = {"exact": False, "detector-like": True}
"""Whether each kind of keypoints has the errors and gaps of a detector."""

SCORED = "Two neighbouring frames of every ten are scored."


def write_card(folder: Path, card: Card) -> Path:
    """Write a card and its pictures beside an artifact, over those of before."""
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
    above, marker, _ = before.partition(WRITTEN_FROM_HERE)
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
        beside: other lifters to score on every frame and stand beside it.
        clip: detections of a real video to lift and draw.
    Raises:
        InvalidArtifact: a network does something else.
        InvalidDataset, InvalidFile, InvalidKeypoints: data is missing, or not what it should be.
    """
    for one in (artifact, *beside):
        one.manifest.require(Task.LIFT)
    lifted = lift_clip(artifact, clip) if clip else None
    report = evaluate(artifact, data="mocap", root=root, split=split, baselines=True, device=device)
    lifter = artifact.lifter.for_inference()
    cast(nn.Module, lifter).to(device)
    subject = Subject(lifter, artifact.manifest)
    motion = Motion.load(root, (split,))
    films = {name: thinned(filmed(motion, noise=noise)).to(device) for name, noise in KEYPOINTS.items()}
    return Card(
        manifest=artifact.manifest,
        report=report,
        beside=tuple(
            evaluate(other, data="mocap", root=root, split=split, mirrored_average=False, device=device)
            for other in beside
        ),
        series=_series(subject, motion, *films.values()),
        calibration=subject.calibration([Case(name, film) for name, film in films.items()]),
        clip=lifted,
        command=_command(report, root, beside, clip),
    )


def _series(subject: Subject, motion: Motion, exact: Sequences, detected: Sequences) -> dict[str, Series]:
    series = {
        "Errors of the keypoints": subject.series(
            "noise",
            list(keypoint_cases(exact, detected)),
            reference="exact",
            note="Gaussian noise on exact keypoints; its deviation is in screen coordinates, in which a picture is 2 "
            f"wide. {SCORED}",
        ),
        "Lookahead": subject.series(
            "lookahead",
            list(lookahead_cases(subject.manifest, detected)),
            reference="full",
            note=f"Detector-like keypoints of a live stream at {motion.fps:g} Hz: how many frames after it a pose may "
            f"see. {SCORED}",
        ),
        "Missing joints": subject.series(
            "missing joints",
            list(missing_cases(exact)),
            reference="0 %",
            note="Exact keypoints without a share of the joints, by chance in each frame, or without a limb in all "
            f"frames. {SCORED}",
        ),
    }
    for name, noise in KEYPOINTS.items():
        series[f"Frame rate, {name} keypoints"] = subject.series(
            f"frame rates, {name}",
            [case.to(exact.keypoints.device) for case in frame_rate_cases(motion, partial(filmed, noise=noise))],
            reference="50 fps",
            note="The same films at other frame rates: the same cameras, and at the same moment the same errors of "
            "the detector. The moments that all rates have in common are scored.",
        )
    return series


def _command(report: Report, root: Path, beside: Sequence[Artifact], clip: Path | None) -> str:
    """Folders are left out: they are those of somebody's machine."""
    words = ["poselift evaluate", f"--model {report.artifact}", "--data mocap", f"--root {root.resolve().name}"]
    words += [f"--split {report.split}", "--report"]
    words += [f"--beside {other.manifest.name}@{other.manifest.version}" for other in beside]
    words += [f"--clip {clip.name}"] if clip else []
    return " ".join(words)
