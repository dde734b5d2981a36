"""Frames that are streamed with their times give the same poses as the whole sequence, and as a constant rate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact, load_artifact
from poselift.averaged_window import AveragedWindow
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifting import lift
from poselift.live_window import KeptFrames, LiveWindow, arriving_frames
from poselift.sequence import Sequence
from poselift.timed_window import TimedWindow
from tests.benchmarks.irregular_times import differences, moving
from tests.shipped_model import SHIPPED_MODEL
from tests.unit.test_live_window import (
    KINDS,
    RATES_FPS,
    SAME_POSES_M,
    SAME_SAMPLES,
    manifest,
    person,
    poses_of,
    sequence_lifter,
)

DATA = Path(__file__).parents[1] / "data"
# A dance that turns back every second; half of it is what even constant rates half a frame apart differ by.
MOST_MM = 8.0
# A live pose depends on which of its neighbours show the mirrored person, and a dropped frame changes that.
MOST_LIVE_MM = 12.0
Window = LiveWindow | TimedWindow | AveragedWindow
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=5)
# From any origin: of a stream, and of a time of day.
ORIGINS_S = st.sampled_from([0.0, -3.7, 1.764e9])


@pytest.fixture(scope="module", params=KINDS)
def artifact(request: pytest.FixtureRequest) -> Artifact:
    return untrained("pstmo", request.param)


@pytest.fixture(scope="module", params=["pstmo", "mixste", "pstmo-sequence"])
def either(request: pytest.FixtureRequest) -> Artifact:
    """The artifact of a lifter with one pose per window, or with one for each of its frames, or for any one of them."""
    return untrained(request.param, "hold, smoothed")


def untrained(system: str, kind: str) -> Artifact:
    missing_joints, _, smoothed = kind.partition(", ")
    has_token = missing_joints == "token"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = (
            STMO(STMOConfig(frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=has_token))
            if system == "pstmo"
            else sequence_lifter(system, mask_token=has_token)
        )
    return Artifact(manifest(missing_joints, system, smoothed=bool(smoothed)), lifter.eval())


def wandering(frames: int, seed: int, origin_s: float = 0.0) -> NDArray[np.float64]:
    """Times of a camera whose rate wanders between 15 and 60 frames per second, with drops and pauses."""
    random = np.random.default_rng(seed)
    gaps_s = 1 / random.uniform(15, 60, frames)
    gaps_s[random.random(frames) < 0.1] *= 3
    gaps_s[random.random(frames) < 0.02] += 2
    return origin_s + np.cumsum(gaps_s)


def stream(
    artifact: Artifact, sequence: Sequence, window: Window, sizes: list[int]
) -> tuple[NDArray[np.floating], list[int]]:
    """Lift a sequence as it comes in, in pieces, keeping no more frames than the window says, then close it.

    Returns:
        Joints [F, J, 3], and the number of later frames that each has seen.
    """
    own = window.own if isinstance(window, AveragedWindow) else window
    kept = KeptFrames.none(artifact.manifest, timed=isinstance(own, TimedWindow))
    joints: list[NDArray[np.floating]] = []
    seen: list[int] = []
    targets_seen: list[int] = []
    first = piece = 0
    while first < len(sequence.keypoints):
        stop = min(first + sizes[min(piece, len(sizes) - 1)], len(sequence.keypoints))
        part = replace(sequence, keypoints=sequence.keypoints[first:stop], times_s=sequence.times_s[first:stop])
        oldest = window.needed_from(first, kept)
        kept = kept.followed_by(arriving_frames(part, artifact.manifest, first, kept)).since(oldest)
        if targets := window.completed_by(range(first, stop), kept):
            joints.append(poses_of(artifact, window, kept, targets)[0])
            seen += window.future_frames(targets, kept)
            targets_seen += targets
        first, piece = stop, piece + 1
    if targets := window.left_at(first, kept):
        joints.append(poses_of(artifact, window, kept, targets)[0])
        seen += window.future_frames(targets, kept)
        targets_seen += targets
    assert targets_seen == list(range(first)), "each frame is lifted once, in order"
    return np.concatenate(joints), seen


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 300), seed=st.integers(0, 1000), sizes=SIZES, origin_s=ORIGINS_S)
@example(frames=45, seed=510, sizes=[1], origin_s=0.0)  # a smoothed sample just below half a phase
def test_with_full_lookahead_streamed_poses_equal_those_of_the_sequence(artifact, frames, seed, sizes, origin_s):
    sequence = replace(person(frames, 30, seed, missing=0.1), times_s=wandering(frames, seed, origin_s))
    joints, _ = stream(artifact, sequence, TimedWindow.of(artifact.manifest, None), sizes)
    whole = replace(sequence, times_s=sequence.times_s - sequence.times_s[0])
    np.testing.assert_allclose(joints, lift(artifact, whole).joints, atol=SAME_POSES_M)


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(2, 200),
    fps=st.sampled_from(RATES_FPS),
    lookahead=st.sampled_from([None, 0, 1, 3, 10]),
    sizes=SIZES,
    origin_s=ORIGINS_S,
)
@example(frames=2, fps=6.25, lookahead=None, sizes=[1], origin_s=1.764e9)  # samples halfway between two phases
def test_at_a_constant_rate_they_equal_those_of_a_session_with_that_rate(
    either,
    frames,
    fps,
    lookahead,
    sizes,
    origin_s,
):
    sequence = person(frames, fps, frames, missing=0.1)
    constant = LiveWindow.of(either.manifest, fps, None)
    if lookahead is not None:
        lookahead = min(lookahead, constant.full_lookahead)
        constant = LiveWindow.of(either.manifest, fps, lookahead)
    expected, expected_seen = stream(either, sequence, constant, [1])
    timed = replace(sequence, times_s=origin_s + sequence.times_s)
    joints, seen = stream(either, timed, TimedWindow.of(either.manifest, lookahead), sizes)
    assert seen == expected_seen
    np.testing.assert_allclose(joints, expected, atol=SAME_SAMPLES)


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 200), seed=st.integers(0, 1000), lookahead=st.sampled_from([None, 0, 2, 9]), sizes=SIZES)
def test_poses_do_not_depend_on_how_many_frames_come_at_a_time(
    either,
    frames,
    seed,
    lookahead,
    sizes,
):
    sequence = replace(person(frames, 30, seed, missing=0.1), times_s=wandering(frames, seed))
    window = TimedWindow.of(either.manifest, lookahead)
    joints, seen = stream(either, sequence, window, sizes)
    one_by_one, seen_one_by_one = stream(either, sequence, window, [1])
    assert seen == seen_one_by_one
    np.testing.assert_allclose(joints, one_by_one, atol=SAME_SAMPLES)


@pytest.mark.parametrize("lookahead", [None, 3])
def test_frames_that_are_gone_are_asked_for(artifact, lookahead):
    """A frame that is sent again needs frames that are no longer there: its answer must not come from others."""
    window, sequence = TimedWindow.of(artifact.manifest, lookahead), person(120, 30)
    kept = arriving_frames(sequence, artifact.manifest, 0, KeptFrames.none(artifact.manifest, timed=True))
    oldest = window.needed_from(100, kept)
    assert 0 < oldest < 100
    assert window.needed_from(100, kept.since(oldest)) == oldest
    assert window.needed_from(100, kept.since(oldest + 1)) < oldest + 1
    assert window.needed_from(oldest - 1, kept.since(oldest)) < oldest


def test_frames_come_as_fast_as_the_bound_says(artifact):
    window = TimedWindow.of(artifact.manifest, None)
    sequence = person(600, 240)
    kept = arriving_frames(sequence, artifact.manifest, 0, KeptFrames.none(artifact.manifest, timed=True))
    assert 0.9 * window.needed_before < 600 - window.needed_from(600, kept) <= window.needed_before


def test_a_wandering_rate_with_drops_changes_poses_by_millimetres():
    """The shipped model on motion capture; `tests.benchmarks.irregular_times` measures it on more."""
    pos17 = np.load(DATA / "cmu_05_15_cut.npz")["pos17"].astype(np.float64)
    found = differences(load_artifact(SHIPPED_MODEL), moving(pos17, 50), seed=0, duration_s=3, lookaheads=(0, "full"))
    # In the first second, a live window is filled with a few frames: poses depend on each of them.
    mean_mm = {name: float(distances[len(distances) // 3 :].mean()) for name, distances in found.items()}
    for name in ("clip", "stream, lookahead full"):
        assert mean_mm[f"{name}, times told"] < MOST_MM, mean_mm
        assert mean_mm[f"{name}, times told"] < 0.8 * mean_mm[f"{name}, times not told"], mean_mm
    live_mm = mean_mm["stream, lookahead 0, times told"]
    assert live_mm < min(MOST_LIVE_MM, mean_mm["stream, lookahead 0, times not told"]), mean_mm
