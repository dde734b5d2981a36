"""Errors as statuses, bodies and headers."""

from typing import Any

import httpx
import pytest
from poselift_service import errors

from poselift import errors as core_errors
from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import lift_body


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (core_errors.InvalidKeypoints("Wrong.", path="keypoints[1]"), 422, "invalid_request"),
        (core_errors.UnknownSkeleton("Wrong.", path="skeleton"), 422, "invalid_request"),
        (errors.Unauthenticated("Wrong."), 401, "unauthenticated"),
        (errors.InvalidRequest("Wrong."), 422, "invalid_request"),
        (errors.BodyTooLarge(7, "max_body_bytes"), 413, "body_too_large"),
        (errors.BodyTooSlow(), 408, "request_timeout"),
        (errors.UnknownModel("x", ["y"]), 404, "unknown_model"),
        (errors.UnknownSession(), 404, "unknown_session"),
        (errors.SessionConflict(7), 409, "session_conflict"),
        (errors.SessionStoreDown(), 503, "session_store_down"),
        (errors.Overloaded(retry_after_s=2.1), 429, "overloaded"),
        (errors.DeadlineExceeded(), 504, "deadline_exceeded"),
        (errors.NotReady("Starting."), 503, "not_ready"),
        (errors.EngineFailed(), 500, "engine_failed"),
        (errors.ModelConflict("Not now."), 409, "model_conflict"),
        (errors.RepositoryDown("Gone."), 503, "repository_down"),
    ],
)
async def test_errors_become_answers(
    client: httpx.AsyncClient, serving: Serving, monkeypatch: pytest.MonkeyPatch, error: Any, status: int, code: str
):
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(serving.pipeline, "lift", fail)
    answer = await client.post("/lift", json=lift_body())
    expected = {"code": code, "message": error.message} | ({"path": error.path} if error.path else {})
    if code == "session_conflict":
        expected["expected_frame_index"] = 7
    assert (answer.status_code, answer.json()) == (status, {"error": expected})
    assert answer.headers.get("retry-after") == {"overloaded": "3", "session_store_down": "1"}.get(code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/lift", 405, "method_not_allowed"),
        ("GET", "/models/x", 404, "unknown_model"),
    ],
)
async def test_refusals_of_the_framework_have_the_same_form(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
):
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_allowed_methods_are_named(client: httpx.AsyncClient):
    assert (await client.get("/lift")).headers["allow"] == "POST"
    assert (await client.request("OPTIONS", "/models/x")).headers["allow"] == "GET, HEAD"
