"""The HTTP interface without a network, in front of a scripted engine."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from poselift_service import errors
from poselift_service.http.app import create_app
from poselift_service.telemetry.metrics import Metrics
from poselift_service.transport.keys import Keys, new_key

from poselift import errors as core_errors
from poselift.pb.lifter_pb2 import LiftRequest, LiftResponse
from tests.unit.service.conftest import Serving
from tests.unit.service.inference.scripted_engine import settle

MAX_BODY_BYTES = 100_000
JSON = {"content-type": "application/json"}


@pytest.fixture
async def client(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        serving.pipeline,
        metrics=Metrics(),
        is_ready=lambda: True,
        max_body_bytes=MAX_BODY_BYTES,
        deadline_s=60,
        version="0",
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def body(frames: int = 2, **changes: Any) -> dict[str, Any]:
    keypoints = [[[10.0 * joint, 5.0 * joint, 1.0] for joint in range(17)] for _ in range(frames)]
    return {"keypoints": keypoints, "skeleton": "h36m17", "image_size": [200, 100], "fps": 50, **changes}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (core_errors.InvalidKeypoints("Wrong.", path="keypoints[1]"), 422, "invalid_request"),
        (core_errors.UnknownSkeleton("Wrong.", path="skeleton"), 422, "invalid_request"),
        (errors.Unauthenticated("Wrong."), 401, "unauthenticated"),
        (errors.InvalidRequest("Wrong."), 422, "invalid_request"),
        (errors.BodyTooLarge(7), 413, "body_too_large"),
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
    answer = await client.post("/lift", json=body())
    expected = {"code": code, "message": error.message} | ({"path": error.path} if error.path else {})
    if code == "session_conflict":
        expected["expected_frame_index"] = 7
    assert (answer.status_code, answer.json()) == (status, {"error": expected})
    assert answer.headers.get("retry-after") == {"overloaded": "3", "session_store_down": "1"}.get(code)


async def test_a_bug_is_answered_with_a_500_and_logged(
    client: httpx.AsyncClient, serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(serving.pipeline, "lift", fail)
    answer = await client.post("/lift", json=body(), headers={"x-request-id": "my-own"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert answer.headers["x-request-id"] == "my-own"
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text


async def test_the_answer_is_what_the_contract_says(client: httpx.AsyncClient):
    answer = await client.post("/lift", json=body(3))
    assert answer.status_code == 200
    content = answer.json()
    assert content["model"] == {"name": "scripted", "version": 3, "digest": "0123456789abcdef"}
    assert (content["skeleton"], content["unit"]) == ("h36m17", "m")
    assert content["joint_names"][0] == "pelvis"
    assert np.shape(content["poses"]) == (3, 17, 3)
    assert content["imputed"] == [[False] * 17] * 3
    assert set(content["timing_ms"]) == {"queue", "inference", "total"}
    assert "tracks" not in content


async def test_missing_joints_are_null_or_of_low_score_and_are_told(client: httpx.AsyncClient):
    sent = body(4)
    sent["keypoints"][0][3] = None
    sent["keypoints"][1][3] = [1.0, 2.0, 0.1]
    sent["keypoints"][2] = None
    sent["keypoints"][3][3] = [1.0, 2.0]
    # The scripted engine would answer with NaN for a missing joint, as no network does; only `imputed` is looked at.
    imputed = np.array((await client.post("/lift", json=sent)).json()["imputed"])
    assert imputed[:2, 3].all()
    assert imputed[:2].sum() == 2
    assert imputed[2].all()
    assert not imputed[3].any()


async def test_tracks_come_back_under_their_names(client: httpx.AsyncClient):
    keypoints = body()["keypoints"]
    sent = body(tracks=[{"track_id": "7", "keypoints": keypoints}, {"track_id": "x", "keypoints": keypoints[:1]}])
    del sent["keypoints"]
    content = (await client.post("/lift", json=sent)).json()
    assert [(track["track_id"], len(track["poses"]), len(track["imputed"])) for track in content["tracks"]] == [
        ("7", 2, 2),
        ("x", 1, 1),
    ]
    assert "poses" not in content


@pytest.mark.parametrize("optional", ["keypoints", "tracks", "fps", "timestamps_s", "model"])
async def test_null_is_as_good_as_leaving_a_field_out(client: httpx.AsyncClient, optional: str):
    sent = {**body(), optional: None}
    expected = 422 if optional in ("keypoints", "fps") else 200
    assert (await client.post("/lift", json=sent)).status_code == expected


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "APPLICATION/JSON"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        ({**JSON, "content-encoding": "gzip"}, 415),
    ],
)
async def test_only_plain_json_is_read(client: httpx.AsyncClient, headers: dict[str, str], status: int):
    answer = await client.post("/lift", content=json.dumps(body()), headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("application/x-protobuf", "application/x-protobuf"),
        ("APPLICATION/X-PROTOBUF ; q=0.9 , text/html", "application/x-protobuf"),
        ("application/json;q=0.5, application/x-protobuf;q=0.8", "application/x-protobuf"),
        ("application/x-protobuf;q=0.5,application/json", "application/json"),
        ("application/x-protobuf;q=0", "application/json"),
        (";;,=,q=1", "application/json"),
    ],
)
async def test_the_client_chooses_the_form_of_the_answer(client: httpx.AsyncClient, accept: str | None, expected: str):
    answer = await client.post("/lift", json=body(), headers={} if accept is None else {"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)
    assert LiftResponse.FromString(answer.content).skeleton == "h36m17" if "protobuf" in expected else answer.json()


async def test_an_answer_comes_in_the_form_of_the_request_unless_otherwise_asked(client: httpx.AsyncClient):
    sent = LiftRequest(
        keypoints=[1.0] * 51, skeleton="h36m17", image_size={"width_px": 200, "height_px": 100}, fps=50
    ).SerializeToString()
    protobuf = {"content-type": "application/x-protobuf"}
    answer = await client.post("/lift", content=sent, headers=protobuf)
    assert len(LiftResponse.FromString(answer.content).joints) == 51
    answer = await client.post("/lift", content=sent, headers={**protobuf, "accept": "application/json"})
    assert np.shape(answer.json()["poses"]) == (1, 17, 3)
    refusal = await client.post("/lift", content=b"{}", headers=protobuf)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length told", "in chunks"])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, chunked: bool):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * (MAX_BODY_BYTES // 10)

    content = chunks() if chunked else b" " * (MAX_BODY_BYTES + 1)
    answer = await client.post("/lift", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/lift", 405, "method_not_allowed"),
        ("GET", "/models/x", 404, "unknown_model"),
    ],
)
async def test_other_refusals_look_the_same(client: httpx.AsyncClient, method: str, path: str, status: int, code: str):
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_what_may_be_done_instead_is_told(client: httpx.AsyncClient):
    assert (await client.get("/lift")).headers["allow"] == "POST"
    assert (await client.request("OPTIONS", "/models/x")).headers["allow"] == "GET"


async def test_the_request_id_is_kept_or_made(client: httpx.AsyncClient):
    kept = await client.get("/healthz", headers={"x-request-id": "abc-1"})
    made = await client.get("/healthz")
    odd = await client.get("/healthz", headers={"x-request-id": 'a"b c'})
    assert kept.headers["x-request-id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 32
    assert odd.headers["x-request-id"] not in ("", 'a"b c')


async def test_models_and_skeletons_are_described(client: httpx.AsyncClient):
    models = (await client.get("/models")).json()
    one = (await client.get("/models/scripted@stable")).json()
    assert models == [one]
    assert (one["is_default"], one["receptive_field"], one["labels"]) == (True, 5, ["stable"])
    skeletons = {skeleton["name"]: skeleton for skeleton in (await client.get("/skeletons")).json()}
    assert set(skeletons) == {"h36m17", "coco17", "halpe26", "body25", "mediapipe33", "mpi17", "h36m16"}
    assert len(skeletons["coco17"]["joint_names"]) == 17


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
async def test_health(client: httpx.AsyncClient, path: str):
    assert (await client.get(path)).status_code == 200


async def test_not_ready_is_told_apart_from_dead(serving: Serving):
    app = create_app(
        serving.pipeline, metrics=Metrics(), is_ready=lambda: False, max_body_bytes=1, deadline_s=1, version="0"
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/healthz")).status_code == 200
        for path in ("/readyz", "/v2/health/ready"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")


async def test_the_openapi_document_is_complete(client: httpx.AsyncClient):
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/lift"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    form = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    assert {"keypoints", "tracks", "skeleton", "image_size", "fps", "timestamps_s"} <= set(form["properties"])
    assert set(operation["responses"]) == {"200", "404", "408", "413", "415", "422", "429", "500", "503", "504"}
    references = {word for word in json.dumps(document).split('"') if word.startswith("#/components/schemas/")}
    assert {reference.rpartition("/")[2] for reference in references} <= set(document["components"]["schemas"])
    assert (await client.get("/docs")).status_code == 200
    for example in content["examples"].values():
        assert (await client.post("/lift", json=example["value"])).status_code == 200


@pytest.fixture
async def guarded(serving: Serving) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A server that asks for keys, and the only key."""
    key, stored = new_key("camera")
    async with asking(app_of(serving, keys=Keys([stored]))) as client:
        yield client, key


