"""Prometheus metrics: every metric is declared here and observed through one object.

Label values are few and chosen by the server: transports, stable error codes, loaded models. Client input is never a
label value, because Prometheus keeps each value for the life of the process.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

SessionEvent = Literal["opened", "closed", "expired", "lost"]

_STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STORE_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BATCH_BUCKETS_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_MODEL = ("model", "version")

Child = TypeVar("Child", Counter, Gauge, Histogram)


class _Children(dict[tuple[str, ...], Child]):
    """Cache of a metric's children by label values: the library's own lookup costs more than the counting."""

    def __init__(self, metric: Child) -> None:
        super().__init__()
        self._metric: Child = metric

    def __missing__(self, values: tuple[str, ...]) -> Child:
        child: Child = self._metric.labels(*values)
        self[values] = child
        return child

    def remove(self, *prefix: str) -> None:
        """Stop exporting the children whose label values start with a prefix."""
        for values in [values for values in self if values[: len(prefix)] == prefix]:
            del self[values]
            self._metric.remove(*values)


@dataclass(frozen=True)
class QueueMetrics:
    """Metrics of one model's batcher, as `batcher.Observer` describes them; `Metrics.for_queue` creates them."""

    _batches: Histogram
    _padding: Counter
    _failures: Counter
    _refused: Counter
    _entries: Callable[[str], Counter]
    _padded: Callable[[int], int]

    def batch_started(self, windows: int) -> None:
        """Count a batch that goes to the engine, and its padding."""
        self._batches.observe(windows)
        self._padding.inc(self._padded(windows) - windows)

    def batch_failed(self) -> None:
        """Count a batch on which the engine raised an error."""
        self._failures.inc()

    def windows_refused(self, windows: int) -> None:
        """Count windows that were refused for lack of room or time."""
        self._refused.inc(windows)

    def entry_finished(self, outcome: str) -> None:
        """Count an entry that left the queue: "ok", "cancelled", or its error code."""
        self._entries(outcome).inc()


class Metrics:
    """The metrics of one server, in their own registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._declare_requests()
        self._declare_models()
        self._declare_sessions()
        self._ready = Gauge(
            "poselift_ready", "1 when the server is warmed up and not draining.", registry=self._registry
        )
        self._draining = Gauge(
            "poselift_draining",
            "1 while the server finishes accepted requests before it exits.",
            registry=self._registry,
        )
        self._device_memory = Gauge(
            "poselift_device_memory_bytes",
            "Memory of the GPU in use by all processes, graphs and libraries included; absent without a GPU.",
            ["device"],
            registry=self._registry,
        )
        self._reserved_memory = Gauge(
            "poselift_device_memory_reserved_bytes",
            "Memory of the GPU that this server reserves for tensors and graphs; absent without a GPU.",
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
                "Requests received and not yet answered; a stream is one request.",
                ["transport"],
                registry=self._registry,
            )
        )
        self._streams = _Children(
            Gauge("poselift_streams_open", "Open streams.", ["transport"], registry=self._registry)
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
                "Windows of requests refused because of overload, as far as they were counted.",
                _MODEL,
                registry=self._registry,
            )
        )
        self._entries = _Children(
            Counter(
                "poselift_entries",
                "Entries that left the queue: ok, cancelled by their caller, or an error code.",
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
                "Padding windows that the network ran in addition, because its batch sizes are fixed.",
                _MODEL,
                registry=self._registry,
            )
        )
        self._engine_failures = _Children(
            Counter("poselift_engine_failures", "Batches on which the engine failed.", _MODEL, registry=self._registry)
        )
        self._load_failures = Counter(
            "poselift_model_load_failures",
            "Models that were found but could not be loaded: broken, unreadable, or not runnable.",
            registry=self._registry,
        )

    def _declare_sessions(self) -> None:
        self._sessions = Gauge(
            "poselift_sessions_held", "Sessions of which this server holds a copy.", registry=self._registry
        )
        self._session_events = _Children(
            Counter(
                "poselift_session_events",
                "Sessions opened or closed here, expired because they were not used here, or lost by the store.",
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
                "Calls to Redis that failed or timed out.",
                ["operation"],
                registry=self._registry,
            )
        )

    def request_started(self, transport: str) -> None:
        """Count a request as in flight."""
        self._in_flight[transport,].inc()

    def request_finished(self, transport: str, code: str) -> None:
        """Count a request as answered, with its code: "ok" or an error code."""
        self._in_flight[transport,].dec()
        self._requests[transport, code].inc()

    def observe_lift(self, transport: str, *, frames: int, queue_s: float, inference_s: float, total_s: float) -> None:
        """Observe the frames and stage times of a lifted request, or of a lifted message of a stream."""
        self._frames.inc(frames)
        self._stages[transport, "queue"].observe(queue_s)
        self._stages[transport, "inference"].observe(inference_s)
        self._stages[transport, "total"].observe(total_s)

    @contextlib.contextmanager
    def track_stream(self, transport: str) -> Iterator[None]:
        """Count a stream as open inside the context."""
        self._streams[transport,].inc()
        try:
            yield
        finally:
            self._streams[transport,].dec()

    def for_queue(self, model: str, version: int, *, padded: Callable[[int], int]) -> QueueMetrics:
        """Create the metrics of a model's batcher.

        Args:
            padded: returns how many windows the engine runs, padding included, for a batch size.
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
    def count_load_failures(self) -> Iterator[None]:
        """Count an error raised inside the context as a model that could not be loaded."""
        try:
            yield
        except Exception:
            self._load_failures.inc()
            raise

    def bind_model(self, name: str, version: int, digest: str, windows_queued: Callable[[], int]) -> None:
        """Export a served model and the length of its queue."""
        self._models[name, str(version), digest].set(1)
        self._queued[name, str(version)].set_function(windows_queued)

    def remove_model(self, name: str, version: int) -> None:
        """Stop exporting a model that is no longer served."""
        for children in (
            self._models,
            self._queued,
            self._windows_refused,
            self._entries,
            self._batches,
            self._padding,
            self._engine_failures,
        ):
            children.remove(name, str(version))

    def bind_sessions(self, held: Callable[[], int]) -> None:
        """Export the number of sessions of which this server holds a copy."""
        self._sessions.set_function(held)

    def count_session_event(self, event: SessionEvent) -> None:
        """Count a session that was opened, closed, expired or lost."""
        self._session_events[event,].inc()

    def observe_store_call(self, operation: str, seconds: float, *, failed: bool) -> None:
        """Observe the duration of a call to the session store, and count it if it failed."""
        self._store_calls[operation,].observe(seconds)
        if failed:
            self._store_errors[operation,].inc()

    def bind_state(self, *, is_ready: Callable[[], bool], is_draining: Callable[[], bool]) -> None:
        """Export whether the server is ready, and whether it is draining."""
        self._ready.set_function(is_ready)
        self._draining.set_function(is_draining)

    def bind_device_memory(self, device: str, measure: Callable[[], tuple[int, int]]) -> None:
        """Export the memory of a device: `measure` returns the bytes in use, and those reserved by this process."""

        def measured(number: int) -> float:
            try:
                return measure()[number]
            except RuntimeError:  # of a lost device
                return math.nan

        self._device_memory.labels(device).set_function(lambda: measured(0))
        self._reserved_memory.labels(device).set_function(lambda: measured(1))

    def page(self, accept: str) -> tuple[str, bytes]:
        """Give all metrics as text.

        Args:
            accept: value of the header of that name, which chooses the format.
        Returns:
            The media type, and the text.
        """
        write, media_type = choose_encoder(accept)
        return media_type, write(self._registry)
