"""Requests behind a proxy: their clients, their scheme and the prefix of their path."""

from collections.abc import AsyncIterator

import httpx
import pytest
from poselift_service.http.admin import refuse_admin
from poselift_service.transport.keys import only_key
from poselift_service.transport.proxies import TrustedProxies
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import app_of, client_of, lift_body

FORWARDED = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("proxy", "seen"), [("127.0.0.1", ["203.0.113.7", "https"]), ("10.0.0.0/8", ["127.0.0.1", "http"])]
)
async def test_only_a_trusted_proxy_says_who_the_client_is(serving: Serving, proxy: str, seen: list[str]):
    app = app_of(serving, proxies=TrustedProxies([proxy]))

    async def who(request: Request) -> Response:
        assert request.client is not None
        assert request.state.record.peer == request.client.host
        return JSONResponse([request.client.host, request.url.scheme])

    app.router.add_route("/who", who)
    async with client_of(app) as client:
        assert (await client.get("/who", headers=FORWARDED)).json() == seen


@pytest.fixture
async def prefixed(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    """A server under a prefix, with a key."""
    async with client_of(app_of(serving, root_path="/pose/lift", keys=only_key("camera", "secret"))) as client:
        yield client


@pytest.mark.parametrize("prefix", ["", "/pose/lift"], ids=["removed by the proxy", "left"])
async def test_every_path_is_found_with_and_without_the_prefix(prefixed: httpx.AsyncClient, prefix: str):
    headers = {"authorization": "Bearer secret"}
    answer = await prefixed.post(f"{prefix}/lift", json=lift_body(), headers=headers)
    assert (answer.status_code, len(answer.json()["poses"])) == (200, 2)
    assert (await prefixed.get(f"{prefix}/models")).status_code == 401
    assert (await prefixed.get(f"{prefix}/healthz")).status_code == 200
    assert (await prefixed.get(f"{prefix}/nothing", headers=headers)).status_code == 404
    document = (await prefixed.get(f"{prefix}/openapi.json")).json()
    assert document["servers"] == [{"url": "/pose/lift"}]
    assert "/lift" in document["paths"]
    # The pages name their files relatively, so a browser asks for them under the prefix that it sees.
    for page, file in (("/docs", "docs/docs.js"), ("/", "page/app.js")):
        assert f'"{file}"' in (await prefixed.get(f"{prefix}{page}")).text
        assert (await prefixed.get(f"{prefix}/{file}")).status_code == 200


async def test_a_path_that_only_begins_like_the_prefix_is_another(prefixed: httpx.AsyncClient):
    answer = await prefixed.get("/pose/lifts", headers={"authorization": "Bearer secret"})
    assert answer.status_code == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/admin"), ("PUT", "/admin/default"), ("DELETE", "/admin/a/b")])
async def test_administration_that_is_off_says_so(serving: Serving, method: str, path: str):
    app = app_of(serving)
    refuse_admin(app)
    async with client_of(app) as client:
        answer = await client.request(method, path)
        document = (await client.get("/openapi.json")).json()
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "setting admin" in answer.json()["error"]["message"]
    assert not any(path.startswith("/admin") for path in document["paths"])