async def test_a_key_opens_what_is_closed_without_it(
    guarded: tuple[httpx.AsyncClient, str], caplog: pytest.LogCaptureFixture
):
    client, key = guarded
    caplog.set_level(logging.INFO)
    authorized = {"authorization": f"Bearer {key}"}
    assert (await client.post("/lift", json=body(), headers=authorized)).status_code == 200
    line = last_line(caplog)
    assert (line["key"], line["code"]) == ("camera", "ok")
    for method, path in (("POST", "/lift"), ("GET", "/models"), ("GET", "/skeletons"), ("GET", "/nothing")):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]
    line = last_line(caplog)
    assert (line["code"], line["status"], "key" in line) == ("unauthenticated", 401, False)
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
        assert (await client.get(path)).status_code == 200
    assert key not in caplog.text


def app_of(serving: Serving, **more: Any) -> FastAPI:
    return create_app(
        serving.pipeline,
        metrics=Metrics(),
        is_ready=lambda: True,
        max_body_bytes=MAX_BODY_BYTES,
        deadline_s=60,
        version="0",
        **more,
    )


def asking(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_the_documentation_can_be_switched_off(serving: Serving):
    async with asking(app_of(serving, docs=False)) as client:
        for path in ("/docs", "/openapi.json", "/redoc", "/docs/oauth2-redirect"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/models")).status_code == 200


async def test_scripts_of_other_sites_are_let_in_only_where_that_is_said(serving: Serving):
    origin = {"origin": "https://example.org"}
    preflight = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    _, stored = new_key("camera")
    async with asking(app_of(serving, cors_origins=["https://example.org"], keys=Keys([stored]))) as client:
        allowed = await client.options("/lift", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://example.org"
        other = await client.get("/healthz", headers={"origin": "https://example.com"})
        assert "access-control-allow-origin" not in other.headers
        # A script may read why it was refused.
        refused = await client.post("/lift", headers=origin)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://example.org")
    async with asking(app_of(serving)) as client:
        assert "access-control-allow-origin" not in (await client.get("/healthz", headers=origin)).headers


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/docs"])
async def test_browsers_take_answers_for_what_they_say_they_are(client: httpx.AsyncClient, path: str):
    assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"


def last_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """What the last request has left in the log."""
    *_, last = (record for record in caplog.records if record.name == "poselift_service.telemetry.requests")
    fields: dict[str, Any] = vars(last)["fields"]
    return fields


async def test_without_a_key_the_body_is_not_read(guarded: tuple[httpx.AsyncClient, str]):
    read = []

    async def chunks() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{}"

    answer = await guarded[0].post("/lift", content=chunks(), headers=JSON)
    assert (answer.status_code, read) == (401, [])


async def test_the_openapi_document_tells_of_keys(guarded: tuple[httpx.AsyncClient, str]):
    document = (await guarded[0].get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/lift"]["post"]["security"] == [{"key": []}]
    assert "401" in document["paths"]["/lift"]["post"]["responses"]
    assert "security" not in document["paths"]["/healthz"]["get"]


@pytest.mark.parametrize("given", [[], [(b"authorization", b"Bearer wrong")]])
async def test_a_websocket_without_a_key_is_refused(serving: Serving, given: list[tuple[bytes, bytes]]):
    _, stored = new_key("camera")
    app = app_of(serving, keys=Keys([stored]))
    scope = {"type": "websocket", "path": "/sessions/x/stream", "headers": given, "query_string": b""}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await app({**scope, "extensions": {"websocket.http.response": {}}}, receive, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)
    assert json.loads(sent[1]["body"])["error"]["code"] == "unauthenticated"


async def test_a_client_that_hangs_up_frees_its_place(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    """Spoken to by hand, because no HTTP client can be made to hang up at a chosen moment."""
    cancelled = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(serving.pipeline, "lift", hang)
    app = create_app(
        serving.pipeline, metrics=Metrics(), is_ready=lambda: True, max_body_bytes=10_000, deadline_s=60, version="0"
    )
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": json.dumps(body()).encode(), "more_body": False})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/lift",
        "raw_path": b"/lift",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    handling = asyncio.create_task(app(scope, messages.get, send))
    await settle()
    assert not handling.done()
    messages.put_nowait({"type": "http.disconnect"})
    await handling
    await settle()
    assert cancelled.is_set()
    assert sent == []
