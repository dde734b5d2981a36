"""Models, skeletons and probes."""

import httpx
import pytest
from poselift_service.transport.limits import SizeLimit

from poselift.skeletons import SKELETONS
from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import app_of, client_of


async def test_models_and_skeletons_are_described(client: httpx.AsyncClient):
    models = (await client.get("/models")).json()
    one = (await client.get("/models/scripted@stable")).json()
    assert models == [one]
    assert (one["is_default"], one["receptive_field"], one["labels"]) == (True, 5, ["stable"])
    skeletons = {skeleton["name"]: skeleton for skeleton in (await client.get("/skeletons")).json()}
    assert set(skeletons) == set(SKELETONS)
    assert len(skeletons["coco17"]["joint_names"]) == 17


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
async def test_health(client: httpx.AsyncClient, path: str):
    assert (await client.get(path)).status_code == 200


async def test_a_server_that_is_not_ready_is_alive(serving: Serving):
    async with client_of(app_of(serving, is_ready=lambda: False, max_body=SizeLimit(1), deadline_s=1)) as client:
        assert (await client.get("/healthz")).status_code == 200
        for path in ("/readyz", "/v2/health/ready"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
