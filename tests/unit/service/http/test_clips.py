"""What the calls about clips share, tried on `POST /lift`."""

import httpx
import numpy as np

from poselift.pb.lifter_pb2 import LiftRequest, LiftResponse


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
