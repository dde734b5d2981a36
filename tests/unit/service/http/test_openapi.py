"""The OpenAPI document."""

import json

import httpx


async def test_the_document_is_complete(client: httpx.AsyncClient):
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


async def test_the_document_says_which_calls_need_a_key(protected: tuple[httpx.AsyncClient, str]):
    document = (await protected[0].get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/lift"]["post"]["security"] == [{"key": []}]
    assert "401" in document["paths"]["/lift"]["post"]["responses"]
    assert "security" not in document["paths"]["/healthz"]["get"]
