"""What Prometheus sees: every metric is declared here and observed through one object."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_BUCKETS_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "poselift_requests", "Requests answered.", ["transport", "code"], registry=self._registry
        )
        self._stages = Histogram(
            "poselift_stage_seconds",
            "Time of lifted requests by stage: queue, inference, and total from the first byte to the answer.",
            ["transport", "stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=self._registry,
        )
        self._frames = Counter("poselift_frames_lifted", "Frames answered with a pose.", registry=self._registry)
        self._queued = Gauge(
            "poselift_windows_queued", "Windows admitted and not yet answered.", ["model"], registry=self._registry
        )
        self._batches = Histogram(
            "poselift_batch_windows",
            "Windows in one run of the network.",
            ["model"],
            buckets=_BATCH_BUCKETS_WINDOWS,
            registry=self._registry,
        )
        self._models = Gauge(
            "poselift_model_info", "1 for each model served.", ["model", "version", "digest"], registry=self._registry
        )

    def request(self, transport: str, code: str) -> None:
        """Count an answered request under its code, "ok" or that of an error."""
        self._requests.labels(transport, code).inc()

    def lifted(self, transport: str, *, frames: int, queue_s: float, inference_s: float, total_s: float) -> None:
        """Count the frames and the stage times of a request that got its poses."""
        self._frames.inc(frames)
        for stage, seconds in (("queue", queue_s), ("inference", inference_s), ("total", total_s)):
            self._stages.labels(transport, stage).observe(seconds)

    def model(self, name: str, version: int, digest: str, windows_queued: Callable[[], int]) -> None:
        """Show a model that is served, and how much work waits for it."""
        self._models.labels(name, str(version), digest).set(1)
        self._queued.labels(name).set_function(windows_queued)

    def batch(self, model: str, windows: int) -> None:
        """Count one run of the network."""
        self._batches.labels(model).observe(windows)

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
