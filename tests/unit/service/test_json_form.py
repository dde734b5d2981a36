"""The JSON answer of the server is the document that the command line writes, and its timings."""

import json

import pytest

from poselift.artifact import Manifest
from poselift.formats.answer import as_json
from service import json_form
from tests.unit.service.conftest import random_result


@pytest.mark.parametrize("track_ids", [(None,), ("a",), ("a", "b")])
def test_the_server_answers_what_the_command_line_writes(manifest: Manifest, track_ids: tuple[str | None, ...]):
    result = random_result(manifest, *track_ids)
    written = as_json(manifest, result.tracks)
    answered = json_form.write(result, total_s=1)
    document = json.loads(answered)
    assert document.pop("timing_ms") == {"queue": 250, "inference": 500, "total": 1000}
    assert document == json.loads(written)
    assert answered.decode().startswith(written.rstrip("}\n"))
