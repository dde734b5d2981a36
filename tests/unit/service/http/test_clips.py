"""What the calls about clips share, tried on `POST /lift`."""

import json
from typing import Any

import httpx
import numpy as np
import pytest
from poselift_service.transport.limits import SizeLimit

from poselift.pb.lifter_pb2 import LiftRequest, LiftResponse
from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import app_of, client_of
from tests.unit.service.long_clips import SIZE, SKELETON, WORK_ON_JOINTS, functions_called, shares


async def test_an_answer_has_the_media_type_of_its_request_by_default(client: httpx.AsyncClient):
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


@pytest.mark.parametrize("media_type", ["application/json", "application/x-protobuf"])
async def test_a_long_body_is_checked_and_prepared_beside_the_event_loop(serving: Serving, media_type: str):
    def body(frames: int) -> bytes:
        fields: dict[str, Any] = {"skeleton": SKELETON, "fps": 50, "coordinates": "normalised"}
        if media_type == "application/json":
            return json.dumps({"keypoints": shares(frames).tolist(), "image_size": SIZE, **fields}).encode()
        size = dict(zip(("width_px", "height_px"), SIZE, strict=True))
        return LiftRequest(keypoints=shares(frames).ravel(), image_size=size, **fields).SerializeToString()

    async with client_of(app_of(serving, max_body=SizeLimit(10**6))) as client:
        for frames, on_loop in ((10, WORK_ON_JOINTS), (100, set())):
            with functions_called() as called:
                answer = await client.post("/lift", content=body(frames), headers={"content-type": media_type})
            assert answer.status_code == 200
            assert called & WORK_ON_JOINTS == on_loop
