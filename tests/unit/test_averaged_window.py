"""The poses of a live stream are averaged over the windows of neighbouring frames."""

from dataclasses import replace
from typing import Protocol

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.averaged_window import AveragedWindow, OwnPoses, stream_window
from poselift.coordinates import mirror
from poselift.errors import InvalidKeypoints
from poselift.lifters.pstmo.sequence import SequenceSTMO, SequenceSTMOConfig
from poselift.live_window import KeptFrames, LiveWindow, arriving_frames
from poselift.overlapping_windows import Blend
from poselift.sequence import Sequence
from poselift.timed_window import TimedWindow
from tests.unit.test_live_window import KINDS, SAME_POSES_M, manifest, person, poses_of
from tests.unit.test_timed_window import SIZES, untrained, wandering
from tests.unit.test_timed_window import stream as timed_stream

RATES_FPS = (12.5, 15.0, 25.0, 29.97, 50.0, 120.0)
LOOKAHEADS = st.sampled_from([0, 1, 2, 5])


@pytest.fixture(scope="module", params=[(system, kind) for system in ("mixste", "pstmo-sequence") for kind in KINDS])
def artifact(request: pytest.FixtureRequest) -> Artifact:
    return untrained(*request.param)


def all_kept(artifact: Artifact, sequence: Sequence, *, timed: bool = False) -> KeptFrames:
    return arriving_frames(sequence, artifact.manifest, 0, KeptFrames.none(artifact.manifest, timed=timed))


class OwnPose(Protocol):
    def __call__(self, index: int, *, mirrored: bool = True) -> NDArray[np.floating]: ...


def own_poses(artifact: Artifact, window: LiveWindow | TimedWindow, kept: KeptFrames) -> OwnPose:
    """The pose of a frame from its own window, in which every second frame's person is mirrored."""
    source, target = artifact.manifest.source, artifact.manifest.target
    other = replace(kept, screen=mirror(kept.screen, source))

    def own(index: int, *, mirrored: bool = True) -> NDArray[np.floating]:
        frame = range(index, index + 1)
        if mirrored and index % 2:
            return mirror(poses_of(artifact, window, other, frame)[0][0], target)
        return poses_of(artifact, window, kept, frame)[0][0]

    return own


@settings(max_examples=8, deadline=None)
@given(frames=st.integers(1, 30), fps=st.sampled_from(RATES_FPS[1:]), lookahead=LOOKAHEADS, sizes=SIZES)
def test_a_pose_is_the_mean_of_its_neighbours_own_poses(artifact, frames, fps, lookahead, sizes):
    sequence = person(frames, fps, missing=0.1)
    lookahead = min(lookahead, LiveWindow.of(artifact.manifest, fps, 0).full_lookahead)
    window = AveragedWindow.of(artifact.manifest, fps, lookahead)
    joints, seen = timed_stream(artifact, sequence, window, sizes)
    assert seen == [min(lookahead, frames - 1 - frame) for frame in range(frames)]
    wait = max(0, lookahead - 1)
    own = own_poses(artifact, LiveWindow.of(artifact.manifest, fps, wait), all_kept(artifact, sequence))
    # The newest sample, which is smoothed, is a third of 20 ms old: that part of the time between two frames.
    lag = fps / 150 if artifact.manifest.smoothed and not wait else 0
    for frame in range(frames):
        if lookahead and 0 < frame < frames - 1:
            shares = {-1: 0.25 - lag / 2, 0: 0.5, 1: 0.25 + lag / 2}
        elif frame > 3 and fps > 47:  # four frames take at most 85 ms
            shares = {-4: -0.125 - lag / 4, -1: 0.5, 0: 0.625 + lag / 4}
        elif frame > 1:
            shares = {-2: -0.25 - lag / 2, -1: 0.5, 0: 0.75 + lag / 2}
        else:
            shares = {0: 1.0}
        expected = np.sum([share * own(frame + offset) for offset, share in shares.items()], axis=0)
        np.testing.assert_allclose(joints[frame], expected, atol=SAME_POSES_M)


