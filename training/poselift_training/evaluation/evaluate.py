"""Scores of a lifter on data with known poses, under the protocols that papers report.

A many-to-one lifter lifts every scored frame from the window around it, at the stride of the artifact's manifest; all
frames are embedded once, and windows are gathered from the features. A sequence-to-sequence lifter is scored as in its
paper: on windows back to back, where frames in two windows count twice, with the root that the network predicts, and
with a velocity that includes the steps from one window to the next. It is also scored as it is served, "blended": on
overlapping windows, each frame once, the root at zero.

- Human3.6M: the mean over the frames of each action; the total is the unweighted mean of the actions. In P-MPJPE every
  frame counts for its own action; the official code assigns the mean of a batch to each of its frames.
- MPI-INF-3DHP: the mean over the valid frames of each sequence; the total is the mean over all valid frames.
- Motion capture: seen by virtual cameras, once with exact keypoints, once with a detector's errors and gaps.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidDataset
from poselift.lifters import systems
from poselift.lifters.lifter import Lifter, Task
from poselift.lifters.pstmo.refine import RefineModule, back_project
from poselift.networks.cuda_device import set_up_cuda
from poselift.progress import progress
from poselift_training.data.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, read_h36m
from poselift_training.data.mocap import Motion
from poselift_training.data.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from poselift_training.data.sequences import Sequences
from poselift_training.data.synthetic.simulate import simulate_views
from poselift_training.data.synthetic.views import Views
from poselift_training.evaluation.baselines import flat_figure, mean_pose
from poselift_training.evaluation.hidden_joints import hidden_joint_masks
from poselift_training.evaluation.predict import predict, scored_frames, stride_of, windows_to_score
from poselift_training.evaluation.report import HiddenJointScores, Report, Run, Scores
from poselift_training.evaluation.scored_poses import ScoredPoses

DataName = Literal["h36m", "3dhp", "mocap"]

_PROTOCOLS: dict[DataName, str] = {
    "h36m": "Mean over the frames of each action, then plain mean over the actions.",
    "3dhp": "Mean over all valid frames; PCK and AUC over the official 14 joints.",
    "mocap": "Mean over all frames under virtual cameras.",
}
_SPLITS: dict[DataName, tuple[str, ...]] = {
    "h36m": ("train", "test"),
    "3dhp": ("train", "test"),
    "mocap": ("train", "val", "test"),
}
_PROTOCOL_OF_COMPLETION = "True poses without some of their joints; those that were given count with an error of zero."
_PROTOCOL_OF_SEQUENCES = "Windows back to back, all their frames counted, the root as the network has it."
_VIEWS_SEED = 20_220_317
# Angle by which the camera looks down; negative if it looks up.
PITCH_EDGES_DEG = (0.0, 10.0, 20.0, 30.0)
DISTANCE_EDGES_M = (2.0, 3.0, 4.0, 6.0)


def evaluate(
    artifact: Artifact,
    *,
    data: DataName,
    root: Path,
    keypoints: str = "cpn_ft_h36m_dbb",
    split: str = "test",
    subjects: Collection[str] = (),
    mirrored_average: bool = True,
    baselines: bool = False,
    refine: RefineModule | None = None,
    missing: bool = False,
    device: torch.device | str = "cpu",
) -> Report:
    """Score a lifter on one split of a data set.

    Args:
        root: folder of the data set.
        keypoints: name of the detections to use, for Human3.6M.
        subjects: the only subjects of motion capture to score; empty: all of the split.
        mirrored_average: also average with the mirrored person, the papers' test-time augmentation.
        baselines: also score the mean training pose and flat figures.
        refine: also refine with this module. Its input includes the TRUE depth of the root and the camera, so its
            scores cannot be compared with those of anything that works on video.
        missing: also score with joints of the best keypoints hidden, random ones and limbs. A network that completes
            3D poses is only scored this way.
    Raises:
        InvalidDataset: the data is missing, has no such split or no cameras to refine with, or the lifter was made for
            another skeleton or frame rate.
    """
    manifest = artifact.manifest
    cost = systems.cost(manifest.system, artifact.lifter.config)
    served = systems.served_cost(manifest.system, artifact.lifter.config)
    subsets = {name: part.to(device) for name, part in _read(data, root, keypoints, split, subjects)}
    for sequences in subsets.values():
        _check_fits(manifest, sequences, refine)
    training = next(_read(data, root, keypoints, "train"))[1].to(device) if baselines else None
    lifter = artifact.lifter.for_inference()
    cast(nn.Module, lifter).to(device)
    set_up_cuda()
    best = next(iter(subsets.values()))
    if manifest.task is Task.COMPLETE:
        return Report(
            artifact=f"{manifest.name}@{manifest.version}",
            data=data,
            split=split,
            protocol=_PROTOCOL_OF_COMPLETION,
            parameters=cost.parameters.full,
            flops_per_frame=served.clip_pose,
            flops_per_live_frame=served.live_frame,
            runs=(),
            missing=tuple(_hidden_joint_scores(lifter, manifest, best)),
        )
    windows = sum(windows_to_score(lifter, manifest, sequences) for sequences in subsets.values())
    runs: list[Run] = []
    with progress(windows * (1 + mirrored_average)) as advance:
        for name, sequences in subsets.items():
            predictions = _predictions(lifter, manifest, sequences, mirrored_average, refine, advance)
            compared = _baselines(training, sequences) if training else ()
            runs += [_run(data, name, prediction, sequences) for prediction in chain(predictions, compared)]
    return Report(
        artifact=f"{manifest.name}@{manifest.version}",
        data=data,
        split=split,
        protocol=_protocol(data, lifter),
        parameters=cost.parameters.full,
        flops_per_frame=served.clip_pose,
        flops_per_live_frame=served.live_frame,
        runs=tuple(runs),
        missing=tuple(_hidden_joint_scores(lifter, manifest, best)) if missing else (),
    )


def _protocol(data: DataName, lifter: Lifter) -> str:
    return f"{_PROTOCOLS[data]} {_PROTOCOL_OF_SEQUENCES}" if lifter.config.sequence_to_sequence else _PROTOCOLS[data]


def _hidden_joint_scores(lifter: Lifter, manifest: Manifest, sequences: Sequences) -> Iterator[HiddenJointScores]:
    """Scores, as served, with joints hidden from the keypoints, or from the 3D poses to complete."""
    completes = manifest.task is Task.COMPLETE
    given = sequences.joints * (sequences.unit_m / manifest.unit_m) if completes else sequences.keypoints
    frames = scored_frames(lifter, manifest, sequences, blended=True)
    hidden = list(hidden_joint_masks(sequences))
    with progress(len(hidden) * windows_to_score(lifter, manifest, sequences, blended=True)) as advance:
        for name, joints in hidden:
            visible = replace(sequences, keypoints=given.masked_fill(joints.unsqueeze(-1), torch.nan))
            poses = predict(lifter, manifest, visible, blended=True, advance=advance)
            if completes:
                poses = torch.where(joints[frames].unsqueeze(-1), poses, given[frames] * manifest.unit_m)
            scored = ScoredPoses.match(poses, frames, sequences)
            yield HiddenJointScores(name, scored.scores(), scored.errors_mm[joints[frames]].mean().item())


@dataclass(frozen=True)
class _Prediction:
    """Predicted poses, and how they were made.

    Attributes:
        poses: name of the way.
        joints: [M, J, 3] metres.
        frames: [M] rows of the predicted frames.
        chunked: whether the poses are those of windows back to back.
    """

    poses: str
    joints: Tensor
    frames: Tensor
    windows_per_s: float | None = None
    chunked: bool = False


def _predictions(
    lifter: Lifter,
    manifest: Manifest,
    sequences: Sequences,
    mirrored_average: bool,
    refine: RefineModule | None,
    advance: Callable[[int], None],
) -> Iterator[_Prediction]:
    frames, windows = scored_frames(lifter, manifest, sequences), windows_to_score(lifter, manifest, sequences)
    chunked = lifter.config.sequence_to_sequence
    started = time.perf_counter()
    joints = predict(lifter, manifest, sequences, advance=advance)
    elapsed = _completion_time(joints) - started
    yield _Prediction("plain", joints, frames, windows / elapsed, chunked)
    if mirrored_average:
        started = time.perf_counter()
        joints = (joints + predict(lifter, manifest, sequences, mirrored=True, advance=advance)) / 2
        elapsed += _completion_time(joints) - started
        yield _Prediction("mirrored average", joints, frames, windows / elapsed, chunked)
    if chunked:
        started = time.perf_counter()
        joints = predict(lifter, manifest, sequences, blended=True)
        elapsed, windows = (
            _completion_time(joints) - started,
            windows_to_score(lifter, manifest, sequences, blended=True),
        )
        frames = scored_frames(lifter, manifest, sequences, blended=True)
        yield _Prediction("blended", joints, frames, windows / elapsed)
    if refine is not None:
        yield _Prediction("refined by true root depth", _refined(refine, joints, frames, sequences), frames)


def _baselines(training: Sequences, sequences: Sequences) -> Iterator[_Prediction]:
    frames = sequences.valid.nonzero()[:, 0]
    for name, joints in (("mean pose", mean_pose(training, sequences)), ("flat figure", flat_figure(sequences))):
        yield _Prediction(name, joints[frames] * sequences.unit_m, frames)


@torch.inference_mode()
def _refined(refine: RefineModule, joints: Tensor, frames: Tensor, sequences: Sequences) -> Tensor:
    """Refine poses as in the official evaluation: after the mirrored average, before the root is set to zero."""
    assert sequences.intrinsics is not None, "checked before"
    back_projected = back_project(
        sequences.keypoints[frames],
        joints,
        sequences.roots[frames, 2] * sequences.unit_m,
        sequences.intrinsics[sequences.sequence_of_frame[frames]],
        cast(int, sequences.skeleton.root),
    )
    refined: Tensor = refine.to(joints.device).eval()(joints, back_projected)
    return refined


def _completion_time(result: Tensor) -> float:
    """Wait until the device has computed `result`, and return the time in seconds."""
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
    return time.perf_counter()


def _run(data: DataName, keypoints: str, prediction: _Prediction, sequences: Sequences) -> Run:
    scored = ScoredPoses.match(prediction.joints, prediction.frames, sequences, chunked=prediction.chunked)
    groups = {"action": scored.by_name(sequences.actions)}
    if data == "mocap":
        sources = tuple(action.partition(":")[0] for action in sequences.actions)
        groups = {"source": scored.by_name(sources), **_by_camera(scored, sequences), **groups}
    total = Scores.mean(groups["action"].values()) if data == "h36m" else scored.scores()
    return Run(keypoints, prediction.poses, total, groups, prediction.windows_per_s)


def _by_camera(scored: ScoredPoses, sequences: Sequences) -> dict[str, dict[str, Scores]]:
    """Scores by the pitch of the camera, and by the distance of the person."""
    assert sequences.up is not None, "virtual cameras have a known orientation"
    pitch_deg = torch.rad2deg(torch.asin(-sequences.up[:, 2].clamp(-1, 1)))
    distance_m = torch.linalg.vector_norm(sequences.roots, dim=-1) * sequences.unit_m
    return {
        "camera looking down": scored.in_bins(pitch_deg[scored.sequences], PITCH_EDGES_DEG, "degrees"),
        "distance": scored.in_bins(distance_m[scored.frames], DISTANCE_EDGES_M, "m"),
    }


def _read(
    data: DataName, root: Path, keypoints: str, split: str, subjects: Collection[str] = ()
) -> Iterator[tuple[str, Sequences]]:
    """Read the sequences of a split with each kind of keypoints, the most accurate kind first."""
    if split not in _SPLITS[data]:
        raise InvalidDataset(f"{data} has the splits {', '.join(_SPLITS[data])}, not {split!r}.", path="split")
    match data:
        case "h36m":
            yield keypoints, read_h36m(root, keypoints, TEST_SUBJECTS if split == "test" else TRAIN_SUBJECTS)
        case "3dhp":
            yield "the data set's", read_3dhp_test(root) if split == "test" else read_3dhp_train(root)
        case "mocap":
            motion = Motion.load(root, (split,))
            motion = motion.of_subjects(subjects) if subjects else motion
            yield "exact", scoring_views(motion, noise=False)
            yield "detector-like", scoring_views(motion, noise=True)


def scoring_views(motion: Motion, *, noise: bool) -> Sequences:
    """Simulate views of motion capture, from the same cameras in every evaluation.

    Args:
        noise: whether keypoints have a detector's errors and gaps.
    """
    return simulate_views(motion, Views(noise=noise), _VIEWS_SEED)


def _check_fits(manifest: Manifest, sequences: Sequences, refine: RefineModule | None) -> None:
    name = sequences.skeleton.name
    if (manifest.input_skeleton, manifest.output_skeleton) != (name, name):
        raise InvalidDataset(
            f"{manifest.name} lifts {manifest.input_skeleton} to {manifest.output_skeleton}, and the data has {name}: "
            "choose another model (--model)."
        )
    if refine is not None and sequences.intrinsics is None:
        raise InvalidDataset(
            "Refining needs the cameras of the data set, and only Human3.6M comes with them: take --data h36m."
        )
    stride_of(manifest, sequences)
