"""Loads and unloads models while requests are served by the others."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.files import Location
from poselift.artifacts.repository import Published, list_artifacts, look_up, set_label
from poselift.errors import UnreachableRepository
from poselift_service.errors import CannotStart, ModelConflict, RepositoryDown, UnknownModel
from poselift_service.inference.batcher import Trace
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.running_model import RunningModel, StartableEngine, run_model
from poselift_service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class ModelLoader:
    """Turns artifacts of a repository into served models, and unloads them. One change is made at a time.

    Slow work runs in other threads, so requests are answered meanwhile. A model is served only after its network has
    run; if that fails, nothing changes.
    """

    def __init__(
        self,
        repository: Location,
        served: ServedModels,
        *,
        make_engine: Callable[[Artifact], StartableEngine],
        capacity_windows: int,
        metrics: Metrics,
        trace: Trace | None = None,
        device_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Load models of a repository into `served`.

        Args:
            make_engine: creates an engine; it may be slow and is called in a thread.
            capacity_windows: most windows that may wait or run at a time, per model.
            trace, device_lost: as for `Batcher`.
        """
        self._repository = repository
        self._served = served
        self._make_engine = make_engine
        self._capacity_windows = capacity_windows
        self._metrics = metrics
        self._trace = trace
        self._device_lost = device_lost
        self._running: dict[str, RunningModel] = {}
        self._changing = asyncio.Lock()

    async def start(self, *, default: str | None, references: Sequence[str]) -> None:
        """Load the models that a server starts with, and admit requests.

        Args:
            default: reference for requests that name no model; None if models of a single name are served.
            references: further models to load; if empty, the bare name of every model in the repository.
        Raises:
            CannotStart: there is no model, or it is not clear which one is the default.
            InvalidArtifact: a reference matches no model, or an artifact is broken.
            UnreachableRepository: the repository's store cannot be reached.
            EngineUnavailable: the requested engine or device is not available.
        """
        async with self._changing:
            await self._start(default, references)

    async def _start(self, default: str | None, references: Sequence[str]) -> None:
        published = await asyncio.to_thread(list_artifacts, self._repository)
        available = sorted({artifact.name for artifact in published})
        names = sorted({reference.partition("@")[0] for reference in references}) or available
        if not available:
            raise CannotStart(
                f"There is no model in {_absolute(self._repository)}; publish one there, or name another."
            )
        if default is None and len(names) > 1:
            raise CannotStart(
                f"There are several models in {self._repository} ({', '.join(names)}); "
                "POSELIFT_DEFAULT_MODEL must say which serves requests that name none."
            )
        default = default or names[0]
        others = references or [name for name in available if name != default.partition("@")[0]]
        # The default comes first, so that the error for a missing one lists the available models.
        for reference in (default, *others):
            found = await asyncio.to_thread(look_up, self._repository, reference)
            if found.reference not in self._running:
                await self._load(found)
        self._served.set_default(default)

    async def load(self, name: str, version: str) -> Model:
        """Load a version unless it is loaded, with its labels in the repository.

        Returns:
            The model, warm and served.
        Raises:
            UnknownModel: the repository has no such version.
            InvalidArtifact: the artifact is broken.
            RepositoryDown: the repository's store cannot be reached.
        """
        async with self._changing:
            with contextlib.suppress(UnknownModel):
                return self._version(name, version)
            with _repository_reached():
                published = await asyncio.to_thread(list_artifacts, self._repository)
                for artifact in published:
                    if (artifact.name, str(artifact.version)) == (name, version):
                        return await self._load(artifact)
            raise UnknownModel(f"{name}@{version}", [artifact.reference for artifact in published])

    async def unload(self, name: str, version: str) -> None:
        """Stop serving a version: new requests no longer find it; it is unloaded when those in progress are finished.

        Its sessions are unknown from now on.

        Raises:
            UnknownModel: no such version is served.
            ModelConflict: it is the default model.
        """
        async with self._changing:
            model = self._version(name, version)
            if model is self._served.default:
                raise ModelConflict(
                    f"{model.reference} answers requests that name no model; let another one do that first."
                )
            self._served.remove(model)
            await self._unload(model.reference, drain=True)
            self._metrics.remove_model(model.manifest.name, model.manifest.version)
            logger.info("%s is unloaded", model.reference)

    async def move_label(self, name: str, label: str, version: str) -> bool:
        """Point a label at a served version, in this process and, if it is writable, in the repository.

        Returns:
            Whether the repository was changed.
        Raises:
            UnknownModel: no such version is served.
            InvalidArtifact: the repository no longer has that version, or the label is not a valid name.
            RepositoryDown: the repository's store cannot be reached.
        """
        async with self._changing:
            model = self._version(name, version)
            with _repository_reached():
                is_written = await asyncio.to_thread(self._write_label, model, label)
            self._served.move_label(label, model)
            logger.info("%s is %s", model.reference, label, extra={"fields": {"written": is_written}})
            return is_written

    async def set_default(self, reference: str) -> Model:
        """Set the reference for requests that name no model, until the server stops.

        Raises:
            UnknownModel: it matches no served model.
        """
        async with self._changing:
            model = self._served.set_default(reference)
            logger.info("%s is the default", reference, extra={"fields": {"model": model.reference}})
            return model

    async def close(self, *, drain: bool) -> None:
        """Unload every model. Call it when no more changes can come.

        Args:
            drain: first wait until every admitted caller has been answered.
        """
        for reference in list(self._running):
            await self._unload(reference, drain=drain)

    async def _load(self, published: Published) -> Model:
        logger.info("loading and warming up %s", published.reference)
        with self._metrics.count_load_failures():
            running = await run_model(
                published,
                make_engine=self._make_engine,
                capacity_windows=self._capacity_windows,
                metrics=self._metrics,
                trace=self._trace,
                device_lost=self._device_lost,
            )
        model = running.model
        self._running[model.reference] = running
        self._served.add(model)
        # The gauge looks the model up by name: the metrics library may keep this function longer than the model lives.
        self._metrics.bind_model(
            model.manifest.name,
            model.manifest.version,
            model.manifest.digest,
            lambda: self._windows_queued(published.reference),
        )
        logger.info("%s is loaded", model.reference, extra={"fields": {"labels": model.labels}})
        return model

    async def _unload(self, reference: str, *, drain: bool) -> None:
        await self._running[reference].close(drain=drain)
        del self._running[reference]

    def _version(self, name: str, version: str) -> Model:
        for model in self._served:
            if (model.manifest.name, str(model.manifest.version)) == (name, version):
                return model
        raise UnknownModel(f"{name}@{version}", [model.reference for model in self._served])

    def _write_label(self, model: Model, label: str) -> bool:
        try:
            set_label(self._repository, model.manifest.name, label, model.manifest.version)
        except OSError as error:
            logger.warning("the label %s stays in this process: %s", label, error)
            return False
        return True

    def _windows_queued(self, reference: str) -> int:
        running = self._running.get(reference)
        return 0 if running is None else running.model.batcher.windows_queued


@contextlib.contextmanager
def _repository_reached() -> Iterator[None]:
    """Raise RepositoryDown for UnreachableRepository: the server's own repository is no fault of the request."""
    try:
        yield
    except UnreachableRepository as error:
        raise RepositoryDown(error.message) from error


def _absolute(repository: Location) -> Location:
    return repository if "://" in str(repository) else Path(repository).absolute()
