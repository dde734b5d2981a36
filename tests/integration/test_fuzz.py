"""A server that gets noise: no answer that is not documented, none that blames itself, and it lives on.

In `make test` the noise is little and always the same; `make fuzz` makes more of it, other each time, and sends a
million messages made in a faster way besides.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from poselift_service.transport.keys import new_key
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from poselift.pb import lifter_pb2 as pb
from tests.integration.almost_good import CLIP, COMPLETE_REQUESTS, LIFT_REQUESTS, SIZE
from tests.integration.conftest import (
    MAX_BODY_BYTES,
    MAX_FRAMES,
    MAX_TRACKS,
    MODEL,
    publish_completion_model,
    publish_random_models,
)
from tests.integration.fuzz import fuzz
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, ServerProcess, running
from tests.integration.wire_noise import noise

EFFORT = int(os.environ.get("FUZZ_EFFORT", "1"))
# Of schemathesis, for each operation and phase.
EXAMPLES_PER_OPERATION = 15
# A schema cannot say how many joints a skeleton has, nor that timestamps increase; and with a key given as a header,
# schemathesis cannot tell what would be without it.
NOT_CHECKED = "positive_data_acceptance,ignored_auth"
SERVICE = pb.DESCRIPTOR.services_by_name["LiftingService"]
OUR_FAULT = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE}

noisy = settings(
    max_examples=80 * EFFORT,
    derandomize=EFFORT == 1,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Target:
    """A server that asks for a key, and what clients of it need."""

    process: ServerProcess
    authorization: str
    client: httpx.Client
    channel: grpc.Channel

    def open_session(self) -> str:
        opening = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}
        return str(self.client.post("/sessions", json=opening).json()["session_id"])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, port = tmp_path_factory.mktemp("fuzz"), free_port()
    models = folder / "models"
    publish_random_models(models)
    publish_completion_model(models)
    key, stored = new_key("fuzzer")
    (folder / "keys").write_text(stored.line)
    limits = {"max_frames": MAX_FRAMES, "max_tracks": MAX_TRACKS, "max_body_bytes": MAX_BODY_BYTES}
    keys = {"api_keys_file": folder / "keys", "admin": True, "admin_key": key, "default_model": MODEL}
    with running(models, folder / "log", grpc_port=port, **keys, **limits) as process:
        authorization = f"Bearer {key}"
        with (
            httpx.Client(
                base_url=process.address, headers={"authorization": authorization}, timeout=ANSWER_S
            ) as client,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            yield Target(process, authorization, client, channel)
            assert client.get("/readyz").status_code == 200
            assert not [line for line in process.log_lines() if line["level"] in ("ERROR", "CRITICAL")]


def test_every_answer_is_documented(target: Target, tmp_path: Path):
    options = {
        "--max-examples": EXAMPLES_PER_OPERATION * EFFORT,
        "--header": f"authorization: {target.authorization}",
        "--exclude-checks": NOT_CHECKED,
        "--suppress-health-check": "all",
        "--generation-database": "none",
        "--request-timeout": ANSWER_S,
        **({"--seed": 1} if EFFORT == 1 else {}),
    }
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{target.process.address}/openapi.json", "--no-color"]
    ended = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


NAMED = pb.GetSessionRequest(session_id="x").SerializeToString()
GOOD: dict[str, list[Any]] = {
    "LiftRequest": LIFT_REQUESTS,
    "CompleteRequest": COMPLETE_REQUESTS,
    "RefineRequest": [
        pb.RefineRequest(
            request=pb.LiftRequest(keypoints=CLIP, skeleton="coco17", image_size=SIZE, fps=30),
            answer=pb.LiftResponse(joints=[0.1, 0.2, 0.3] * 17 * 3),
        ),
    ],
    "ListModelsRequest": [pb.ListModelsRequest()],
    "CreateSessionRequest": [pb.CreateSessionRequest(skeleton="coco17", image_size=SIZE, fps=30, lookahead=3)],
    "GetSessionRequest": [pb.GetSessionRequest(session_id="x")],
    "DeleteSessionRequest": [pb.DeleteSessionRequest(session_id="x")],
    "LiftStreamRequest": [
        pb.LiftStreamRequest(session_id="x", frames=[pb.Frame(frame_index=0, keypoints=CLIP[:51])]),
        pb.LiftStreamRequest(end=True),
    ],
    "LiftStreamsRequest": [
        pb.LiftStreamsRequest(
            sessions=[
                pb.LiftStreamRequest(session_id="x", frames=[pb.Frame(frame_index=0, keypoints=CLIP[:51])]),
                pb.LiftStreamRequest(session_id="y", end=True),
            ]
        ),
    ],
}


def in_session(session_id: str, sent: list[bytes]) -> list[bytes]:
    """The same with a session that there is, where they name one, or nothing behind that would be seen."""
    named = b"\n" + bytes([len(session_id)]) + session_id.encode()
    return [body.replace(NAMED, named) for body in sent]


@pytest.mark.parametrize(
    ("path", "kind"), [("/lift", "LiftRequest"), ("/complete", "CompleteRequest"), ("/refine", "RefineRequest")]
)
@noisy
@given(data=st.data())
def test_noise_in_protobuf_over_http(target: Target, path: str, kind: str, data: st.DataObject):
    body = data.draw(noise(GOOD[kind]))
    answer = target.client.post(path, content=body, headers={"content-type": "application/x-protobuf"})
    assert answer.status_code in (200, 404, 422), answer.text


@pytest.mark.parametrize("call", list(SERVICE.methods), ids=lambda call: call.name)
@noisy
@given(data=st.data())
def test_noise_over_grpc(target: Target, call: Any, data: st.DataObject):
    bodies = noise(GOOD[call.input_type.name])
    sent = data.draw(st.lists(bodies, max_size=4)) if call.client_streaming else [data.draw(bodies)]
    sent = in_session(target.open_session(), sent)
    calling: Any = target.channel.stream_stream(f"/{SERVICE.full_name}/{call.name}")
    answers = calling(iter(sent), metadata=(("authorization", target.authorization),), timeout=ANSWER_S)
    try:
        for _ in answers:
            pass
    except grpc.RpcError as error:
        refused: Any = error
        assert refused.code() not in OUR_FAULT, refused.details()


JSON_FRAMES = json.dumps({"frame_index": 0, "keypoints": [[[100.5, 200, 0.9]] * 16 + [None]]})
PIECES = [
    "null",
    "-1",
    "1e999",
    "NaN",
    "[]",
    "[[]]",
    "{}",
    '"',
    "\\ud800",
    "9" * 400,
    "true",
    ",",
    ":",
    "]",
    "}",
    '{"end": true}',
]


@st.composite
def noisy_text(draw: st.DrawFn) -> str:
    """Frames in JSON with some characters replaced; or anything."""
    text = draw(st.sampled_from([JSON_FRAMES, '{"end": true}', ""]))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 5)))
        text = text[:begin] + draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=4))) + text[end:]
    return text


@noisy
@given(data=st.data())
def test_noise_over_websocket(target: Target, data: st.DataObject):
    binary = noise(GOOD["LiftStreamRequest"])
    sent = data.draw(st.lists(st.one_of(noisy_text(), binary), min_size=1, max_size=4))
    session_id = target.open_session()
    address = f"{target.process.address.replace('http', 'ws', 1)}/sessions/{session_id}/stream"
    with connect(address, additional_headers={"authorization": target.authorization}, open_timeout=ANSWER_S) as stream:
        with contextlib.suppress(ConnectionClosed):
            for message in sent:
                stream.send(message if isinstance(message, str) else in_session(session_id, [message])[0])
        # Every message is answered, until one is refused and the server closes.
        with contextlib.suppress(ConnectionClosed):
            for _ in sent:
                stream.recv(ANSWER_S)
    assert stream.close_code in (1000, *range(4400, 4500)), stream.close_reason


def test_messages_that_are_almost_good_are_answered_as_documented():
    answers, faults = fuzz(seed=1, numbers=range(1000), processes=1)
    assert faults == []
    assert sum(answers.values()) == 1000
    assert {"json 200", "json 422", "protobuf 200", "protobuf 422", "websocket answered"} <= answers.keys()
