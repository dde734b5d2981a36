"""A server with API keys: both transports check them, and the log never contains one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from poselift_service.transport.keys import new_key
from websockets.sync.client import connect

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, running
from tests.integration.walking import at_rate, body, keypoints


def test_both_transports_check_the_key_and_the_log_does_not_contain_it(models: Path, tmp_path: Path):
    key, stored = new_key("camera")
    unknown, _ = new_key("unknown")
    (tmp_path / "keys").write_text(f"{stored.line}\n")
    port = free_port()
    clip = body(keypoints(at_rate(50, 3)))
    with running(models, tmp_path / "log", grpc_port=port, api_keys_file=tmp_path / "keys") as server:
        with httpx.Client(base_url=server.address, timeout=ANSWER_S) as client:
            for headers in ({}, {"authorization": f"Bearer {unknown}"}):
                assert client.post("/lift", json=clip, headers=headers).status_code == 401
            assert client.get("/readyz").status_code == 200
            authorized = {"authorization": f"Bearer {key}", "x-request-id": "http"}
            assert client.post("/lift", json=clip, headers=authorized).status_code == 200
            # A key in the wrong place by mistake.
            assert client.get(f"/models/x?key={key}", headers=authorized).status_code == 404
            assert client.post("/lift", json={"key": key}, headers=authorized).status_code == 422
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = LiftingServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refusal:
                stub.ListModels(pb.ListModelsRequest(), metadata=(("authorization", f"Bearer {unknown}"),))
            refused: Any = refusal.value
            assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
            allowed = (("authorization", f"Bearer {key}"), ("x-request-id", "grpc"))
            assert stub.ListModels(pb.ListModelsRequest(), metadata=allowed).models
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        assert server.request_line("http")["key"] == "camera"
    log = server.log.read_text()
    assert '"unauthenticated"' in log
    for secret in (key, unknown, stored.sha256):
        assert secret not in log


def test_a_session_can_only_be_used_with_the_key_that_opened_it(models: Path, tmp_path: Path):
    (one, stored), (other, also_stored) = new_key("one"), new_key("other")
    (tmp_path / "keys").write_text(f"{stored.line}\n{also_stored.line}\n")
    port = free_port()
    opening = {"skeleton": "coco17", "image_size": [640, 480], "fps": 50, "lookahead": 0}
    with running(models, tmp_path / "log", grpc_port=port, api_keys_file=tmp_path / "keys") as server:
        own, foreign = ({"authorization": f"Bearer {key}"} for key in (one, other))
        with httpx.Client(base_url=server.address, timeout=ANSWER_S) as client:
            session_id = client.post("/sessions", json=opening, headers=own).json()["session_id"]
            path = f"/sessions/{session_id}"
            frame = {"frame_index": 0, "keypoints": [None]}
            for headers, status in ((foreign, 404), (own, 200)):
                assert client.get(path, headers=headers).status_code == status
                assert client.post(f"{path}/frames", json=frame, headers=headers).status_code == status
            assert client.delete(path, headers=foreign).status_code == 404
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = LiftingServiceStub(channel)
            for call in (
                lambda: stub.GetSession(pb.GetSessionRequest(session_id=session_id), metadata=tuple(foreign.items())),
                lambda: list(
                    stub.LiftStream(
                        iter([pb.LiftStreamRequest(session_id=session_id, end=True)]), metadata=tuple(foreign.items())
                    )
                ),
                lambda: list(
                    stub.LiftStreams(
                        iter([pb.LiftStreamsRequest(sessions=[pb.LiftStreamRequest(session_id=session_id, end=True)])]),
                        metadata=tuple(foreign.items()),
                    )
                ),
            ):
                with pytest.raises(grpc.RpcError) as refusal:
                    call()
                assert getattr(refusal.value, "code")() is grpc.StatusCode.NOT_FOUND  # noqa: B009
            assert stub.GetSession(pb.GetSessionRequest(session_id=session_id), metadata=tuple(own.items())).session
        with connect(f"{server.address.replace('http', 'ws')}{path}/stream", additional_headers=foreign) as websocket:
            assert "unknown_session" in str(websocket.recv(timeout=ANSWER_S))
        with connect(f"{server.address.replace('http', 'ws')}/stream", additional_headers=foreign) as websocket:
            websocket.send(json.dumps({"sessions": [{"session_id": session_id, "end": True}]}))
            assert "unknown_session" in str(websocket.recv(timeout=ANSWER_S))
        assert httpx.get(f"{server.address}{path}", headers=own).status_code == 200
        httpx.delete(f"{server.address}{path}", headers={**foreign, "x-request-id": "last"}, timeout=ANSWER_S)
        assert server.request_line("last")["message"] == f"DELETE /sessions/{session_id[:25]}..."
        assert session_id not in server.log.read_text()


def test_a_key_file_that_cannot_be_used_is_reported_in_a_sentence(
    models: Path, tmp_path: Path, failed_start: Callable[..., str]
):
    assert "nothing" in failed_start(models, api_keys_file=tmp_path / "nothing")
    (tmp_path / "keys").write_text("secret")
    message = failed_start(models, api_keys_file=tmp_path / "keys")
    assert "Line 1" in message
    assert "secret" not in message
