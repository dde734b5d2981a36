"""The data a recipe names: batches to train on, batches to be judged by, and what an artifact must say of both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from poselift_training.data import Batch, BatchSource
from poselift_training.data.h36m import read_h36m
from poselift_training.data.mocap import Motion
from poselift_training.data.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from poselift_training.data.sequences import Sequences, WindowBatches
from poselift_training.data.synthetic.views import SyntheticWindows, Views, film
from poselift_training.evaluation.baselines import without_holes
from poselift_training.recipe import H36MData, MocapData, Origin, Publication, Recipe

# Validation sees the same windows in every run, whatever the recipe's seed.
VALIDATION_SEED = 9973


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is judged by.

    Attributes:
        training: this process's share of every step's batch.
        validation: whole batches.
        frame_rate_hz: rate of the recordings, of which a window takes every `stride`-th frame.
        unit_m: metres per unit of the joints.
        licences: the (source, licence) pairs that the training data names itself.
    """

    training: BatchSource
    validation: BatchSource
    frame_rate_hz: float
    unit_m: float
    licences: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Share:
    """One process's part of a source of smaller batches: together the processes walk through all of them."""

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


def load_data(recipe: Recipe, device: torch.device, *, rank: int = 0, world_size: int = 1) -> TrainingData:
    """Read the recipe's data onto a device.

    Raises:
        InvalidDataset: the data is missing or not what the recipe says.
    """
    data = recipe.data
    if isinstance(data, MocapData):
        moving = [_moving(data, splits, device) for splits in (data.splits, data.validation_splits)]
        films = _filmed_anew if data.cameras is None else _filmed_once
        training: BatchSource = films(recipe, data, moving[0], recipe.batch_size // world_size, recipe.seed)
        validation: BatchSource = films(recipe, data, moving[1], recipe.batch_size, VALIDATION_SEED)
        return TrainingData(Share(training, rank, world_size), validation, moving[0].fps, 1.0, moving[0].licences)
    if isinstance(data, H36MData):
        root, frame_rate_hz = Path(data.root), 50.0
        recorded = [read_h36m(root, data.keypoints, who) for who in (data.subjects, data.validation_subjects)]
    else:
        root, frame_rate_hz = Path(data.root), data.frame_rate_hz
        recorded = [read_3dhp_train(root), read_3dhp_test(root)]
    training = _cut(recipe, recorded[0].to(device), recipe.batch_size // world_size, recipe.seed, mirrored=True)
    validation = _cut(recipe, recorded[1].to(device), recipe.batch_size, VALIDATION_SEED, mirrored=False)
    return TrainingData(Share(training, rank, world_size), validation, frame_rate_hz, recorded[0].unit_m)


def load_usual(recipe: Recipe, loaded: TrainingData, device: torch.device) -> BatchSource:
    """The validation people as models are scored on them, whatever the recipe makes harder: of motion capture, films of
    all frames alike; elsewhere the validation data itself.

    Args:
        loaded: what `load_data` has made of the recipe.

    Raises:
        InvalidDataset: as `load_data`.
    """
    data = recipe.data
    if not isinstance(data, MocapData):
        return loaded.validation
    films = replace(data, views=Views(noise=data.views.noise), cameras=1)
    return _filmed_once(
        recipe, films, _moving(data, data.validation_splits, device), recipe.batch_size, VALIDATION_SEED
    )


def total_steps(recipe: Recipe, training: BatchSource) -> int:
    """Length of the run: the recipe says it in steps or in epochs of the training data."""
    if recipe.steps is not None:
        return recipe.steps
    assert recipe.epochs is not None, "a recipe has one of the two"
    return recipe.epochs * training.steps_per_epoch


def data_sources(publication: Publication, data: TrainingData, before: Sequence[Origin] = ()) -> tuple[Origin, ...]:
    """What the recipe says of its data, what the data says of itself where the recipe is silent, and what came before.

    Args:
        before: the sources of the run or the artifact that this one starts from.
    """
    told = {origin.source for origin in publication.data}
    found = [Origin(source, licence) for source, licence in data.licences if source not in told]
    here = (*publication.data, *found)
    known = {origin.source for origin in here}
    return (*here, *(origin for origin in before if origin.source not in known))


def _moving(data: MocapData, splits: Sequence[str], device: torch.device) -> Motion:
    return Motion.join([Motion.load(root, splits, device) for root in (data.root, *data.also)])


def _filmed_once(recipe: Recipe, data: MocapData, motion: Motion, batch_size: int, seed: int) -> WindowBatches:
    films = film(motion, data.views, seed, cameras=data.cameras or 1)
    if not recipe.network.mask_token:
        films = replace(films, keypoints=without_holes(films))
    return _cut(recipe, films, batch_size, seed, mirrored=True)


def _filmed_anew(recipe: Recipe, data: MocapData, motion: Motion, batch_size: int, seed: int) -> SyntheticWindows:
    network = recipe.network
    return SyntheticWindows(
        motion,
        data.views,
        frames=network.frames,
        stride=data.stride,
        batch_size=batch_size,
        seed=seed,
        targets=network.frames if network.sequence_to_sequence else 1,
    )


def _cut(recipe: Recipe, sequences: Sequences, batch_size: int, seed: int, *, mirrored: bool) -> WindowBatches:
    return WindowBatches(
        sequences,
        frames=recipe.network.frames,
        stride=recipe.data.stride,
        batch_size=batch_size,
        seed=seed,
        mirrored=mirrored,
        back_to_back=recipe.network.sequence_to_sequence,
    )
