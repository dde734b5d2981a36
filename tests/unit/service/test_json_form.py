"""The JSON answer of the server is the document that the command line writes, and its timings."""

import json

import numpy as np
import pytest

from poselift.artifact import Manifest
from poselift.formats.answer import LiftedTrack, as_json
from poselift.lifting import Lifted
from service import json_form, pipeline


@pytest.mark.parametrize("track_ids", [(None,), ("a",), ("a", "b")])
def test_the_server_answers_what_the_command_line_writes(manifest: Manifest, track_ids: tuple[str | None, ...]):
    random = np.random.default_rng(1)
    poses = [
        Lifted(random.normal(size=(3, 17, 3)).astype(np.float32, order="F"), random.random((17, 3)).T < 0.5)
        for _ in track_ids
    ]
    written = as_json(manifest, [LiftedTrack(name, lifted) for name, lifted in zip(track_ids, poses, strict=True)])
    tracks = tuple(
        pipeline.LiftedTrack(name, lifted.joints, lifted.imputed) for name, lifted in zip(track_ids, poses, strict=True)
    )
    answered = json_form.write(pipeline.LiftResult(manifest, tracks, queue_s=0.25, inference_s=0.5), total_s=1)
    document = json.loads(answered)
    assert document.pop("timing_ms") == {"queue": 250, "inference": 500, "total": 1000}
    assert document == json.loads(written)
    assert answered.decode().startswith(written.rstrip("}\n"))
