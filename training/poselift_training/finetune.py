"""Stage II: lift windows of 2D frames to 3D poses, starting from a pretrained encoder or from nothing.

A system that completes 3D poses is trained here, too.

    poselift finetune pstmo-tiny-27
    torchrun --nproc_per_node 2 -m poselift_training.finetune pstmo-s-243-h36m -o data.root=/data/h36m

A tiny variant that finishes within a minute on a CPU:

    poselift data bvh tests/data/cmu_05_15_cut.bvh --out data/smoke/cmu.npz --unit-m 0.056444 --skip 1
    poselift finetune smoke

The result is a published artifact. Started again, the same command goes on from the last checkpoint.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.manifest import MANIFEST_FILE, DataSource, Manifest
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts
from poselift.artifacts.verify import read_manifest
from poselift.errors import InvalidArtifact, InvalidRecipe
from poselift.lifters.lifter import Lifter, Poses, Task
from poselift.lifters.systems import SYSTEMS
from poselift.skeletons import Skeleton, skeleton
from poselift_training.command import main as command
from poselift_training.data import Batch
from poselift_training.evaluation.calibration import calibrate
from poselift_training.evaluation.evaluate import evaluate
from poselift_training.evaluation.metrics import mpjpe
from poselift_training.loop.loop import (
    Job,
    checkpoint_path,
    launch,
    learnt,
    read_checkpoint,
    seed_of,
    sources_in,
    train,
)
from poselift_training.pretrain import Reconstruction
from poselift_training.recipe import H36MData, MocapData, Origin, Recipe, recipe_from
from poselift_training.recipe_data import TrainingData, data_sources, load_data, load_usual, total_steps

# Some thousand windows: two numbers are found from them.
_CALIBRATION_BATCHES = 64


class Lifting(nn.Module):
    """Stage II objective: the loss of the recipe's system."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.system = SYSTEMS[recipe.system]
        self.bone_length_weight = recipe.bone_length_weight
        assert self.system.loss is not None, "a finetune recipe's system has a loss"
        self._loss: Callable[[Poses, Tensor, Skeleton], Tensor] = self.system.loss
        self.skeleton = skeleton(recipe.publish.output_skeleton)
        self.lifter: Lifter = self.system.network(recipe.network)

    def given(self, batch: Batch, seed: int) -> Tensor:
        """What the network is given of a batch: its windows, or its poses with joints hidden."""
        return self.system.given(batch.windows, batch.joints, self.skeleton, torch.Generator().manual_seed(seed))

    def forward(self, given: Tensor, joints: Tensor) -> Tensor:
        """What is given of windows, and their joints [B, N, J, 3] in metres -> scalar loss."""
        poses = self.lifter(given)
        # Under autocast the network answers in bfloat16, 4 mm coarse at a metre; distances are taken in full precision.
        answers = (poses.centre, poses.frames, poses.expected_error)
        full = Poses(*(None if answer is None else answer.float() for answer in answers))
        loss = self._loss(full, joints, self.skeleton)
        if not self.bone_length_weight:
            return loss
        target = joints if full.centre is None else joints[:, joints.shape[1] // 2]
        return loss + self.bone_length_weight * bone_length_loss(full.answer[..., :3], target, self.skeleton)


def bone_length_loss(poses: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean error of the lengths of bones in poses [..., J, 3] -> scalar, in the unit of the poses.

    A pose that hedges between a limb bent towards the camera and away from it is too short; this makes that costly.
    """
    joints = [joint for joint, parent in enumerate(skeleton.parents) if parent >= 0]
    parents = [skeleton.parents[joint] for joint in joints]

    def lengths(of: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(of[..., joints, :] - of[..., parents, :], dim=-1)
        return norms

    return (lengths(poses) - lengths(target)).abs().mean()


def finetune(recipe: Recipe, *, time_limit_s: float | None = None) -> str:
    """Run or continue stage II, score the result on the validation data and publish it.

    Returns:
        The place of the published artifact.
    Raises:
        InvalidRecipe, InvalidDataset: the recipe cannot be run, or diverged.
        UnreachableRepository: the object store to publish in cannot be reached.
        TrainingStopped: a signal or the time limit ended this part of the run.
    """
    fabric, recipe = launch(recipe)
    list_artifacts(recipe.publish.repository)  # hours of training must not end at a place that cannot be reached
    torch.manual_seed(recipe.seed)
    objective = Lifting(recipe)
    lifter = objective.lifter
    before: tuple[Origin, ...] = ()
    if checkpoint_path(recipe.folder).exists():
        before = sources_in(read_checkpoint(recipe.folder))
    elif recipe.init_from is not None:
        before = initialise(lifter, Path(recipe.init_from))
    data = load_data(recipe, fabric.device, rank=fabric.global_rank, world_size=fabric.world_size)
    sources = data_sources(recipe.publish, data, before)

    def validate() -> dict[str, float]:
        return {"mpjpe_mm": error_mm(objective, data, recipe.validation_batches)}

    def inputs(step: int) -> tuple[Tensor, ...]:
        batch = data.training.batch(step)
        return objective.given(batch, seed_of(recipe.seed, step, fabric.global_rank)), batch.joints

    steps, steps_per_epoch = total_steps(recipe, data.training), data.training.steps_per_epoch
    job = Job(objective, inputs, validate, steps, steps_per_epoch, sources)
    train(fabric, recipe, job, time_limit_s=time_limit_s)
    return _publish_once(fabric, recipe, lifter, data, sources)


def initialise(lifter: Lifter, start: Path) -> tuple[Origin, ...]:
    """Load what an earlier run learnt: the encoder of stage I, the whole lifter of stage II or of an artifact.

    Args:
        start: a run folder or a published artifact.
    Returns:
        The data that it was learnt from, as far as it tells.
    Raises:
        InvalidRecipe: it is neither, or its network has other sizes.
    """
    (state, sources), module = _earlier(start), cast(nn.Module, lifter)
    expected = module.state_dict()
    unfit = [name for name, tensor in state.items() if name not in expected or expected[name].shape != tensor.shape]
    if unfit:
        raise InvalidRecipe(
            f"The network in {start} does not fit this recipe's: {', '.join(unfit[:3])} differ.", path="init_from"
        )
    module.load_state_dict(state, strict=False)
    return sources


def _earlier(start: Path) -> tuple[dict[str, Tensor], tuple[Origin, ...]]:
    if (start / MANIFEST_FILE).is_file():
        artifact = load_artifact(start)
        sources = tuple(Origin(data.source, data.licence) for data in artifact.manifest.data)
        return cast(nn.Module, artifact.lifter).state_dict(), sources
    checkpoint = read_checkpoint(start)
    earlier = recipe_from(checkpoint["recipe"])
    objective = Reconstruction(earlier) if earlier.stage == "pretrain" else Lifting(earlier)
    objective.load_state_dict(learnt(checkpoint))
    if isinstance(objective, Reconstruction):
        return objective.model.encoder_state(), sources_in(checkpoint)
    return cast(nn.Module, objective.lifter).state_dict(), sources_in(checkpoint)


def error_mm(objective: Lifting, data: TrainingData, batches: int) -> float:
    """MPJPE over the first batches of the validation data, in millimetres, the root set to zero.

    It counts the poses that the network is asked for: those of all frames or that of the middle one. Of poses that are
    completed, the joints that were given count with an error of zero, as the official code has it.
    """
    errors = []
    for number in range(batches):
        batch = data.validation.batch(number)
        given = objective.given(batch, number)
        predicted, target = objective.lifter(given).answer, batch.joints
        if not objective.lifter.config.sequence_to_sequence:
            target = batch.joints[:, batch.joints.shape[1] // 2]
        if objective.system.task is Task.COMPLETE:
            predicted = torch.where(given.isnan(), predicted, given)
        predicted[..., objective.skeleton.root, :] = 0
        errors.append(mpjpe(predicted[..., :3], target))
    return 1000 * data.unit_m * float(torch.stack(errors).mean())


def _publish_once(fabric: Fabric, recipe: Recipe, lifter: Lifter, data: TrainingData, sources: Sequence[Origin]) -> str:
    """Publish the finished lifter unless an earlier call already has; returns the artifact's place."""
    note = recipe.folder / "artifact.txt"
    repository = recipe.publish.repository
    home = f"{repository}/{recipe.publish.name or recipe.name}"
    if fabric.is_global_zero and not _names_an_artifact(note, home):
        module = cast(nn.Module, lifter).eval()
        calibrate(lifter, _usual_batches(recipe, data, fabric.device), skeleton(recipe.publish.output_skeleton))
        draft = _draft(recipe, data, sources)
        scores = _scores(recipe, Artifact(draft, lifter), fabric.device)
        module.cpu()
        place = publish(repository, draft.model_copy(update={"scores": scores}), lifter)
        note.write_text(f"{place}\n", encoding="utf-8")
    fabric.barrier()
    return note.read_text(encoding="utf-8").strip()


def _usual_batches(recipe: Recipe, data: TrainingData, device: torch.device) -> Iterator[Batch]:
    """Windows of people that were not learnt from; nothing is read before the first is wanted."""
    usual = load_usual(recipe, data, device)
    for number in range(_CALIBRATION_BATCHES):
        yield usual.batch(number)


def _names_an_artifact(note: Path, home: str) -> bool:
    """Whether a note names a version in `home` that is still there; the repository may have been moved or emptied."""
    if not note.is_file():
        return False
    place = note.read_text(encoding="utf-8").strip()
    if Path(place).resolve().parent != Path(home).resolve():  # true of addresses, too
        return False
    try:
        read_manifest(place)
    except InvalidArtifact:
        return False
    return True


def _scores(recipe: Recipe, artifact: Artifact, device: torch.device) -> tuple[dict[str, Any], ...]:
    """Every frame of the validation data, plain and averaged with the mirrored person, by the data's own protocol."""
    splits = recipe.data.validation_splits if isinstance(recipe.data, MocapData) else ("test",)
    return tuple(score for split in splits for score in _scores_of(split, recipe, artifact, device))


def _scores_of(split: str, recipe: Recipe, artifact: Artifact, device: torch.device) -> list[dict[str, Any]]:
    data = recipe.data
    report = evaluate(
        artifact,
        data=data.kind,
        root=Path(data.root),
        keypoints=data.keypoints if isinstance(data, H36MData) else "",
        split=split,
        device=device,
    ).as_dict()
    where = {"protocol": report["protocol"], "dataset": report["data"], "split": report["split"]}
    lifted = [where | {"keypoints": run["keypoints"], "poses": run["poses"]} | run["total"] for run in report["runs"]]
    return lifted + [where | {"hidden": run["hidden"], "hidden_mm": run["hidden_mm"]} for run in report["missing"]]


def _draft(recipe: Recipe, data: TrainingData, sources: Sequence[Origin]) -> Manifest:
    publication = recipe.publish
    return Manifest(
        name=publication.name or recipe.name,
        system=recipe.system,
        network=asdict(recipe.network),
        input_skeleton=publication.input_skeleton,
        output_skeleton=publication.output_skeleton,
        frame_rate_hz=data.frame_rate_hz,
        temporal_stride=recipe.data.stride,
        smoothed=publication.smoothed,
        unit_m=data.unit_m,
        score_threshold=publication.score_threshold,
        missing_joints="token" if recipe.network.mask_token else "hold",
        recipe=recipe.as_dict(),
        data=tuple(DataSource(source=origin.source, licence=origin.licence) for origin in sources),
        attribution=publication.attribution,
        code_revision=_code_revision(),
    )


def _code_revision() -> str:
    """The commit this code is at, `-dirty` where it was changed since; empty outside a repository."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    return command("finetune", finetune, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
