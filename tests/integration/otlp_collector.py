"""A trace collector for tests: a real gRPC server for OTLP that stores the spans it receives."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collected
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as collecting
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(collecting.TraceServiceServicer):
    """Stores spans; while `answers` is not set, it does not answer the exporter."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Span] = []
        self.service: dict[str, str] = {}
        self.answers = threading.Event()
        self.answers.set()

    def Export(self, request: collected.ExportTraceServiceRequest, context: object) -> Any:
        for resource in request.resource_spans:
            self.service = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.answers.wait()
        return collected.ExportTraceServiceResponse()

    def of_trace(self, trace_id: str) -> dict[str, Span]:
        """By name."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id}


@contextmanager
def running_collector() -> Iterator[Collector]:
    collector = Collector()
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        collecting.add_TraceServiceServicer_to_server(collector, server)
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            collector.answers.set()
            server.stop(None).wait()
