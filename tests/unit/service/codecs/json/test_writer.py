"""The JSON answer of the server is the document that the command writes, with timings; written at once or in pieces."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from poselift_service.codecs.json import writer
from poselift_service.codecs.json.writer import JsonWriter
from poselift_service.pipeline.lift import Result

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.json import write_json
from poselift.input_warnings import InputWarning
from tests.unit.service.conftest import random_result

ROUNDED_M = 5e-6 + 5e-7


def write(result: Result) -> bytes:
    return asyncio.run(JsonWriter().write(result, total_s=1))


@contextmanager
def small_pieces() -> Iterator[None]:
    """Even the shortest answer has several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_SHORT_FRAMES", 0)
        patch.setattr(writer, "_PIECE_FRAMES", 3)
        yield


@pytest.mark.parametrize("knows_errors", [False, True])
@pytest.mark.parametrize("track_ids", [(None,), ("a",), ("a", "b")])
def test_the_server_answers_what_the_command_line_writes(
    manifest: Manifest, track_ids: tuple[str | None, ...], knows_errors: bool, tmp_path: Path
):
    warning = InputWarning("upside_down", "The head is below the feet.", "keypoints")
    result = replace(random_result(manifest, *track_ids, knows_errors=knows_errors), warnings=(warning,))
    write_json(tmp_path / "poses.json", manifest, result.tracks, result.warnings)
    written = (tmp_path / "poses.json").read_text()
    answered = write(result)
    document = json.loads(answered)
    assert document.pop("timing_ms") == {"queue": 250, "inference": 500, "total": 1000}
    assert document == json.loads(written)
    assert answered.decode().startswith(written.rstrip("}\n"))
    for given, track in zip(document.get("tracks", [document]), result.tracks, strict=True):
        np.testing.assert_allclose(given["poses"], track.lifted.joints, atol=ROUNDED_M)
        assert ("expected_error_m" in given) == knows_errors
        if track.lifted.expected_error_m is not None:
            np.testing.assert_allclose(given["expected_error_m"], track.lifted.expected_error_m, atol=ROUNDED_M)


@pytest.mark.parametrize("knows_errors", [False, True])
@pytest.mark.parametrize("track_ids", [(None,), ("a", "b")])
def test_an_answer_written_in_pieces_is_the_same(
    manifest: Manifest, track_ids: tuple[str | None, ...], knows_errors: bool
):
    result = random_result(manifest, *track_ids, frames=10, knows_errors=knows_errors)
    with small_pieces():
        in_pieces = write(result)
    assert in_pieces == write(result)
    assert orjson.loads(in_pieces)["timing_ms"]["queue"] == 250
