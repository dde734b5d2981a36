"""Loads models and lets go of them, while requests are served by the others."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.artifacts.files import Location
from poselift.artifacts.repository import Published, list_artifacts, look_up, set_label
from poselift.errors import InvalidArtifact, UnreachableRepository
from poselift_service.errors import CannotStart, ModelConflict, RepositoryDown, UnknownModel
from poselift_service.inference.batcher import Batcher, Trace
from poselift_service.inference.engine import Engine, Slice
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.networks.network import EngineUnavailable
from poselift_service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class StartableEngine(Engine, Protocol):
    """An engine that can be started and ended."""

    def padded(self, windows: int) -> int:
        """Windows that the network runs when it is given so many."""

    async def warm_up(self) -> None:
        """Run the network until it runs as fast as it will."""

    def close(self) -> None:
        """Finish what runs and end the thread."""


@dataclass(frozen=True)
class _Running:
    batcher: Batcher
    engine: StartableEngine


class ModelLoader:
    """Turns artifacts of a repository into served models, and ends those. One change is made at a time.

    Whatever takes long is done in other threads, so requests are answered meanwhile. A model is served once its network
    has run; one that does not come so far leaves everything as it was.
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
    ) -> None:
        """Args:
        make_engine: may take long; it is called in a thread of its own.
        capacity_windows: windows that may wait or run at a time, for each model.
        trace: as `Batcher` takes it.
        """
        self._repository = repository
        self._served = served
        self._make_engine = make_engine
        self._capacity_windows = capacity_windows
        self._metrics = metrics
        self._trace = trace
        self._running: dict[str, _Running] = {}
        self._changing = asyncio.Lock()

    async def start(self, *, default: str | None, references: Sequence[str]) -> None:
        """Load the models that a server begins with, and let requests come.

        Args:
            default: reference for requests that name none; None where a single name is served.
            references: what to load besides; if nothing is said, what every name of the repository means.
        Raises:
            CannotStart: there is no model, or it is not clear which is the default.
            InvalidArtifact: a reference means nothing, or an artifact is broken.
            UnreachableRepository: its store cannot be reached.
            EngineUnavailable: the engine or the device that is asked for is not there.
        """
        async with self._changing:
            await self._start(default, references)

    async def _start(self, default: str | None, references: Sequence[str]) -> None:
        published = await asyncio.to_thread(list_artifacts, self._repository)
        there = sorted({artifact.name for artifact in published})
        names = sorted({reference.partition("@")[0] for reference in references}) or there
        if not there:
            raise CannotStart(
                f"There is no model in {_absolute(self._repository)}; publish one there, or name another."
            )
        if default is None and len(names) > 1:
            raise CannotStart(
                f"There are several models in {self._repository} ({', '.join(names)}); "
                "POSELIFT_DEFAULT_MODEL must say which serves requests that name none."
            )
        default = default or names[0]
        others = references or [name for name in there if name != default.partition("@")[0]]
        # The default first, so that one that is not there is told with what there is.
        for reference in (default, *others):
            found = await asyncio.to_thread(look_up, self._repository, reference)
            if found.reference not in self._running:
                await self._load(found)
        self._served.set_default(default)

    async def load(self, name: str, version: str) -> Model:
        """Load a version, if that has not been done, with the labels that the repository gives it.

        Returns:
            The model, warm and served.
        Raises:
            UnknownModel: the repository has no such version.
            InvalidArtifact: it is broken.
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
        """Serve a version no more: new requests do not find it, those that have it are finished, then it is let go of.

        Sessions of it are unknown from now on.

        Raises:
            UnknownModel: no such version is served.
            ModelConflict: requests that name no model are answered by it.
        """
        async with self._changing:
            model = self._version(name, version)
            if model is self._served.default:
                raise ModelConflict(
                    f"{model.reference} answers requests that name no model; let another one do that first."
                )
            self._served.remove(model)
            await self._end(model.reference, drain=True)
            self._metrics.remove_model(model.manifest.name, model.manifest.version)
            logger.info("%s is unloaded", model.reference)

    async def move_label(self, name: str, label: str, version: str) -> bool:
        """Point a label at a version that is served, in the repository where that can be written, and here.

        Returns:
            Whether the repository has it.
        Raises:
            UnknownModel: no such version is served.
            InvalidArtifact: the repository does not have that version any more, or a label cannot be named so.
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
        """Let a reference stand for requests that name none, until the server ends.

        Raises:
            UnknownModel: no served model is meant by it.
        """
        async with self._changing:
            model = self._served.set_default(reference)
            logger.info("%s is the default", reference, extra={"fields": {"model": model.reference}})
            return model

    async def close(self, *, drain: bool) -> None:
        """End every model. To be called when no more changes can come.

        Args:
            drain: wait until everyone admitted has been answered.
        """
        for reference in list(self._running):
            await self._end(reference, drain=drain)

    async def _load(self, published: Published) -> Model:
        with self._metrics.count_load_failures():
            model, running = await self._warm(published)
        self._running[model.reference] = running
        self._served.add(model)
        # By its name, for the library keeps what it calls longer than it needs it.
        self._metrics.bind_model(
            model.manifest.name,
            model.manifest.version,
            model.manifest.digest,
            lambda: self._windows_queued(published.reference),
        )
        logger.info("%s is loaded", model.reference, extra={"fields": {"labels": model.labels}})
        return model

    async def _warm(self, published: Published) -> tuple[Model, _Running]:
        """A model whose network has run."""
        artifact = await asyncio.to_thread(load_artifact, published.place)
        engine = await asyncio.to_thread(self._make_engine, artifact)
        manifest = artifact.manifest
        logger.info("warming up %s", published.reference)
        try:
            await engine.warm_up()
            await engine.lift([_one_window(artifact)])
        except BaseException as error:
            await asyncio.to_thread(engine.close)
            if isinstance(error, FloatingPointError | EngineUnavailable):
                reason = str(error).rstrip(".")
                raise InvalidArtifact(f"The model {published.reference} cannot be run: {reason}.") from error
            raise
        batcher = Batcher(
            engine,
            capacity_windows=self._capacity_windows,
            observer=self._metrics.for_queue(manifest.name, manifest.version, padded=engine.padded),
            trace=self._trace,
        )
        batcher.start()
        return Model(manifest, published.labels, batcher), _Running(batcher, engine)

    async def _end(self, reference: str, *, drain: bool) -> None:
        running = self._running[reference]
        if drain:
            await running.batcher.drain()
        await running.batcher.stop()
        await asyncio.to_thread(running.engine.close)
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
        return 0 if running is None else running.batcher.windows_queued


@contextlib.contextmanager
def _repository_reached() -> Iterator[None]:
    """What is wrong with the server's own repository is not wrong with the request."""
    try:
        yield
    except UnreachableRepository as error:
        raise RepositoryDown(error.message) from error


def _one_window(artifact: Artifact) -> Slice:
    """A person who stands still, with a joint missing where the network takes that."""
    frames = np.random.default_rng(0).uniform(-1, 1, (1, *artifact.manifest.frame_shape)).astype(np.float32)
    if artifact.manifest.missing_joints == "token":
        frames[0, 0] = np.nan
    return Slice(frames, np.zeros((1, artifact.lifter.receptive_field), dtype=np.int64))


def _absolute(repository: Location) -> Location:
    return repository if "://" in str(repository) else Path(repository).absolute()
