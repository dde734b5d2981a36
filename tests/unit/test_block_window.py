"""Streams of sequence-to-sequence lifters at the full lookahead have the poses of the finished clip."""

import numpy as np
import pytest

from poselift.artifacts.manifest import Manifest
from poselift.block_window import BlockWindow
from poselift.lifting import Prepared, lay_windows
from poselift.live_window import KeptFrames

JOINTS = 17


def manifest(samples: int, stride: int, *, smoothed: bool) -> Manifest:
    return Manifest(
        name="windows-alone",
        system="pstmo-sequence",
        network={"frames": samples},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=stride,
        smoothed=smoothed,
        missing_joints="token",
    )


def answers(prepared: Prepared, model: Manifest) -> np.ndarray:
    """Poses by outputs that depend on all samples of their window and on their place in it."""
    windows = prepared.frames[prepared.index]
    places = np.arange(windows.shape[1])
    outputs = np.einsum("nm,wmjc->wnjc", np.cos(0.7 * places[:, None] + 1.3 * places), windows[..., [0, 1, 0]] + 1)
    return prepared.poses(outputs.astype(np.float32), model).joints


def frames_of(first: int, screen: np.ndarray) -> KeptFrames:
    return KeptFrames(first, screen, np.zeros((len(screen), JOINTS), np.bool_))


@pytest.mark.parametrize(
    ("samples", "stride", "smoothed"), [(9, 1, False), (27, 3, True), (10, 2, False), (1, 1, False)]
)
@pytest.mark.parametrize("fps", [7.3, 25, 30, 50, 119])
@pytest.mark.parametrize("frames", [1, 260])
def test_a_stream_has_the_poses_of_the_clip(samples, stride, smoothed, fps, frames):
    rng = np.random.default_rng(frames)
    model = manifest(samples, stride, smoothed=smoothed)
    times = np.arange(frames) / fps
    screen = rng.normal(size=(frames, JOINTS, 2)).astype(np.float32)
    expected = answers(lay_windows(screen, np.zeros((frames, JOINTS), np.bool_), times, model, None), model)
    window = BlockWindow(model, fps)
    kept, first = frames_of(0, screen[:0]), 0
    got: list[np.ndarray] = []
    while first < frames:
        stop = min(frames, first + int(rng.integers(1, 6)))
        kept = kept.since(window.needed_from(first, kept))
        kept = kept.followed_by(frames_of(first, screen[first:stop]))
        assert len(kept.screen) <= window.needed_before + stop - first
        if targets := window.completed_by(range(first, stop), kept):
            assert targets.start == sum(len(block) for block in got)
            got.append(answers(window.prepare(kept, targets), model))
            assert stop - 1 - targets.start <= window.full_lookahead + 5
        first = stop
    if targets := window.left_at(frames, kept):
        got.append(answers(window.prepare(kept, targets), model))
    np.testing.assert_allclose(np.concatenate(got), expected, atol=1e-5)


def test_poses_come_in_blocks_of_half_a_window():
    window = BlockWindow(manifest(27, 3, smoothed=True), 50)
    kept = frames_of(0, np.zeros((400, JOINTS, 2), np.float32))
    blocks = [targets for frame in range(400) if (targets := window.completed_by(range(frame, frame + 1), kept))]
    assert {len(block) for block in blocks[1:]} == {39}
    prepared = window.prepare(kept, blocks[3])
    assert len(prepared.index) <= 3 * 4  # three series; a block lies in at most four windows of each


def test_frames_that_are_sent_again_complete_the_same_poses():
    window = BlockWindow(manifest(27, 3, smoothed=True), 50)
    kept = frames_of(0, np.zeros((300, JOINTS, 2), np.float32))
    once = [window.completed_by(range(frame, frame + 10), kept) for frame in range(0, 300, 10)]
    sizes = sum(len(block) for block in once)
    assert once[-1].stop == sizes
    assert window.completed_by(range(150, 200), kept) == range(once[15].start, once[19].stop)
