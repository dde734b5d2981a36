"""Parts of the HTTP interface that settings switch."""

from poselift_service.transport.keys import Keys, new_key

from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import app_of, client_of


async def test_the_documentation_can_be_disabled(serving: Serving):
    async with client_of(app_of(serving, docs=False)) as client:
        for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json", "/redoc"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/models")).status_code == 200


async def test_scripts_of_other_sites_need_to_be_allowed(serving: Serving):
    origin = {"origin": "https://example.org"}
    preflight = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    _, stored = new_key("camera")
    async with client_of(app_of(serving, cors_origins=["https://example.org"], keys=Keys([stored]))) as client:
        allowed = await client.options("/lift", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://example.org"
        other = await client.get("/healthz", headers={"origin": "https://example.com"})
        assert "access-control-allow-origin" not in other.headers
        # A script must be able to read why it was refused.
        refused = await client.post("/lift", headers=origin)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://example.org")
    async with client_of(app_of(serving)) as client:
        assert "access-control-allow-origin" not in (await client.get("/healthz", headers=origin)).headers
