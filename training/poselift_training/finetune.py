"""Stage II: lift windows of 2D frames to 3D poses, starting from a pretrained encoder or from nothing.

Systems that complete 3D poses are trained here, too.

    poselift finetune pstmo-tiny-27
    torchrun --nproc_per_node 2 -m poselift_training.finetune pstmo-s-243-h36m -o data.root=/data/h36m

A tiny variant that finishes within a minute on a CPU:

    poselift data bvh tests/data/cmu_05_15_cut.bvh --out data/smoke/cmu.npz --unit-m 0.056444 --skip 1
    poselift finetune smoke

The result is a published artifact. Started again, the same command resumes from the last checkpoint.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.manifest import MANIFEST_FILE, Manifest
from poselift.artifacts.manifest import DataSource as ManifestDataSource
from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts
from poselift.artifacts.verify import read_manifest
from poselift.errors import InvalidArtifact, InvalidRecipe
from poselift.lifters.lifter import Lifter, LifterConfig, Task
from poselift.lifters.systems import SYSTEMS, System
from poselift.skeletons import skeleton
from poselift_training.command import main as command
from poselift_training.data import Batch
from poselift_training.evaluation.calibration import calibrate
from poselift_training.evaluation.evaluate import evaluate
from poselift_training.evaluation.metrics import mpjpe
from poselift_training.lifting_objective import Lifting
from poselift_training.loop.checkpoint import checkpoint_path, ema_weights, read_checkpoint, sources_in
from poselift_training.loop.devices import in_first_process, launch
from poselift_training.loop.loop import Job, train
from poselift_training.loop.seeds import step_seed
from poselift_training.pretrain import Reconstruction
from poselift_training.recipe import (
    SHIPPED,
    DataSource,
    H36MData,
    Merge,
    MocapData,
    MpiInf3dhpData,
    Recipe,
    load_recipe,
    recipe_from,
)
from poselift_training.recipe_data import (
    ScoredPart,
    TrainingData,
    data_sources,
    load_calibration_data,
    load_data,
    scored_parts,
    total_steps,
)

# A few thousand windows, enough to fit two numbers.
_CALIBRATION_BATCHES = 64


def finetune(recipe: Recipe, *, time_limit_s: float | None = None) -> str:
    """Run or resume stage II, score the result on the validation data and publish it.

    Returns:
        The address of the published artifact.
    Raises:
        InvalidRecipe, InvalidDataset: the recipe cannot be run, or diverged.
        UnreachableRepository: the object store to publish in cannot be reached.
        TrainingStopped: a signal or the time limit ended this part of the run.
    """
    fabric, recipe = launch(recipe)
    list_artifacts(recipe.publish.repository)  # an unreachable repository must be noticed before hours of training
    torch.manual_seed(recipe.seed)
    objective = Lifting(recipe)
    lifter = objective.lifter
    before: tuple[DataSource, ...] = ()
    if checkpoint_path(recipe.folder).exists():
        before = sources_in(read_checkpoint(recipe.folder))
    elif recipe.init_from is not None:
        before = load_initial_weights(lifter, Path(recipe.init_from), objective.system.start_from)
    if recipe.merge is not None:  # read again when training has ended; what is wrong with it must be noticed before
        start = Path(recipe.merge.start)
        earlier, merged = _read_weights(start, "merge.start")
        _weights_to_start_from(lifter, earlier, objective.system.start_from, start, "merge.start")
        before = (*before, *(source for source in merged if source not in before))
    data = load_data(recipe, fabric.device, rank=fabric.global_rank, world_size=fabric.world_size)
    sources = data_sources(recipe.publish, data, before)

    def validate() -> dict[str, float]:
        return {"mpjpe_mm": validation_error_mm(objective, data, recipe.validation_batches)}

    def inputs(step: int) -> tuple[Tensor, ...]:
        batch = data.training.batch(step)
        return objective.inputs(batch, step_seed(recipe.seed, step, fabric.global_rank)), batch.joints

    steps, steps_per_epoch = total_steps(recipe, data.training), data.training.steps_per_epoch
    job = Job(objective, inputs, validate, steps, steps_per_epoch, sources)
    train(fabric, recipe, job, time_limit_s=time_limit_s)
    in_first_process(fabric, partial(_publish_once, recipe, lifter, data, sources, fabric.device))
    return _address_file(recipe).read_text(encoding="utf-8").strip()


def load_initial_weights(
    lifter: Lifter,
    start: Path,
    start_from: Callable[[LifterConfig, Mapping[str, Tensor]], dict[str, Tensor]] = lambda _, state: dict(state),
    *,
    key: str = "init_from",
) -> tuple[DataSource, ...]:
    """Load weights of an earlier run: the encoder of stage I, or the whole lifter of stage II or of an artifact.

    Args:
        start: a run folder or a published artifact.
        start_from: what the lifter's system can use of these weights, see `System`.
        key: of the recipe that names `start`.
    Returns:
        The data that the weights were trained on, as far as it is recorded.
    Raises:
        InvalidRecipe: `start` does not exist, is neither, or its network has other sizes.
    """
    earlier, sources = _read_weights(start, key)
    state = _weights_to_start_from(lifter, earlier, start_from, start, key)
    cast(nn.Module, lifter).load_state_dict(state, strict=False)
    return sources


def _weights_to_start_from(
    lifter: Lifter,
    earlier: Mapping[str, Tensor],
    start_from: Callable[[LifterConfig, Mapping[str, Tensor]], dict[str, Tensor]],
    start: Path,
    key: str,
) -> dict[str, Tensor]:
    """What a lifter can use of weights from `start`.

    Raises:
        InvalidRecipe: its network has other sizes.
    """
    state = start_from(lifter.config, earlier)
    expected = cast(nn.Module, lifter).state_dict()
    unfit = [name for name, tensor in state.items() if name not in expected or expected[name].shape != tensor.shape]
    if unfit:
        raise InvalidRecipe(
            f"The network in {start} does not fit this recipe's: {', '.join(unfit[:3])} differ: "
            "give it the same [network].",
            path=key,
        )
    return state


def _how_to_make(start: Path) -> str:
    """What to do about a run folder or a model that is missing."""
    shipped = SHIPPED / f"{start.name}.toml"
    if shipped.is_file():
        return f"make it with `poselift {load_recipe(shipped).stage} {start.name}`"
    return "train or restore it (the comment at the top of a shipped recipe says how)"


def merge_weights(lifter: Lifter, merge: Merge, system: System) -> None:
    """Average the weights of a lifter with earlier ones, in place; weights that the earlier ones lack stay.

    Raises:
        InvalidRecipe: as `load_initial_weights`.
    """
    module, start = cast(nn.Module, lifter), Path(merge.start)
    earlier, _ = _read_weights(start, "merge.start")
    state = _weights_to_start_from(lifter, earlier, system.start_from, start, "merge.start")
    # A network may have grown since, in some tensors by a few columns. What comes from the earlier weights is not a
    # number if these are not.
    unknown = {
        name: torch.full_like(tensor, torch.nan) for name, tensor in earlier.items() if tensor.is_floating_point()
    }
    origins = system.start_from(lifter.config, dict(earlier) | unknown)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name in origins and tensor.is_floating_point():
                mixed = torch.lerp(tensor, state[name].to(tensor), merge.share)
                tensor.copy_(torch.where(origins[name].to(tensor).isnan(), mixed, tensor))


def _read_weights(start: Path, key: str) -> tuple[dict[str, Tensor], tuple[DataSource, ...]]:
    """The weights in a run folder or a published artifact, and the data they were trained on, as far as it is recorded.

    Raises:
        InvalidRecipe: there is neither.
    """
    if not start.exists():
        raise InvalidRecipe(
            f"This recipe starts from {start}, which does not exist: {_how_to_make(start)}, or set '{key}' to "
            "another run folder or published model.",
            path=key,
        )
    if (start / MANIFEST_FILE).is_file():
        artifact = load_artifact(start)
        sources = tuple(DataSource(data.source, data.licence) for data in artifact.manifest.data)
        return cast(nn.Module, artifact.lifter).state_dict(), sources
    checkpoint = read_checkpoint(start, key=key)
    earlier = recipe_from(checkpoint["recipe"])
    objective = Reconstruction(earlier) if earlier.stage == "pretrain" else Lifting(earlier)
    objective.load_state_dict(ema_weights(checkpoint))
    if isinstance(objective, Reconstruction):
        return objective.model.encoder_state(), sources_in(checkpoint)
    return cast(nn.Module, objective.lifter).state_dict(), sources_in(checkpoint)


def validation_error_mm(objective: Lifting, data: TrainingData, batches: int) -> float:
    """MPJPE over the first batches of the validation data, in millimetres, with the predicted root set to zero.

    The poses of all frames count for a sequence-to-sequence network, else that of the middle frame. If poses are
    completed, the joints that were given count with an error of zero, as in the official code.
    """
    errors = []
    for number in range(batches):
        batch = data.validation.batch(number)
        inputs = objective.inputs(batch, number)
        predicted, target = objective.lifter(inputs).answer, batch.joints
        if not objective.lifter.config.sequence_to_sequence:
            target = batch.joints[:, batch.joints.shape[1] // 2]
        if objective.system.task is Task.COMPLETE:
            predicted = torch.where(inputs.isnan(), predicted, inputs)
        predicted[..., objective.skeleton.root, :] = 0
        joints = objective.skeleton.n_joints  # a row of the direction of falling may follow
        errors.append(mpjpe(predicted[..., :joints, :3], target[..., :joints, :]))
    return 1000 * data.unit_m * float(torch.stack(errors).mean())


def _publish_once(
    recipe: Recipe, lifter: Lifter, data: TrainingData, sources: Sequence[DataSource], device: torch.device
) -> None:
    """Publish the finished lifter and write down its address, unless an earlier call has done so."""
    repository = recipe.publish.repository
    if _is_published(_address_file(recipe), f"{repository}/{recipe.publish.name or recipe.name}"):
        return
    module = cast(nn.Module, lifter).eval()
    if recipe.merge is not None:
        merge_weights(lifter, recipe.merge, SYSTEMS[recipe.system])
    calibrate(lifter, _calibration_batches(recipe, data, device), skeleton(recipe.publish.output_skeleton))
    draft = _draft_manifest(recipe, data, sources)
    scores = _scores(recipe, Artifact(draft, lifter), device)
    module.cpu()
    address = publish(repository, draft.model_copy(update={"scores": scores}), lifter)
    _address_file(recipe).write_text(f"{address}\n", encoding="utf-8")


def _address_file(recipe: Recipe) -> Path:
    """The file in the run folder that holds the address of the published artifact."""
    return recipe.folder / "artifact.txt"


def _calibration_batches(recipe: Recipe, data: TrainingData, device: torch.device) -> Iterator[Batch]:
    """Windows of people that the lifter has not learned from; the data is only read if a batch is requested."""
    source = load_calibration_data(recipe, data, device)
    for number in range(_CALIBRATION_BATCHES):
        yield source.batch(number)


def _is_published(address_file: Path, parent: str) -> bool:
    """Whether the file names a version in `parent` that still exists; a repository may be moved or emptied."""
    if not address_file.is_file():
        return False
    address = address_file.read_text(encoding="utf-8").strip()
    if Path(address).resolve().parent != Path(parent).resolve():  # also correct for object store addresses
        return False
    try:
        read_manifest(address)
    except InvalidArtifact:
        return False
    return True


def _scores(recipe: Recipe, artifact: Artifact, device: torch.device) -> tuple[dict[str, Any], ...]:
    """Scores of every frame of the validation data, plain and mirrored average, by the data set's own protocol.

    The people that a recipe holds out are scored by themselves, in the split and the folder that they come from.
    """
    data = recipe.data
    parts = scored_parts(data) if isinstance(data, MocapData) else [ScoredPart(data.root, "test", (), held_out=False)]
    return tuple(score for part in parts for score in _part_scores(artifact, data, part, device))


def _part_scores(
    artifact: Artifact, data: MocapData | H36MData | MpiInf3dhpData, part: ScoredPart, device: torch.device
) -> list[dict[str, Any]]:
    report = evaluate(
        artifact,
        data=data.kind,
        root=Path(part.root),
        keypoints=data.keypoints if isinstance(data, H36MData) else "",
        split=part.split,
        subjects=part.subjects,
        device=device,
    ).as_dict()
    origin = {"protocol": report["protocol"], "dataset": report["data"], "split": report["split"]}
    if part.held_out:
        origin["held_out"] = list(part.subjects)
    lifted = [origin | {"keypoints": run["keypoints"], "poses": run["poses"]} | run["total"] for run in report["runs"]]
    return lifted + [origin | {"hidden": run["hidden"], "hidden_mm": run["hidden_mm"]} for run in report["missing"]]


def _draft_manifest(recipe: Recipe, data: TrainingData, sources: Sequence[DataSource]) -> Manifest:
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
        data=tuple(ManifestDataSource(source=source.source, licence=source.licence) for source in sources),
        attribution=publication.attribution,
        code_revision=_code_revision(),
    )


def _code_revision() -> str:
    """The commit of this code, with `-dirty` if it has local changes; empty outside of a git repository."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m poselift_training.finetune` and return its exit code."""
    return command("finetune", finetune, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