def test_frames_far_apart_are_not_averaged(artifact):
    sequence, fps = person(20, 6.25), 6.25
    joints, _ = timed_stream(artifact, sequence, AveragedWindow.of(artifact.manifest, fps, 2), [1])
    own = own_poses(artifact, LiveWindow.of(artifact.manifest, fps, 1), all_kept(artifact, sequence))
    for frame in range(20):
        np.testing.assert_allclose(joints[frame], own(frame, mirrored=False), atol=SAME_POSES_M)


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(2, 80), fps=st.sampled_from(RATES_FPS), lookahead=st.sampled_from([0, 1, 3, 10]), sizes=SIZES)
def test_times_of_a_constant_rate_give_the_poses_of_that_rate(artifact, frames, fps, lookahead, sizes):
    sequence = person(frames, fps, missing=0.1)
    lookahead = min(lookahead, LiveWindow.of(artifact.manifest, fps, 0).full_lookahead)
    constant = AveragedWindow.of(artifact.manifest, fps, lookahead)
    expected, _ = timed_stream(artifact, sequence, constant, [1])
    joints, _ = timed_stream(artifact, sequence, AveragedWindow.of(artifact.manifest, None, lookahead), sizes)
    np.testing.assert_allclose(joints, expected, atol=SAME_POSES_M)


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(1, 120),
    seed=st.integers(0, 1000),
    lookahead=st.sampled_from([None, 0, 1, 4]),
    sizes=SIZES,
    origin_s=st.sampled_from([0.0, 1.764e9]),
)
def test_poses_do_not_depend_on_how_frames_arrive(artifact, frames, seed, lookahead, sizes, origin_s):
    sequence = replace(person(frames, 30, seed, missing=0.1), times_s=wandering(frames, seed, origin_s))
    window = AveragedWindow.of(artifact.manifest, None, lookahead)
    one_by_one, _ = timed_stream(artifact, sequence, window, [1])
    joints, _ = timed_stream(artifact, sequence, window, sizes)
    np.testing.assert_allclose(joints, one_by_one, atol=SAME_POSES_M)


@settings(max_examples=50, deadline=None)
@given(
    frames=st.integers(1, 60),
    seed=st.integers(0, 1000),
    lookahead=st.sampled_from([None, 0, 1, 4]),
    smoothed=st.booleans(),
)
def test_steady_motion_is_neither_ahead_nor_behind(frames, seed, lookahead, smoothed):
    small = manifest("token", "mixste", smoothed=smoothed)
    sequence = replace(person(frames, 30), times_s=wandering(frames, seed))
    window, kept = AveragedWindow.of(small, None, lookahead), KeptFrames.none(small, timed=True)
    kept = arriving_frames(sequence, small, 0, kept)
    averages = window.averages(kept, range(frames))
    np.testing.assert_allclose(averages.weights.sum(axis=1), 1, atol=1e-6)
    assert averages.neighbours.min() == 0
    assert averages.neighbours.max() == frames - 1
    mean_s = (averages.weights * sequence.times_s[averages.neighbours]).sum(axis=1)
    is_mean = (averages.weights != 0).sum(axis=1) > 1
    lag_s = 1 / 150 if smoothed and lookahead in (0, 1) else 0
    np.testing.assert_allclose(mean_s, sequence.times_s + lag_s * is_mean, atol=1e-4)
    # Both sides of the person count the same where there are neighbours.
    mirrored = (averages.weights * (averages.neighbours % 2)).sum(axis=1)
    np.testing.assert_allclose(mirrored[is_mean], 0.5, atol=1e-6)


