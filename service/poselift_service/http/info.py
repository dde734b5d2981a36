"""What the server says about itself: its models, its skeletons and its health."""

import re
from collections.abc import Callable

from fastapi import FastAPI

from poselift.skeletons import SKELETONS
from poselift_service.codecs.json.answers import ModelAnswer, SkeletonAnswer, describe_model, describe_skeleton
from poselift_service.errors import NotReady
from poselift_service.http.openapi import error_responses
from poselift_service.http.paths import LIVENESS, READINESS
from poselift_service.pipeline.lift import Pipeline


def add_descriptions(app: FastAPI, pipeline: Pipeline) -> None:
    """Add the calls that list models and skeletons to the HTTP interface."""

    @app.get("/models", tags=["descriptions"], summary="List the models that are served")
    async def models() -> list[ModelAnswer]:
        default = pipeline.models.default
        return [describe_model(model, is_default=model is default) for model in pipeline.models]

    @app.get("/models/{name}", tags=["descriptions"], summary="Get one model", responses=error_responses(404, 422, 503))
    async def model(name: str) -> ModelAnswer:
        """By `name`, `name@version` or `name@label`."""
        found = pipeline.find(name)
        return describe_model(found, is_default=found is pipeline.models.default)

    @app.get("/skeletons", tags=["descriptions"], summary="List the skeletons that keypoints may have")
    async def skeletons() -> list[SkeletonAnswer]:
        return [describe_skeleton(skeleton) for skeleton in SKELETONS.values()]


def add_health(app: FastAPI, is_ready: Callable[[], bool]) -> None:
    """Add the probes to the HTTP interface.

    Args:
        is_ready: whether the server is warmed up and not draining.
    """

    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    async def ready() -> dict[str, str]:
        if not is_ready():
            raise NotReady("The server is starting or stopping.")
        return {"status": "ready"}

    for path in LIVENESS:
        app.get(path, tags=["health"], summary="The process is alive", operation_id=_operation_id("alive", path))(alive)
    for path in READINESS:
        app.get(
            path,
            tags=["health"],
            summary="The server is warmed up and not draining",
            operation_id=_operation_id("ready", path),
            responses=error_responses(503),
        )(ready)


def _operation_id(name: str, path: str) -> str:
    return name + re.sub(r"\W", "_", path)
