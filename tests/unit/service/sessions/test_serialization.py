"""What a store keeps of sessions: read as it was written, and anything else is no session."""

import json
from dataclasses import replace

import numpy as np
import pytest
from poselift_service.errors import UnknownSession
from poselift_service.sessions.serialization import dump_frames, dump_opening, load_frames, load_opening
from poselift_service.sessions.session import Opening
from poselift_service.sessions.store import Outcome, StoreReply

from poselift.artifacts.manifest import Manifest
from poselift.camera import Camera, Person
from poselift.live_window import KeptFrames
from poselift.motion.world import WorldOptions
from poselift.skeletons import skeleton

OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)


def test_an_opening_is_read_as_it_was_written():
    assert load_opening(dump_opening(OPENING)) == OPENING
    other = replace(OPENING, coordinates="normalised", strict=True)
    assert load_opening(dump_opening(other)) == other
    timed = replace(OPENING, fps=None, lookahead="full")
    assert load_opening(dump_opening(timed)) == timed
    camera = Camera(1100.3, (320.5, 0.0), (0.1, -0.2, 0, 0.01), fisheye=True, gravity=(0.0, 0.6, 0.8))
    known = replace(OPENING, camera=camera, person=Person(1.81))
    assert load_opening(dump_opening(known)) == known
    moving = replace(OPENING, world=WorldOptions("z", "off", rotations=True))
    assert load_opening(dump_opening(moving)) == moving


def test_an_opening_without_options_is_one_that_older_servers_can_read():
    assert json.loads(dump_opening(OPENING)).keys() == {"source", "width_px", "height_px", "fps", "lookahead"}


@pytest.mark.parametrize(
    "stored",
    [
        *(
            b"",
            b"\xff",
            b"[]",
            b"1",
            b"{}",
            b'{"source": "coco17"}',
            b'{"source": "coco19"}',
            b'{"source": ["coco17"]}',
        ),
        dump_opening(OPENING).replace(b"50", b"1e9"),
        dump_opening(OPENING).replace(b"50", b'"50"'),
        dump_opening(OPENING).replace(b"{", b'{"camera": {"colour": 1}, '),
        dump_opening(OPENING).replace(b"{", b'{"camera": [], '),
        dump_opening(OPENING).replace(b"{", b'{"person": 1.8, '),
        dump_opening(OPENING).replace(b"{", b'{"world": {"colour": 1}, '),
        dump_opening(OPENING).replace(b"{", b'{"world": true, '),
    ],
)
def test_another_opening_is_no_session(stored: bytes):
    with pytest.raises(UnknownSession):
        load_opening(stored)


def test_frames_with_times_are_read_as_they_were_written(manifest: Manifest):
    joints_in, joints_out = manifest.source.n_joints, manifest.target.n_joints
    random = np.random.default_rng(0)
    screen, imputed = random.random((3, joints_in, 2), np.float32), random.random((3, joints_out)) < 0.5
    kept = KeptFrames(3, screen, imputed, np.array([1.764e9, 1.764e9 + 1 / 30, 1.764e9 + 0.1]))
    reply = StoreReply(Outcome.UNCHANGED, b"", 3, 3, dump_frames(kept), b"")
    read = load_frames(reply, manifest, timed=True)
    assert read.start == 3
    for one, other in ((read.screen, kept.screen), (read.imputed, kept.imputed), (read.times_s, kept.times_s)):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UnknownSession):
        load_frames(reply, manifest)
    none = load_frames(reply._replace(frames=[]), manifest, timed=True)
    assert none.times_s is not None
    assert none.times_s.shape == (0,)


def test_other_frames_are_no_session(manifest: Manifest):
    joints_in, joints_out = manifest.source.n_joints, manifest.target.n_joints
    kept = KeptFrames(3, np.ones((2, joints_in, 2), np.float32), np.ones((2, joints_out), np.bool_))
    one, other = dump_frames(kept)
    read = load_frames(StoreReply(Outcome.UNCHANGED, b"", 3, 3, [one, other], b""), manifest)
    np.testing.assert_array_equal(read.screen, kept.screen)
    for frames in ([one, b"garbage"], [one[:-1], other + b"x"], [b""]):
        with pytest.raises(UnknownSession):
            load_frames(StoreReply(Outcome.UNCHANGED, b"", 3, 3, frames, b""), manifest)
