"""Administration over HTTP: load and unload models, move labels, choose the default."""

from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from poselift_service.codecs.json.answers import ModelAnswer, describe_model
from poselift_service.codecs.json.fields import Whole
from poselift_service.codecs.json.refusals import validate
from poselift_service.http.body import read_body, require_json
from poselift_service.http.openapi import error_responses, json_body
from poselift_service.http.paths import ADMIN
from poselift_service.inference.loader import ModelLoader
from poselift_service.inference.models import Model, ServedModels
from poselift_service.pipeline.checks import MAX_NAME_CHARACTERS
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.keys import Keys
from poselift_service.transport.limits import SizeLimit

Name = Annotated[str, Path(description="Name of a model.")]
Version = Annotated[str, Path(description="Its version, a number.")]
Label = Annotated[str, Path(description="Lower-case letters, digits, dots, dashes and underscores; a letter first.")]
Body = TypeVar("Body", bound=BaseModel)
_BEARER = HTTPBearer(scheme_name="key", description="The value of the setting admin_key.", auto_error=False)


class LabelForm(BaseModel):
    """The version that a label shall point at."""

    model_config = ConfigDict(strict=True, extra="forbid")

    version: Annotated[Whole, Field(ge=1, description="A version that is loaded.")]


class DefaultForm(BaseModel):
    """The model for requests that name none."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: Annotated[str, Field(max_length=MAX_NAME_CHARACTERS, description="name, name@version or name@label.")]


class LabelAnswer(BaseModel):
    """The version that a label points at now."""

    name: str
    label: str
    version: int
    written: Annotated[
        bool,
        Field(
            description="Whether the repository was changed, too; false where it is read-only and only this server was."
        ),
    ]


def refuse_admin(app: FastAPI) -> None:
    """Say that administration is off, instead of knowing nothing of it."""

    async def refuse(request: Request) -> Response:
        raise HTTPException(404, "Administration is off on this server (setting admin).")

    for path in (ADMIN, f"{ADMIN}/{{rest:path}}"):
        app.router.add_route(path, refuse, methods=["GET", "PUT", "POST", "DELETE"], include_in_schema=False)


def add_admin(
    app: FastAPI,
    loader: ModelLoader,
    served: ServedModels,
    *,
    keys: Keys | None,
    max_body: SizeLimit,
    deadline_s: float,
) -> None:
    """Add the calls that change the models to the HTTP interface.

    Args:
        keys: accepted admin keys; None serves every client.
        max_body: the largest body.
        deadline_s: time in which a body must arrive. The changes themselves are not limited.
    """

    async def authorise(request: Request) -> None:
        if keys is not None:
            record: RequestRecord = request.state.record
            record.key = keys.name_of(request.headers.get("authorization"))

    async def body(request: Request) -> bytes:
        record: RequestRecord = request.state.record
        return await read_body(request, max_body, record.started_s + deadline_s)

    async def read(request: Request, kind: type[Body]) -> Body:
        require_json(request)
        return validate(kind, await body(request))

    # The second one only documents the first, the way FastAPI wants it.
    authorisation = [Depends(authorise), *([] if keys is None else [Depends(_BEARER)])]
    router = APIRouter(prefix=ADMIN, tags=["admin"], dependencies=authorisation)

    def describe(model: Model) -> ModelAnswer:
        return describe_model(model, is_default=model is served.default)

    @router.put(
        "/models/{name}/{version}",
        summary="Load a version",
        responses=error_responses(401, 404, 408, 413, 422, 500, 503),
    )
    async def load(name: Name, version: Version, request: Request) -> ModelAnswer:
        """Answers once the version is warm and serves requests. It gets the labels that the repository has for it."""
        await body(request)  # drains a body, though none is expected
        return describe(await loader.load(name, version))

    @router.delete(
        "/models/{name}/{version}",
        status_code=204,
        summary="Unload a version",
        responses=error_responses(401, 404, 408, 409, 413),
    )
    async def unload(name: Name, version: Version, request: Request) -> Response:
        """Answers once its running requests are answered. Its sessions become unknown.

        The default cannot be unloaded.
        """
        await body(request)
        await loader.unload(name, version)
        return Response(status_code=204)

    @router.put(
        "/models/{name}/labels/{label}",
        summary="Point a label at a loaded version",
        responses=error_responses(401, 404, 408, 413, 415, 422, 503),
        openapi_extra=json_body(LabelForm, {"version": 2}),
    )
    async def move_label(name: Name, label: Label, request: Request) -> LabelAnswer:
        """Takes effect here at once, and in the repository. Running requests and sessions keep their version."""
        version = (await read(request, LabelForm)).version
        written = await loader.move_label(name, label, str(version))
        return LabelAnswer(name=name, label=label, version=version, written=written)

    @router.put(
        "/default",
        summary="Choose the model for requests that name none",
        responses=error_responses(401, 404, 408, 413, 415, 422),
        openapi_extra=json_body(DefaultForm, {"model": "pstmo-tiny-27@stable"}),
    )
    async def set_default(request: Request) -> ModelAnswer:
        """Holds until the server ends. The reference is kept, so the default follows a label that moves later."""
        return describe(await loader.set_default((await read(request, DefaultForm)).model))

    app.include_router(router)
