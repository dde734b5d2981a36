"""The data that a recipe names: batches to train on and to validate with, and the sources for the manifest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from poselift.errors import InvalidDataset
from poselift.live_samples import live_reach
from poselift_training.data import Batch, BatchSource
from poselift_training.data.h36m import read_h36m
from poselift_training.data.mocap import Motion, subjects_in
from poselift_training.data.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from poselift_training.data.sequences import Sequences, WindowBatches, check_fills_batch, count_windows
from poselift_training.data.synthetic.simulate import simulate_views
from poselift_training.data.synthetic.views import Views
from poselift_training.data.synthetic.windows import SyntheticWindows
from poselift_training.evaluation.baselines import fill_missing
from poselift_training.recipe import DataSource, H36MData, MocapData, Publication, Recipe

# Validation uses the same windows in every run, whatever the recipe's seed.
VALIDATION_SEED = 9973


@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Attributes:
        training: this process's part of every step's batch.
        validation: whole batches.
        frame_rate_hz: rate of the recordings, of which a window takes every `stride`-th frame.
        unit_m: metres per unit of the joints.
        licences: the (source, licence) pairs recorded in the training data itself.
    """

    training: BatchSource
    validation: BatchSource
    frame_rate_hz: float
    unit_m: float
    licences: tuple[tuple[str, str], ...] = ()


class ScoredPart(NamedTuple):
    """People of motion capture whom a finished lifter is scored on.

    Attributes:
        root, split: where they are.
        subjects: who of that split; empty: all.
        held_out: whether they are those that the recipe holds out.
    """

    root: str
    split: str
    subjects: tuple[str, ...]
    held_out: bool


@dataclass(frozen=True)
class RankShard:
    """One process's part of a source of smaller batches; together the processes use all of them."""

    source: BatchSource
    rank: int
    world_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps of all processes together in one pass."""
        return max(1, self.source.steps_per_epoch // self.world_size)

    def batch(self, step: int) -> Batch:
        """This process's windows of one step, [batch_size / world_size, N, J, ...]."""
        return self.source.batch(step * self.world_size + self.rank)


class DrawnOnCpu:
    """Batches of a source on the CPU, moved to another device.

    Devices draw other random numbers from the same seed. Scores during training must be those of the same windows on
    each kind of device.

    Args:
        kept: so many of the first batches are drawn once and stay in the host's memory: those of each validation.
    """

    def __init__(self, source: BatchSource, device: torch.device, *, kept: int) -> None:
        self._source = source
        self._device = device
        self._kept = kept
        self._drawn: dict[int, Batch] = {}

    @property
    def steps_per_epoch(self) -> int:
        """That of the source."""
        return self._source.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """The windows of one step, on the device."""
        batch = self._drawn.get(step) or self._source.batch(step)
        if step < self._kept:
            self._drawn[step] = batch
        return Batch(*(part.to(self._device) for part in (batch.windows, batch.clean, batch.joints)))


