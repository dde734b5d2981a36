"""A server that gets noise: no answer that is not documented, none that blames itself, and it lives on.

In `make test` the noise is little and always the same; `make fuzz` makes more of it, other each time.
"""

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

from service.keys import new_key
from service.pb import lifter_pb2 as pb
from tests.integration.conftest import MAX_BODY_BYTES, MAX_FRAMES, MAX_TRACKS
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
    session_id: str


@pytest.fixture(scope="module")
def target(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, port = tmp_path_factory.mktemp("fuzz"), free_port()
    key, stored = new_key("fuzzer")
    (folder / "keys").write_text(stored.line)
    limits = {"max_frames": MAX_FRAMES, "max_tracks": MAX_TRACKS, "max_body_bytes": MAX_BODY_BYTES}
    with running(models, folder / "log", grpc_port=port, api_keys_file=folder / "keys", **limits) as process:
        authorization = f"Bearer {key}"
        with (
            httpx.Client(
                base_url=process.address, headers={"authorization": authorization}, timeout=ANSWER_S
            ) as client,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            opening = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}
            session = client.post("/sessions", json=opening).json()["session_id"]
            yield Target(process, authorization, client, channel, session)
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


SIZE = pb.ImageSize(width_px=1920, height_px=1080)
CLIP = [value for joint in range(17) for value in (100.0 + joint, 200.0, 0.9)] * 3
GOOD: dict[str, list[Any]] = {
    "LiftRequest": [
        pb.LiftRequest(keypoints=CLIP, skeleton="coco17", image_size=SIZE, fps=30),
        pb.LiftRequest(
            tracks=[pb.Track(track_id="1", keypoints=CLIP), pb.Track(track_id="2", keypoints=CLIP)],
            skeleton="coco17",
            image_size=SIZE,
            timestamps_s=[0, 0.1, 0.2],
            model="random-27",
            mirrored_average=True,
            targets=[0, 2],
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
}


@noisy
@given(data=st.data())
def test_noise_in_protobuf_over_http(target: Target, data: st.DataObject):
    body = data.draw(noise(GOOD["LiftRequest"]))
    answer = target.client.post("/lift", content=body, headers={"content-type": "application/x-protobuf"})
    assert answer.status_code in (200, 404, 422), answer.text


@pytest.mark.parametrize("call", list(SERVICE.methods), ids=lambda call: call.name)
@noisy
@given(data=st.data())
def test_noise_over_grpc(target: Target, call: Any, data: st.DataObject):
    bodies = noise(GOOD[call.input_type.name])
    sent = data.draw(st.lists(bodies, max_size=4)) if call.client_streaming else [data.draw(bodies)]
    # The session must be one, now and then, or nothing behind it would be seen.
    sent = [
        body.replace(b"\n\1x", b"\n" + bytes([len(target.session_id)]) + target.session_id.encode()) for body in sent
    ]
    calling: Any = target.channel.stream_stream(f"/{SERVICE.full_name}/{call.name}")
    answers = calling(iter(sent), metadata=(("authorization", target.authorization),), timeout=ANSWER_S)
    try:
        for _ in answers:
            pass
    except grpc.RpcError as error:
        refused: Any = error
        assert refused.code() not in OUR_FAULT, refused.details()
