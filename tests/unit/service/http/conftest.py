"""The HTTP interface without a network, in front of a scripted engine."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.http.app import create_app
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.keys import Keys, new_key
from poselift_service.transport.limits import SizeLimit

from tests.unit.service.conftest import Serving

MAX_BODY_BYTES = 100_000
JSON_HEADERS = {"content-type": "application/json"}


def app_of(serving: Serving, **changes: Any) -> FastAPI:
    """Build an interface without sessions; `changes` replace its arguments."""
    arguments = {
        "metrics": Metrics(), "is_ready": lambda: True, "max_body": SizeLimit(MAX_BODY_BYTES), "deadline_s": 60,
        "version": "0", **changes,
    }  # fmt: skip
    return create_app(serving.pipeline, JsonReader(serving.pipeline.limits), **arguments)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def client(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(serving)) as client:
        yield client


@pytest.fixture
async def protected(serving: Serving) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A server with API keys, and the only key."""
    key, stored = new_key("camera")
    async with client_of(app_of(serving, keys=Keys([stored]))) as client:
        yield client, key


def lift_body(frames: int = 2, **changes: Any) -> dict[str, Any]:
    keypoints = [[[10.0 * joint + 5, 5.0 * joint + 5, 1.0] for joint in range(17)] for _ in range(frames)]
    return {"keypoints": keypoints, "skeleton": "h36m17", "image_size": [200, 100], "fps": 50, **changes}


def last_request_fields(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Give what the last request has logged."""
    *_, last = (record for record in caplog.records if record.name == "poselift_service.telemetry.requests")
    fields: dict[str, Any] = vars(last)["fields"]
    return fields