def load_data(recipe: Recipe, device: torch.device, *, rank: int = 0, world_size: int = 1) -> TrainingData:
    """Read the recipe's data onto a device.

    Args:
        rank, world_size: number of this process, and of all processes.
    Raises:
        InvalidDataset: the data is missing or not what the recipe says, or does not fill a batch.
    """
    data = recipe.data
    if isinstance(data, MocapData):
        held_out_parts(data)  # a name that is misspelt must be noticed before hours of training
        motions = [_load_motion(data, splits) for splits in (data.splits, data.validation_splits)]
        with _naming(f"{data.root}, split {' and '.join(data.validation_splits)}"):
            _check_calibration(recipe, motions[1])
        batch_size = recipe.batch_size // world_size
        training: BatchSource
        validation: BatchSource
        if data.cameras is None:
            network = recipe.network
            past = live_reach(network.frames) + 1 - network.frames if recipe.live_weight else 0
            training = _fresh_views(recipe, data, motions[0].to(device), batch_size, recipe.seed, past=past)
            untold = replace(data, views=replace(data.views, known=0.0))
            validation = _fresh_views(recipe, untold, motions[1], recipe.batch_size, VALIDATION_SEED)
            if device.type != "cpu":
                validation = DrawnOnCpu(validation, device, kept=recipe.validation_batches)
        else:
            training = _fixed_views(recipe, data, motions[0], batch_size, recipe.seed, device)
            validation = _fixed_views(recipe, data, motions[1], recipe.batch_size, VALIDATION_SEED, device)
        shard = RankShard(training, rank, world_size)
        return TrainingData(shard, validation, motions[0].fps, 1.0, motions[0].licences)
    if isinstance(data, H36MData):
        root, frame_rate_hz = Path(data.root), 50.0
        recorded = [read_h36m(root, data.keypoints, who) for who in (data.subjects, data.validation_subjects)]
    else:
        root, frame_rate_hz = Path(data.root), data.frame_rate_hz
        recorded = [read_3dhp_train(root), read_3dhp_test(root)]
    with _naming(f"{data.root}, to train on"):
        size = recipe.batch_size // world_size
        training = _cut_windows(recipe, recorded[0].to(device), size, recipe.seed, mirrored=True)
    with _naming(f"{data.root}, to validate with"):
        validation = _cut_windows(recipe, recorded[1].to(device), recipe.batch_size, VALIDATION_SEED, mirrored=False)
    return TrainingData(RankShard(training, rank, world_size), validation, frame_rate_hz, recorded[0].unit_m)


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Prefix errors about a part of the data with its name."""
    try:
        yield
    except InvalidDataset as error:
        raise InvalidDataset(f"{part}: {error.message}", path=error.path) from error


def _check_calibration(recipe: Recipe, motion: Motion) -> None:
    """Refuse motion that does not fill a batch when a finished lifter is calibrated on it, before any training.

    Raises:
        InvalidDataset: as `check_fills_batch`.
    """
    if recipe.stage == "finetune":
        network = recipe.network
        windows = count_windows(
            motion.lengths,
            frames=network.frames,
            stride=recipe.data.stride,
            back_to_back=network.sequence_to_sequence,
        )
        check_fills_batch(2 * windows, recipe.batch_size)


def load_calibration_data(recipe: Recipe, loaded: TrainingData, device: torch.device) -> BatchSource:
    """Load the validation people under the conditions in which models are scored.

    For motion capture these are views of every frame from one camera each, without the recipe's harder views; for
    other data sets the validation data itself.

    Args:
        loaded: the result of `load_data` for the recipe.
    Raises:
        InvalidDataset: as `load_data`.
    """
    data = recipe.data
    if not isinstance(data, MocapData):
        return loaded.validation
    scored = replace(data, views=Views(noise=data.views.noise), cameras=1)
    motion = _load_motion(data, data.validation_splits)
    return _fixed_views(recipe, scored, motion, recipe.batch_size, VALIDATION_SEED, device)


def total_steps(recipe: Recipe, training: BatchSource) -> int:
    """Length of the run in steps; the recipe gives it in steps or in epochs of the training data."""
    if recipe.steps is not None:
        return recipe.steps
    assert recipe.epochs is not None, "a recipe has one of the two"
    return recipe.epochs * training.steps_per_epoch


def data_sources(
    publication: Publication, data: TrainingData, before: Sequence[DataSource] = ()
) -> tuple[DataSource, ...]:
    """Collect the sources of the training data for the manifest.

    What the recipe says of a source takes precedence over what the data says of it, and that over `before`.

    Args:
        before: the sources of the run or the artifact that this run starts from.
    """
    named = {source.source for source in publication.data}
    found = [DataSource(source, licence) for source, licence in data.licences if source not in named]
    current = (*publication.data, *found)
    known = {source.source for source in current}
    return (*current, *(source for source in before if source.source not in known))


def _load_motion(data: MocapData, splits: Sequence[str]) -> Motion:
    """All clips of these splits, but for those of people who are held out.

    Of several folders, some may have none: additions to a set are for training only.
    """
    roots = [root for root in (data.root, *data.also) if any(subjects_in(root, split) for split in splits)] or [
        data.root
    ]
    motion = Motion.join([Motion.load(root, splits) for root in roots])
    return motion.of_subjects(data.held_out, left_out=True) if data.held_out else motion


def scored_parts(data: MocapData) -> list[ScoredPart]:
    """Whom a finished lifter is scored on: those to validate with, split by split, and those who are held out.

    Raises:
        InvalidDataset: as `held_out_parts`.
    """
    parts = []
    for root in (data.root, *data.also):
        for split in data.validation_splits:
            present = subjects_in(root, split)
            if others := present.difference(data.held_out):
                named = () if others == present else tuple(sorted(others))
                parts.append(ScoredPart(root, split, named, held_out=False))
    return parts + [ScoredPart(*part, held_out=True) for part in held_out_parts(data)]


def held_out_parts(data: MocapData) -> list[tuple[str, str, tuple[str, ...]]]:
    """Where the people are that a recipe holds out: folder, split, and their names there.

    Raises:
        InvalidDataset: one of them is nowhere.
    """
    parts: list[tuple[str, str, tuple[str, ...]]] = []
    for root in (data.root, *data.also):
        for split in (*data.splits, *data.validation_splits):
            present = subjects_in(root, split)
            if here := tuple(subject for subject in data.held_out if subject in present):
                parts.append((root, split, here))
    if missing := set(data.held_out) - {subject for _, _, subjects in parts for subject in subjects}:
        raise InvalidDataset(f"There is no subject {min(missing)} to hold out.")
    return parts


def _fixed_views(
    recipe: Recipe, data: MocapData, motion: Motion, batch_size: int, seed: int, device: torch.device
) -> WindowBatches:
    """Windows of views that are simulated once, on the CPU, so that they are the same ones for each kind of device."""
    sequences = simulate_views(motion, data.views, seed, cameras=data.cameras or 1)
    if not recipe.network.mask_token:
        sequences = replace(sequences, keypoints=fill_missing(sequences))
    return _cut_windows(recipe, sequences.to(device), batch_size, seed, mirrored=True)


def _fresh_views(
    recipe: Recipe, data: MocapData, motion: Motion, batch_size: int, seed: int, *, past: int = 0
) -> SyntheticWindows:
    """Windows with a new view each."""
    network = recipe.network
    return SyntheticWindows(
        motion,
        data.views,
        frames=network.frames,
        stride=data.stride,
        batch_size=batch_size,
        seed=seed,
        past=past,
        targets=network.frames if network.sequence_to_sequence else 1,
        shares=data.shares,
        rare=data.rare,
        smoothed=recipe.publish.smoothed and network.sequence_to_sequence,
        known=getattr(network, "known", False) and recipe.stage == "finetune",
        gravity=getattr(network, "gravity", False) and recipe.stage == "finetune",
    )


def _cut_windows(recipe: Recipe, sequences: Sequences, batch_size: int, seed: int, *, mirrored: bool) -> WindowBatches:
    return WindowBatches(
        sequences,
        frames=recipe.network.frames,
        stride=recipe.data.stride,
        batch_size=batch_size,
        seed=seed,
        mirrored=mirrored,
        back_to_back=recipe.network.sequence_to_sequence,
    )
