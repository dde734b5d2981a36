"""What Prometheus sees: every metric is declared here and observed through one object.

Labels take few values, all of them ours: transports, stable codes, models that are loaded. Never what a client has
sent, for each value is kept for as long as the process lives.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

SessionEvent = Literal["opened", "closed", "expired", "lost"]

_STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STORE_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BATCH_BUCKETS_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_MODEL = ("model", "version")

Child = TypeVar("Child", Counter, Gauge, Histogram)


class _Children(dict[tuple[str, ...], Child]):
    """A metric's children by the values of their labels. The library's own look-up costs more than the counting."""

    def __init__(self, metric: Child) -> None:
        super().__init__()
        self._metric: Child = metric

    def __missing__(self, values: tuple[str, ...]) -> Child:
        child: Child = self._metric.labels(*values)
        self[values] = child
        return child

    def forget(self, *beginning: str) -> None:
        """Show no more those whose values begin so."""
        for values in [values for values in self if values[: len(beginning)] == beginning]:
            del self[values]
            self._metric.remove(*values)


@dataclass(frozen=True)
class QueueMetrics:
    """What the queue in front of one model's engine reports to; `Metrics.queue` makes it."""

    _batches: Histogram
    _padding: Counter
    _failures: Counter
    _refused: Counter
    _entries: Callable[[str], Counter]
    _padded: Callable[[int], int]

    def batch(self, windows: int) -> None:
        """A batch goes to the engine."""
        self._batches.observe(windows)
        self._padding.inc(self._padded(windows) - windows)

    def batch_failed(self) -> None:
        """The engine has raised on a batch."""
        self._failures.inc()

    def refused(self, windows: int) -> None:
        """There was no room, or no time, for so many windows."""
        self._refused.inc(windows)

    def entry(self, outcome: str) -> None:
        """An entry has left the queue: "ok", "cancelled", or the code of its error."""
        self._entries(outcome).inc()


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._declare_requests()
        self._declare_models()
        self._declare_sessions()
        self._ready = Gauge(
            "poselift_ready", "1 when the server is warmed up and not draining.", registry=self._registry
        )
        self._draining = Gauge(
            "poselift_draining", "1 when the server finishes what it has accepted, to end.", registry=self._registry
        )
        self._device_memory = Gauge(
            "poselift_device_memory_bytes",
            "Memory that tensors take on the GPU; not there without one.",
            ["device"],
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def _declare_requests(self) -> None:
        self._requests = _Children(
            Counter("poselift_requests", "Requests answered.", ["transport", "code"], registry=self._registry)
        )
        self._in_flight = _Children(
            Gauge(
                "poselift_requests_in_flight",
                "Requests that have come and are not answered yet; a stream is one request.",
                ["transport"],
                registry=self._registry,
            )
        )
        self._streams = _Children(
            Gauge("poselift_streams_open", "Streams that are open.", ["transport"], registry=self._registry)
        )
        self._stages = _Children(
            Histogram(
                "poselift_stage_seconds",
                "Time of lifted requests by stage: queue, inference, and total from the first byte to the answer.",
                ["transport", "stage"],
                buckets=_STAGE_BUCKETS_S,
                registry=self._registry,
            )
        )
        self._frames = Counter("poselift_frames_lifted", "Frames answered with a pose.", registry=self._registry)

    def _declare_models(self) -> None:
        self._models = _Children(
            Gauge("poselift_model_info", "1 for each model served.", [*_MODEL, "digest"], registry=self._registry)
        )
        self._queued = _Children(
            Gauge("poselift_windows_queued", "Windows admitted and not yet answered.", _MODEL, registry=self._registry)
        )
        self._windows_refused = _Children(
            Counter(
                "poselift_windows_refused",
                "Windows of requests that were refused because there was too much work, as far as they were counted.",
                _MODEL,
                registry=self._registry,
            )
        )
        self._entries = _Children(
            Counter(
                "poselift_entries",
                "Pieces of work that have left the queue: ok, cancelled by their caller, or the code of their error.",
                [*_MODEL, "outcome"],
                registry=self._registry,
            )
        )
        self._batches = _Children(
            Histogram(
                "poselift_batch_windows",
                "Windows in one run of the network.",
                _MODEL,
                buckets=_BATCH_BUCKETS_WINDOWS,
                registry=self._registry,
            )
        )
        self._padding = _Children(
            Counter(
                "poselift_padding_windows",
                "Windows that the network ran beside those, because its batches have fixed sizes.",
                _MODEL,
                registry=self._registry,
            )
        )
        self._engine_failures = _Children(
            Counter("poselift_engine_failures", "Batches that the engine failed on.", _MODEL, registry=self._registry)
        )
        self._load_failures = Counter(
            "poselift_model_load_failures",
            "Models that were found but could not be loaded: broken, not to be read, or not to be run.",
            registry=self._registry,
        )

    def _declare_sessions(self) -> None:
        self._sessions = Gauge(
            "poselift_sessions_held", "Sessions that this server has a copy of.", registry=self._registry
        )
        self._session_events = _Children(
            Counter(
                "poselift_session_events",
                "Sessions opened and closed here, expired because they were not used here, and lost by the store.",
                ["event"],
                registry=self._registry,
            )
        )
        self._store_calls = _Children(
            Histogram(
                "poselift_session_store_seconds",
                "Time of calls to Redis by operation: open, advance, read, close.",
                ["operation"],
                buckets=_STORE_BUCKETS_S,
                registry=self._registry,
            )
        )
        self._store_errors = _Children(
            Counter(
                "poselift_session_store_errors",
                "Calls to Redis that were not answered, or not in time.",
                ["operation"],
                registry=self._registry,
            )
        )

    def began(self, transport: str) -> None:
        """A request has come."""
        self._in_flight[transport,].inc()

    def request(self, transport: str, code: str) -> None:
        """It has been answered, under its code: "ok" or that of an error."""
        self._in_flight[transport,].dec()
        self._requests[transport, code].inc()

    def lifted(self, transport: str, *, frames: int, queue_s: float, inference_s: float, total_s: float) -> None:
        """Count the frames and the stage times of a request, or of a message of a stream, that got its poses."""
        self._frames.inc(frames)
        self._stages[transport, "queue"].observe(queue_s)
        self._stages[transport, "inference"].observe(inference_s)
        self._stages[transport, "total"].observe(total_s)

    @contextlib.contextmanager
    def stream(self, transport: str) -> Iterator[None]:
        """Count a stream as open."""
        self._streams[transport,].inc()
        try:
            yield
        finally:
            self._streams[transport,].dec()

    def queue(self, model: str, version: int, *, padded: Callable[[int], int]) -> QueueMetrics:
        """What the queue of a model reports to.

        Args:
            padded: windows that the engine runs when it is given so many.
        """
        labels = (model, str(version))
        return QueueMetrics(
            self._batches[labels],
            self._padding[labels],
            self._engine_failures[labels],
            self._windows_refused[labels],
            lambda outcome: self._entries[*labels, outcome],
            padded,
        )

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Count a model that does not come so far as to be served."""
        try:
            yield
        except Exception:
            self._load_failures.inc()
            raise

    def model(self, name: str, version: int, digest: str, windows_queued: Callable[[], int]) -> None:
        """Show a model that is served, and how much work waits for it."""
        self._models[name, str(version), digest].set(1)
        self._queued[name, str(version)].set_function(windows_queued)

    def forget_model(self, name: str, version: int) -> None:
        """Show a model no more, which is not served any longer."""
        for children in (
            self._models,
            self._queued,
            self._windows_refused,
            self._entries,
            self._batches,
            self._padding,
            self._engine_failures,
        ):
            children.forget(name, str(version))

    def sessions(self, held: Callable[[], int]) -> None:
        """Show how many sessions this server has a copy of."""
        self._sessions.set_function(held)

    def session(self, event: SessionEvent) -> None:
        """Something has become of a session."""
        self._session_events[event,].inc()

    def store_call(self, operation: str, seconds: float, *, failed: bool) -> None:
        """Time a call to the store of the sessions, and count it when it failed."""
        self._store_calls[operation,].observe(seconds)
        if failed:
            self._store_errors[operation,].inc()

    def life(self, *, is_ready: Callable[[], bool], is_draining: Callable[[], bool]) -> None:
        """Show where in its life the server is."""
        self._ready.set_function(is_ready)
        self._draining.set_function(is_draining)

    def device_memory(self, device: str, allocated_bytes: Callable[[], int]) -> None:
        """Show the memory that tensors take on a device."""
        self._device_memory.labels(device).set_function(allocated_bytes)

    def listen(self, host: str, port: int) -> Callable[[], None]:
        """Serve the metrics over HTTP from a thread of their own.

        Returns:
            What stops it.
        Raises:
            OSError: the port cannot be had.
        """
        server, thread = start_http_server(port, addr=host, registry=self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
