"""The HTTP interface, put together from its calls, its middleware and its translation of errors."""

from collections.abc import Callable, Collection, Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.http.byte_budget import ByteBudgetMiddleware
from poselift_service.http.clips import ClipCalls
from poselift_service.http.complete import add_complete
from poselift_service.http.compression import GunzipMiddleware, GzipMiddleware
from poselift_service.http.errors import add_error_handlers
from poselift_service.http.file import add_file
from poselift_service.http.forwarding import ForwardingMiddleware
from poselift_service.http.info import add_descriptions, add_health
from poselift_service.http.lift import add_lift
from poselift_service.http.middleware import AuthMiddleware, RequestLogMiddleware
from poselift_service.http.openapi import DESCRIPTION, openapi_document
from poselift_service.http.page import add_docs, add_page
from poselift_service.http.refine import add_refine
from poselift_service.http.sites import SiteMiddleware
from poselift_service.pipeline.lift import Pipeline
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.spans import SpanRecorder
from poselift_service.transport.byte_budget import ByteBudget
from poselift_service.transport.keys import Keys
from poselift_service.transport.limits import SizeLimit
from poselift_service.transport.proxies import TrustedProxies


def create_app(
    pipeline: Pipeline,
    json_reader: JsonReader,
    *,
    metrics: Metrics,
    is_ready: Callable[[], bool],
    max_body: SizeLimit,
    deadline_s: float,
    version: str,
    keys: Keys | None = None,
    traces: SpanRecorder | None = None,
    docs: bool = True,
    page: bool = True,
    cors_origins: Sequence[str] = (),
    allowed_hosts: Collection[str] | None = None,
    budget: ByteBudget | None = None,
    proxies: TrustedProxies | None = None,
    root_path: str = "",
) -> FastAPI:
    """Build the HTTP interface, without the calls of sessions and administration.

    Args:
        json_reader: shared with the calls of sessions.
        is_ready: whether the server is warmed up and not draining.
        max_body: the largest body.
        deadline_s: time from the first byte of a request to its response or failure.
        version: version of the software, for the OpenAPI document.
        keys: accepted API keys; None serves every client.
        traces: exporter of the requests' spans, if any.
        docs: whether to serve `/docs` and `/openapi.json`.
        page: whether to serve the page at `/`, and `POST /lift/file` for what is dropped on it.
        cors_origins: web sites whose scripts may use the interface.
        allowed_hosts: host names that requests may have; None allows every name.
        budget: of the bytes of all requests; None leaves them unlimited.
        proxies: who is believed about the clients of forwarded requests; None believes nobody.
        root_path: prefix of the path under which proxies serve the interface.
    """
    app = FastAPI(
        title="Poselift",
        version=version,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.openapi = lambda: openapi_document(app, needs_key=keys is not None)  # type: ignore[method-assign]
    # The last one added is the outermost: refusals of a key have CORS headers too, every request leaves a record, and
    # the budget counts expanded bodies.
    app.add_middleware(GzipMiddleware)
    if budget is not None:
        app.add_middleware(ByteBudgetMiddleware, budget=budget)
    app.add_middleware(GunzipMiddleware)
    if keys is not None:
        app.add_middleware(AuthMiddleware, keys=keys)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "traceparent", "retry-after"],
        )
    app.add_middleware(SiteMiddleware, hosts=allowed_hosts, origins=cors_origins)
    app.add_middleware(RequestLogMiddleware, metrics=metrics, traces=traces)
    app.add_middleware(ForwardingMiddleware, proxies=proxies or TrustedProxies(), root_path=root_path)
    add_error_handlers(app)
    calls = ClipCalls(pipeline, json_reader, max_body=max_body, deadline_s=deadline_s)
    add_lift(app, pipeline, calls)
    add_complete(app, pipeline, calls)
    add_refine(app, pipeline, max_body=max_body, deadline_s=deadline_s)
    add_descriptions(app, pipeline)
    add_health(app, is_ready)
    if docs:
        add_docs(app)
    if page:
        add_page(app)
        add_file(app, pipeline, JsonLiftCodec(json_reader), max_body=max_body, deadline_s=deadline_s)
    return app
