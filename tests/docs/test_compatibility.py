"""Changes of the HTTP interface that break callers are told from those that do not."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from docs.compatibility import openapi_breaks
from tests.docs.documents import REPOSITORY

DOCUMENT: dict[str, Any] = json.loads((REPOSITORY / "docs" / "openapi.json").read_text(encoding="utf-8"))
Change = Callable[[dict[str, Any]], object]


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def changed(change: Change) -> list[str]:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return openapi_breaks(DOCUMENT, document)


BREAKING: dict[str, Change] = {
    "POST /lift is gone": lambda d: d["paths"].pop("/lift"),
    "DELETE /sessions/{session_id} is gone": lambda d: d["paths"]["/sessions/{session_id}"].pop("delete"),
    "no longer answers with 201": lambda d: d["paths"]["/sessions"]["post"]["responses"].pop("201"),
    ".fps is no longer taken": lambda d: schema(d, "LiftForm")["properties"].pop("fps"),
    ".fps is newly required": lambda d: schema(d, "LiftForm")["required"].append("fps"),
    ".strict may no longer be boolean": lambda d: schema(d, "LiftForm")["properties"]["strict"].update(type="string"),
    ".skeleton may no longer be coco17": lambda d: schema(d, "LiftForm")["properties"]["skeleton"]["enum"].remove(
        "coco17"
    ),
    ".tracks[].track_id is no longer taken": lambda d: schema(d, "TrackForm")["properties"].pop("track_id"),
    ".unit is gone": lambda d: schema(d, "LiftAnswer")["properties"].pop("unit"),
    ".warnings may now be missing": lambda d: schema(d, "LiftAnswer")["required"].remove("warnings"),
    ".model.version may now be string": lambda d: schema(d, "ModelReference")["properties"]["version"].update(
        type="string"
    ),
    ".query:next_frame_index is no longer taken": lambda d: d["paths"]["/sessions/{session_id}"]["delete"].update(
        parameters=[]
    ),
    "application/x-protobuf is no longer taken": lambda d: d["paths"]["/lift"]["post"]["requestBody"]["content"].pop(
        "application/x-protobuf"
    ),
}
HARMLESS: dict[str, Change] = {
    "a new operation": lambda d: d["paths"].update({"/new": d["paths"]["/lift"]}),
    "a new optional field": lambda d: schema(d, "LiftForm")["properties"].update(unheard={"type": "object"}),
    "a new field of an answer": lambda d: schema(d, "LiftAnswer")["properties"].update(unheard={"type": "object"}),
    "another text": lambda d: schema(d, "LiftForm").update(description="Something else."),
    "a wider type": lambda d: schema(d, "LiftForm")["properties"]["strict"].update(type=["boolean", "null"]),
    "a new skeleton": lambda d: schema(d, "LiftForm")["properties"]["skeleton"]["enum"].append("new"),
}


def test_the_same_document_breaks_nobody():
    assert openapi_breaks(DOCUMENT, DOCUMENT) == []


@pytest.mark.parametrize("said", BREAKING)
def test_a_breaking_change_is_named(said: str):
    assert any(said in sentence for sentence in changed(BREAKING[said])), changed(BREAKING[said])


@pytest.mark.parametrize("name", HARMLESS)
def test_an_addition_breaks_nobody(name: str):
    assert changed(HARMLESS[name]) == []
