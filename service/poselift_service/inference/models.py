"""The served models, and which of them a reference means."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from poselift.artifacts.manifest import Manifest
from poselift.artifacts.repository import DEFAULT_LABEL
from poselift.lifters.lifter import Task
from poselift_service.errors import NotReady, UnknownModel, WrongTask
from poselift_service.inference.batcher import Batcher


@dataclass(frozen=True)
class Model:
    """A served artifact, and the batcher in front of its engine.

    Attributes:
        labels: labels that point at it in this process; the repository's may have moved since.
    """

    manifest: Manifest
    labels: tuple[str, ...]
    batcher: Batcher

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def receptive_field(self) -> int:
        """Number of samples that the network sees for one pose."""
        return int(self.manifest.network["frames"])

    @property
    def receptive_field_s(self) -> float:
        """Time spanned by the receptive field."""
        return round((self.receptive_field - 1) * self.manifest.temporal_stride / self.manifest.frame_rate_hz, 3)


class ServedModels:
    """All models that take requests. It belongs to the event loop, and every change to it is atomic for requests.

    A request keeps the model it has found, even if that is removed or relabelled later.
    """

    def __init__(self) -> None:
        # Sorted by name, then by version.
        self._models: tuple[Model, ...] = ()
        self._by_identity: dict[str, Model] = {}
        self._default: str | None = None

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    @property
    def default(self) -> Model | None:
        """The model for requests that name none; None until `set_default`."""
        return None if self._default is None else self.find(None)

    def set_default(self, reference: str) -> Model:
        """Set the reference for requests that name no model. Models can be found once there is a default.

        Raises:
            UnknownModel: it matches no model.
        """
        model = self._resolve(reference)
        self._default = reference
        return model

    def find_for(self, task: Task, reference: str | None) -> Model:
        """Find a model as `find` does, for a task that only some models perform.

        If the default does not perform it, None means the only other name that does.

        Raises:
            WrongTask: the referenced model does not perform the task, no model does, or several others do.
            UnknownModel, NotReady: as for `find`.
        """
        model = self.find(reference)
        if model.manifest.task is task:
            return model
        if reference is not None:
            raise WrongTask(f"The model {model.reference} {model.manifest.task.done}; one is needed that {task.done}.")
        names = sorted({other.manifest.name for other in self._models if other.manifest.task is task})
        if len(names) == 1:
            return self._resolve(names[0])
        which = f"The request must name one that does: {', '.join(names)}." if names else "No model here does."
        raise WrongTask(f"What is needed is a model that {task.done}, and the default does not. {which}")

    def find(self, reference: str | None) -> Model:
        """Find a model by `name`, `name@version` or `name@label`; None means the default.

        A bare name means the version labelled `stable`, or the newest version if none is.

        Raises:
            UnknownModel: the reference matches no model.
            NotReady: the models are still being loaded.
        """
        self.refuse_until_loaded()
        assert self._default is not None
        return self._resolve(self._default if reference is None else reference)

    def refuse_until_loaded(self) -> None:
        """Raise NotReady while the models that the server starts with are being loaded."""
        if self._default is None:
            raise NotReady("The server is starting; its models are being loaded.")

    def find_by_identity(self, identity: str) -> Model | None:
        """Return the model with a `Manifest.identity`, or None if it is not served."""
        return self._by_identity.get(identity)

    def add(self, model: Model) -> None:
        """Serve another model; its labels are taken away from the other versions of its name."""
        self._replace([*self._without_labels(model.manifest.name, model.labels), model])

    def remove(self, model: Model) -> None:
        """Stop serving a model."""
        self._replace([other for other in self._models if other.reference != model.reference])

    def move_label(self, label: str, to: Model) -> Model:
        """Point a label of a name at one version only. Returns the model with the label."""
        labelled = replace(to, labels=tuple(sorted({*to.labels, label})))
        relabelled = self._without_labels(to.manifest.name, (label,))
        self._replace([*(model for model in relabelled if model.reference != to.reference), labelled])
        return labelled

    def _resolve(self, reference: str) -> Model:
        name, at, wanted = reference.partition("@")
        matches = [
            model
            for model in self._models
            if model.manifest.name == name and (not at or wanted in (str(model.manifest.version), *model.labels))
        ]
        if not matches:
            raise UnknownModel(reference, [model.reference for model in self._models])
        return next((model for model in matches if DEFAULT_LABEL in model.labels), matches[-1])

    def _without_labels(self, name: str, labels: tuple[str, ...]) -> list[Model]:
        return [
            replace(model, labels=tuple(label for label in model.labels if label not in labels))
            if model.manifest.name == name
            else model
            for model in self._models
        ]

    def _replace(self, models: list[Model]) -> None:
        self._models = tuple(sorted(models, key=lambda model: (model.manifest.name, model.manifest.version)))
        self._by_identity = {model.manifest.identity: model for model in models}
