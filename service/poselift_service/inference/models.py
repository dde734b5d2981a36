"""The models that requests are answered with: which there are, and which of them a reference means."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from poselift.artifacts.manifest import Manifest
from poselift.artifacts.repository import DEFAULT_LABEL
from poselift.lifters.lifter import Task
from poselift_service.errors import NotReady, UnknownModel, WrongTask
from poselift_service.inference.batcher import Batcher


@dataclass(frozen=True)
class Model:
    """An artifact that is served, and the queue in front of its engine.

    Attributes:
        labels: those of the repository's labels that point at it, in this process.
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
        """Frames, at the artifact's own rate, that the network looks at for one pose."""
        return int(self.manifest.network["frames"])

    @property
    def receptive_field_s(self) -> float:
        """The time these frames span."""
        return round((self.receptive_field - 1) * self.manifest.temporal_stride / self.manifest.frame_rate_hz, 3)


class ServedModels:
    """Every model that takes requests. It belongs to the event loop; a request sees a change as a whole or not at all.

    A request that has found its model keeps it, whatever becomes of this afterwards.
    """

    def __init__(self) -> None:
        # By name, then by version.
        self._models: tuple[Model, ...] = ()
        self._by_identity: dict[str, Model] = {}
        self._default: str | None = None

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    @property
    def default(self) -> Model | None:
        """The model for requests that name none; None before there is any."""
        return None if self._default is None else self.find(None)

    def set_default(self, reference: str) -> Model:
        """Let a reference stand for requests that name none. With the first default, requests are welcome.

        Raises:
            UnknownModel: no model is meant by it.
        """
        model = self._named(reference)
        self._default = reference
        return model

    def find_for(self, task: Task, reference: str | None) -> Model:
        """As `find`, for something that only some models do. If the default is none of them, None means the only other
        that is.

        Raises:
            WrongTask: the model that is meant does not do it, or no model does, or it is not clear which.
            UnknownModel, NotReady: as `find`.
        """
        model = self.find(reference)
        if model.manifest.task is task:
            return model
        if reference is not None:
            raise WrongTask(f"The model {model.reference} {model.manifest.task.done}; one is needed that {task.done}.")
        names = sorted({other.manifest.name for other in self._models if other.manifest.task is task})
        if len(names) == 1:
            return self._named(names[0])
        which = f"The request must name one that does: {', '.join(names)}." if names else "No model here does."
        raise WrongTask(f"What is needed is a model that {task.done}, and the default does not. {which}")

    def find(self, reference: str | None) -> Model:
        """Look a model up by `name`, `name@version` or `name@label`; None means the default.

        A bare name means the version that is labelled `stable`, or the newest one where none is.

        Raises:
            UnknownModel: there is none.
            NotReady: the models are still being loaded.
        """
        if self._default is None:
            raise NotReady("The server is starting; its models are being loaded.")
        return self._named(self._default if reference is None else reference)

    def of_identity(self, identity: str) -> Model | None:
        """The model with that `Manifest.identity`, if it is served."""
        return self._by_identity.get(identity)

    def add(self, model: Model) -> None:
        """Serve one more; no other version of its name keeps a label that it has."""
        self._set([*self._without(model.manifest.name, model.labels), model])

    def remove(self, model: Model) -> None:
        """Serve a model no more."""
        self._set([other for other in self._models if other.reference != model.reference])

    def move_label(self, label: str, to: Model) -> Model:
        """Let a label of a name point at that version alone. Returns the model with it."""
        labelled = replace(to, labels=tuple(sorted({*to.labels, label})))
        others = [model for model in self._without(to.manifest.name, (label,)) if model.reference != to.reference]
        self._set([*others, labelled])
        return labelled

    def _named(self, reference: str) -> Model:
        name, at, wanted = reference.partition("@")
        meant = [
            model
            for model in self._models
            if model.manifest.name == name and (not at or wanted in (str(model.manifest.version), *model.labels))
        ]
        if not meant:
            raise UnknownModel(reference, [model.reference for model in self._models])
        return next((model for model in meant if DEFAULT_LABEL in model.labels), meant[-1])

    def _without(self, name: str, labels: tuple[str, ...]) -> list[Model]:
        return [
            replace(model, labels=tuple(label for label in model.labels if label not in labels))
            if model.manifest.name == name
            else model
            for model in self._models
        ]

    def _set(self, models: list[Model]) -> None:
        self._models = tuple(sorted(models, key=lambda model: (model.manifest.name, model.manifest.version)))
        self._by_identity = {model.manifest.identity: model for model in models}