@pytest.mark.parametrize("lookahead", [0, 3])
def test_own_poses_that_are_kept_are_not_lifted_again(lookahead):
    small = manifest("token", "mixste")
    window, kept = (
        AveragedWindow.of(small, 50, lookahead),
        arriving_frames(person(40, 50), small, 0, KeptFrames.none(small)),
    )
    random = np.random.default_rng(0)
    truth = random.normal(size=(40, 17, 3)).astype(np.float32)
    own: OwnPoses | None = None
    for target in range(30):
        averages = window.averages(kept, range(target, target + 1))
        missing = averages.missing(own)
        assert len(missing) == (2 if lookahead and target == 1 else 1)
        own = averages.completed(own, OwnPoses(missing.start, truth[missing.start : missing.stop])).newest()
        assert len(own.rows) <= 5
        whole = averages.poses(OwnPoses(0, truth), kept.imputed[[target]]).joints
        np.testing.assert_array_equal(averages.poses(own, kept.imputed[[target]]).joints, whole)
    # Frames that are sent again, or others than the next ones.
    assert own is not None
    again = window.averages(kept, range(29, 30))
    assert not again.missing(own)
    np.testing.assert_array_equal(again.completed(own, own).rows, own.rows)
    for targets in (range(23, 25), range(36, 37)):
        assert window.averages(kept, targets).missing(own) == window.averages(kept, targets).own


def test_an_expected_error_is_never_negative():
    averages = AveragedWindow.of(manifest("token", "mixste"), 50, 0).averages(
        replace(KeptFrames.none(manifest("token", "mixste")), screen=np.zeros((5, 17, 2), np.float32)), range(4, 5)
    )
    rows = np.zeros((5, 17, 4), np.float32)
    rows[..., 3] = np.array([1.0, 1.0, 1.0, 0.06, 0.03])[:, None]  # of a joint that was hidden until now
    lifted = averages.poses(OwnPoses(0, rows), np.zeros((1, 17), np.bool_))
    assert lifted.expected_error_m is not None
    np.testing.assert_allclose(lifted.expected_error_m, (0.125 + 0.03 + 0.01875) / 1.25, rtol=1e-5)


def test_only_sequence_to_sequence_lifters_are_averaged():
    """A lifter of the middle frame lifts streams as clips, and clips without an average."""
    assert isinstance(stream_window(manifest("token"), 50, 3), LiveWindow)
    assert isinstance(stream_window(manifest("token"), None, 3), TimedWindow)
    assert isinstance(stream_window(manifest("token", "mixste"), 50, 3), AveragedWindow)


def test_the_frames_that_an_average_needs_are_kept():
    small = manifest("token", "mixste")
    for lookahead in (0, 1, 3):
        own = LiveWindow.of(small, 50, max(0, lookahead - 1))
        assert AveragedWindow.of(small, 50, lookahead).needed_before == own.needed_before + (5 if lookahead else 4)


@pytest.mark.parametrize("lookahead", [-1, 13])
def test_a_lookahead_beyond_the_window_is_refused(lookahead):
    with pytest.raises(InvalidKeypoints, match="0 to 12 frames") as refusal:
        AveragedWindow.of(manifest("token", "mixste"), 50, lookahead)
    assert refusal.value.path == "lookahead"
    assert AveragedWindow.of(manifest("token", "mixste"), 50, 12).lookahead == 12


def test_what_is_known_and_gravity_are_averaged_with_the_pose():
    config = SequenceSTMOConfig(
        9, channels=16, hidden=32, layers=1, heads=2, known=True, gravity=True, expected_error=True
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = SequenceSTMO(config).eval()
    told = manifest("token", "pstmo-sequence").model_copy(
        update={"network": {"frames": 9, "known": True, "gravity": True}}
    )
    artifact, sequence = Artifact(told, lifter), person(12, 50)
    kept, window = all_kept(artifact, sequence), AveragedWindow.of(told, 50, 0)
    prepared = window.prepare(kept, range(4, 12))
    outputs = np.random.default_rng(0).normal(size=(len(prepared.index), 18, 4)).astype(np.float32)
    lifted = prepared.poses(outputs, told)
    facing = outputs.copy()
    assert isinstance(prepared.blend, Blend)
    facing[prepared.blend.mirrored] = mirror(facing[prepared.blend.mirrored], told.target)
    gravity = 0.625 * facing[4:, 17, :3] + 0.5 * facing[3:-1, 17, :3] - 0.125 * facing[:-4, 17, :3]
    assert lifted.gravity is not None
    np.testing.assert_allclose(lifted.gravity, gravity, atol=1e-6)
    assert (prepared.blend.mirrored == (np.arange(12) % 2 == 1)).all()
