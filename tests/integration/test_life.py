"""How the server starts and ends, and how it treats misbehaving clients."""

import asyncio
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import torch

from tests.integration.conftest import MODEL
from tests.integration.redis_process import free_port
from tests.integration.server_process import (
    ANSWER_S,
    ServerProcess,
    eventually,
    running,
)
from tests.integration.walking import at_rate, body, keypoints

# On a shared processor, tests of the shutdown lift for many seconds; the deadline must not end their requests.
LONG_DEADLINE = {"deadline_s": 120, "grace_s": 125}


async def test_sigterm_lets_accepted_requests_finish(models: Path, tmp_path: Path):
    clip = body(keypoints(at_rate(50, 3000)))
    with running(models, tmp_path / "log", **LONG_DEADLINE) as server:
        async with httpx.AsyncClient(base_url=server.address, timeout=LONG_DEADLINE["deadline_s"]) as client:
            requests = [asyncio.create_task(client.post("/lift", json=clip)) for _ in range(4)]
            await wait_until_busy(server, requests)
            server.terminate()
            responses = await asyncio.gather(*requests)
        assert [response.status_code for response in responses] == [200] * 4
        assert [len(response.json()["poses"]) for response in responses] == [3000] * 4
        assert server.process.wait(ANSWER_S) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.address}/healthz")
    assert [line["message"] for line in server.log_lines()][-1] == "stopped"


def test_old_connections_are_not_kept(models: Path, tmp_path: Path):
    with (
        running(models, tmp_path / "log", connection_age_s=1) as server,
        httpx.Client(base_url=server.address, timeout=ANSWER_S) as client,
    ):
        connection = eventually(lambda: client.get("/models").headers.get("connection"))
        assert connection == "close"
        assert client.get("/models").is_success


async def wait_until_busy(server: ServerProcess, requests: list["asyncio.Task[httpx.Response]"]) -> None:
    """Wait for the first response: by then the other requests, sent at the same time, have all been accepted."""
    await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert not all(request.done() for request in requests), "the requests were too short for this test"


