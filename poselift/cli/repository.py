"""Find and load the model that a command's options name."""

from pathlib import Path
from typing import TYPE_CHECKING

from poselift.errors import InvalidArtifact

if TYPE_CHECKING:
    from poselift.artifacts.artifact import Artifact
    from poselift.artifacts.files import Location
    from poselift.lifters.lifter import Task


def find_model(models: str, reference: str | None, task: "Task | None" = None) -> "Location":
    """Find a model by its reference; without one, the only model of the repository.

    Args:
        models: repository, a folder or an address.
        reference: `name`, `name@version`, `name@label`, or the location of an artifact itself.
        task: without a reference, count only models that do this.
    Raises:
        InvalidArtifact: there is no such model, or several are possible.
        UnreachableRepository: the object store cannot be reached.
    """
    from poselift.artifacts.manifest import MANIFEST_FILE
    from poselift.artifacts.repository import look_up

    if reference is None:
        return look_up(models, _only_name(models, task)).location
    if "://" in reference or (Path(reference) / MANIFEST_FILE).is_file():
        return reference
    return look_up(models, reference).location


def _only_name(models: str, task: "Task | None") -> str:
    from poselift.artifacts.repository import list_artifacts, look_up
    from poselift.artifacts.verify import read_manifest

    names = sorted({published.name for published in list_artifacts(models)})
    if task is not None:
        names = [name for name in names if read_manifest(look_up(models, name).location).task is task]
    if len(names) != 1:
        purpose = "" if task is None else f" that {task.done}"
        raise InvalidArtifact(
            f"Say which model of {models}{purpose} you mean; there are: {', '.join(names) or 'none'}."
        )
    return names[0]


def load_model(models: str, reference: str | None, task: "Task | None" = None) -> "Artifact":
    """Load the model that `find_model` finds; raises as that and as `load_artifact`."""
    from poselift.artifacts.artifact import load_artifact

    return load_artifact(find_model(models, reference, task))
