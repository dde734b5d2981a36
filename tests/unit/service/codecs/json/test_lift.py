"""The JSON answer of the server is the document that the command line writes, and its timings."""

import json

import numpy as np
import pytest
from poselift_service.codecs.json import lift as json_form

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.json import dump_json
from tests.unit.service.conftest import random_result

ROUNDED_M = 5e-6 + 5e-7


@pytest.mark.parametrize("knows_errors", [False, True])
@pytest.mark.parametrize("track_ids", [(None,), ("a",), ("a", "b")])
def test_the_server_answers_what_the_command_line_writes(
    manifest: Manifest, track_ids: tuple[str | None, ...], knows_errors: bool
):
    result = random_result(manifest, *track_ids, knows_errors=knows_errors)
    written = dump_json(manifest, result.tracks)
    answered = json_form.write(result, total_s=1)
    document = json.loads(answered)
    assert document.pop("timing_ms") == {"queue": 250, "inference": 500, "total": 1000}
    assert document == json.loads(written)
    assert answered.decode().startswith(written.rstrip("}\n"))
    for given, track in zip(document.get("tracks", [document]), result.tracks, strict=True):
        np.testing.assert_allclose(given["poses"], track.lifted.joints, atol=ROUNDED_M)
        assert ("expected_error_m" in given) == knows_errors
        if track.lifted.expected_error_m is not None:
            np.testing.assert_allclose(given["expected_error_m"], track.lifted.expected_error_m, atol=ROUNDED_M)