def test_a_port_in_use_is_reported_in_a_sentence(models: Path, failed_start: Callable[..., str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1, port {port}" in failed_start(models, port=port)
        assert f"port {port}" in failed_start(models, grpc_port=port)
        assert f"port {port}" in failed_start(models, metrics_port=port)


def test_what_cannot_be_served_is_reported_in_a_sentence(
    models: Path, tmp_path: Path, failed_start: Callable[..., str]
):
    assert str(tmp_path) in failed_start(tmp_path)
    assert "no-such" in failed_start(models, default_model="no-such")
    assert f"'{MODEL}'" in failed_start(models, default_model=f"{MODEL}@7")
    assert "grace_s" in failed_start(models, deadline_s=60)
    broken = tmp_path / "broken" / MODEL / "1"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    assert "manifest.json" in failed_start(tmp_path / "broken")


@pytest.mark.parametrize("port", [0, None])
def test_an_engine_that_cannot_be_used_is_reported_in_a_sentence(
    models: Path, failed_start: Callable[..., str], monkeypatch: pytest.MonkeyPatch, port: int | None
):
    grpc_port = free_port() if port is None else port
    if not torch.cuda.is_available():
        assert "device cuda" in failed_start(models, device="cuda", grpc_port=grpc_port)
    assert "bfloat16" in failed_start(models, device="cpu", precision="bfloat16", grpc_port=grpc_port)
    # This failure happens only once the ports are open.
    monkeypatch.setattr("poselift.networks.candidates._openvino_networks", fail)
    monkeypatch.setattr("poselift.networks.candidates._has_openvino", lambda: True)
    message = failed_start(models, engine="openvino", device="cpu", grpc_port=grpc_port)
    assert "openvino" in message
    assert MODEL in message


def fail(*_: object) -> None:
    raise RuntimeError("an operation is not known")


def test_the_default_may_be_a_label(client: httpx.Client):
    (model,) = client.get("/models").json()
    assert (model["name"], model["version"], model["labels"], model["is_default"]) == (MODEL, 1, ["stable"], True)


def test_the_newest_version_is_served_without_labels_or_settings(models: Path, tmp_path: Path):
    unlabelled = shutil.copytree(models, tmp_path / "models", ignore=shutil.ignore_patterns("labels.json"))
    with running(unlabelled, tmp_path / "log") as server:
        (model,) = httpx.get(f"{server.address}/models").json()
    assert (model["version"], model["labels"]) == (2, [])


def test_several_models_need_a_default(models: Path, tmp_path: Path, failed_start: Callable[..., str]):
    both = tmp_path / "models"
    for name in ("first", "second"):
        manifest = shutil.copytree(models / MODEL / "1", both / name / "1") / "manifest.json"
        manifest.write_text(manifest.read_text().replace(MODEL, name))
    message = failed_start(both)
    assert "first, second" in message
    assert "POSELIFT_DEFAULT_MODEL" in message
    with running(both, tmp_path / "log", default_model="second") as server:
        described = httpx.get(f"{server.address}/models").json()
    assert [model["is_default"] for model in described].count(True) == 1


def test_every_request_logs_one_line(server: ServerProcess, client: httpx.Client):
    client.post("/lift", json=body(keypoints(at_rate(50, 3))), headers={"x-request-id": "line-ok"})
    client.post("/lift", json={}, headers={"x-request-id": "line-bad"})
    good, bad = server.request_line("line-ok"), server.request_line("line-bad")
    assert (good["code"], good["status"], good["frames"], good["transport"]) == ("ok", 200, 3, "http")
    assert 0 < good["inference_s"] <= good["total_s"]
    assert (bad["code"], bad["status"], bad["level"]) == ("invalid_request", 422, "INFO")
    assert "traceback" not in bad


def test_metrics_listen_on_their_own_port(models: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running(models, tmp_path / "log", metrics_port=port) as server:
        httpx.post(f"{server.address}/lift", json=body(keypoints(at_rate(50, 5))), timeout=ANSWER_S)
        httpx.post(f"{server.address}/lift", json=[], timeout=ANSWER_S)
        assert httpx.get(f"{server.address}/metrics").status_code == 404
        # A request is counted after its response has been sent, so the count may come later.
        counted = 'poselift_requests_total{code="not_found",transport="http"} 1.0'
        exposed = eventually(lambda: exposing(f"http://127.0.0.1:{port}/metrics", counted))
    for sample in (
        'poselift_requests_total{code="ok",transport="http"} 1.0',
        'poselift_requests_total{code="invalid_request",transport="http"} 1.0',
        "poselift_frames_lifted_total 5.0",
        f'poselift_windows_queued{{model="{MODEL}",version="1"}} 0.0',
        f'poselift_batch_windows_sum{{model="{MODEL}",version="1"}} 5.0',
        'poselift_stage_seconds_count{stage="inference",transport="http"} 1.0',
    ):
        assert sample in exposed.splitlines()


def exposing(address: str, sample: str) -> str | None:
    exposed = httpx.get(address).text
    return exposed if sample in exposed.splitlines() else None


def test_slow_clients_are_disconnected(models: Path, tmp_path: Path):
    with running(models, tmp_path / "log", header_timeout_s=0.5, deadline_s=1.0, grace_s=2.0) as server:
        port = int(server.address.rpartition(":")[2])
        for beginning in (b"", b"POST /lift HTTP/1.1\r\nhost:"):
            with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
                connection.sendall(beginning)
                assert was_disconnected(connection)
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
            connection.sendall(
                b"POST /lift HTTP/1.1\r\nhost: localhost\r\n"
                b"content-type: application/json\r\ncontent-length: 10\r\n\r\n{"
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        # On a kept connection, the header timeout starts again with each request.
        with httpx.Client(base_url=server.address) as client:
            assert client.get("/healthz").status_code == 200
            time.sleep(0.7)
            assert client.get("/healthz").status_code == 200


def was_disconnected(connection: socket.socket) -> bool:
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_overload_is_refused_with_a_hint_and_accepted_requests_finish(models: Path, tmp_path: Path):
    async def flood(address: str) -> list[httpx.Response]:
        clip = body(keypoints(at_rate(50, 500)))
        async with httpx.AsyncClient(base_url=address, timeout=ANSWER_S) as client:
            return await asyncio.gather(*(client.post("/lift", json=clip) for _ in range(12)))

    with running(models, tmp_path / "log", max_frames=500, max_windows_queued=1000) as server:
        responses = asyncio.run(flood(server.address))
    codes = [response.status_code for response in responses]
    assert set(codes) == {200, 429}
    refusal = responses[codes.index(429)]
    assert refusal.json()["error"]["code"] == "overloaded"
    assert int(refusal.headers["retry-after"]) >= 1


def test_a_request_over_the_deadline_fails(models: Path, tmp_path: Path):
    with running(models, tmp_path / "log", deadline_s=0.3, grace_s=1.0) as server:
        response = httpx.post(f"{server.address}/lift", json=body(keypoints(at_rate(50, 9000))), timeout=ANSWER_S)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert httpx.get(f"{server.address}/readyz").status_code == 200
