"""Administration of a server with API keys and an admin key: who may, and what its document says."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from poselift_service.http.admin import add_admin
from poselift_service.inference.loader import ModelLoader
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.keys import only_key
from poselift_service.transport.limits import SizeLimit

from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import app_of, client_of
from tests.unit.service.inference.driven_loader import GatedEngine

ADMIN, CAMERA = {"authorization": "Bearer for the operator"}, {"authorization": "Bearer for a camera"}


@pytest.fixture
async def client(serving: Serving, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    metrics, models = Metrics(), serving.pipeline.models
    app = app_of(serving, metrics=metrics, max_body=SizeLimit(1000), keys=only_key("camera", "for a camera"))
    loader = ModelLoader(tmp_path, models, make_engine=GatedEngine, capacity_windows=1, metrics=metrics)
    add_admin(app, loader, models, keys=only_key("admin", "for the operator"), max_body=SizeLimit(1000), deadline_s=60)
    async with client_of(app) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "lists", "changes"), [(ADMIN, 401, 200), (CAMERA, 200, 401), ({}, 401, 401)], ids=["admin", "api", "no"]
)
async def test_each_key_authorises_its_own_calls_only(
    client: httpx.AsyncClient, headers: dict[str, str], lists: int, changes: int
):
    assert (await client.get("/models", headers=headers)).status_code == lists
    answer = await client.put("/admin/default", json={"model": "scripted"}, headers=headers)
    assert answer.status_code == changes, answer.text
    assert (await client.get("/admin", headers=headers)).status_code == (404 if headers is CAMERA else 401)


async def test_the_document_says_that_calls_need_the_admin_key(client: httpx.AsyncClient):
    document = (await client.get("/openapi.json")).json()
    admin = {path: operations for path, operations in document["paths"].items() if path.startswith("/admin/")}
    assert len(admin) == 3
    for operations in admin.values():
        for operation in operations.values():
            assert operation["security"] == [{"key": []}]
            assert "401" in operation["responses"]
    assert set(document["components"]["securitySchemes"]) == {"key"}
