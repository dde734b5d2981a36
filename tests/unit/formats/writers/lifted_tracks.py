"""Poses to write: random ones, of one person or several."""

import numpy as np

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.track import LiftedTrack
from poselift.lifting import Lifted

MANIFEST = Manifest(
    name="writer",
    version=3,
    system="pstmo",
    network={},
    input_skeleton="h36m17",
    output_skeleton="h36m17",
    frame_rate_hz=50,
    temporal_stride=2,
    missing_joints="token",
)
JOINTS = MANIFEST.target.joint_names
# What every form must keep of a position.
EXACT_M = 1e-4


def track_of(track_id=None, *, frames=7, times_s=None, first_frame=0, expected_error=True):
    random = np.random.default_rng(frames)
    joints = random.normal(0, 0.5, (frames, len(JOINTS), 3)).astype(np.float32)
    errors = random.uniform(0, 0.3, joints.shape[:2]).astype(np.float32) if expected_error else None
    lifted = Lifted(joints, random.random(joints.shape[:2]) < 0.3, errors)
    return LiftedTrack(track_id, lifted, first_frame, np.arange(frames) / 30 if times_s is None else times_s)
