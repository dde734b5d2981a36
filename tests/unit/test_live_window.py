"""Frames streamed through a live window give the same poses as the whole sequence."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest
from poselift.averaged_window import AveragedWindow
from poselift.errors import InvalidKeypoints
from poselift.lifters.lifter import answers
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.sequence import SequenceSTMO, SequenceSTMOConfig
from poselift.lifting import finish, lift, prepare, screen_frames
from poselift.live_samples import live_distances
from poselift.live_window import KeptFrames, LiveWindow, arriving_frames
from poselift.missing import hold_missing
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from poselift.timed_window import TimedWindow

COCO = skeleton("coco17")
SAME_POSES_M = 1e-4  # promised by the contract of live streams
SAME_SAMPLES = 1e-6  # the same float32 arithmetic, perhaps in another order
RATES_FPS = (6.25, 12.5, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 120.0)

KINDS = ["token", "hold", "token, smoothed", "hold, smoothed"]


def manifest(missing_joints: str, system: str = "pstmo", *, smoothed: bool = False) -> Manifest:
    return Manifest(
        name="small",
        system=system,
        network={"frames": 9},
        input_skeleton="h36m17",
        output_skeleton="h36m17",
        frame_rate_hz=50,
        temporal_stride=3,
        smoothed=smoothed,
        missing_joints=missing_joints,
    )


@pytest.fixture(scope="module", params=KINDS)
def artifact(request: pytest.FixtureRequest) -> Artifact:
    missing_joints, _, smoothed = request.param.partition(", ")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = STMOConfig(frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=missing_joints == "token")
        return Artifact(manifest(missing_joints, smoothed=bool(smoothed)), STMO(config).eval())


@pytest.fixture(scope="module", params=[(system, kind) for system in ("mixste", "pstmo-sequence") for kind in KINDS])
def sequence_artifact(request: pytest.FixtureRequest) -> Artifact:
    """The artifact of a sequence-to-sequence lifter. With one layer, lifting targets alone leaves nothing out."""
    system, kind = request.param
    missing_joints, _, smoothed = kind.partition(", ")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = sequence_lifter(system, mask_token=missing_joints == "token")
    return Artifact(manifest(missing_joints, system, smoothed=bool(smoothed)), lifter)


def sequence_lifter(system: str, *, mask_token: bool) -> MixSTE | SequenceSTMO:
    if system == "mixste":
        mixed = MixSTE(MixSTEConfig(9, 16, 32, 1, heads=2, mask_token=mask_token)).eval()
        for position in (mixed.joint_position, mixed.frame_position):  # zero in a new network
            torch.nn.init.normal_(position)
        return mixed
    config = SequenceSTMOConfig(9, channels=16, hidden=32, layers=1, heads=2, mask_token=mask_token)
    lifter = SequenceSTMO(config).eval()
    for parameter in lifter.temporal.parameters():  # some are zero in a new network
        torch.nn.init.normal_(parameter, std=0.3)
    return lifter


def frames_of(lifter: MixSTE | SequenceSTMO, window: torch.Tensor, distances: NDArray[np.int64]) -> torch.Tensor:
    """The poses of all frames of a window [1, N, J, 2], whose samples lie at these distances from its target."""
    if isinstance(lifter, MixSTE):
        return lifter(window).frames
    places = torch.from_numpy(distances - distances[0])
    embedded = torch.zeros(1, int(places[-1]) + 1, lifter.config.channels)
    embedded[:, places] = lifter.embed(window)
    return lifter.frames_head(lifter.temporal(embedded, visible=places))


def person(frames: int, fps: float, seed: int = 0, missing: float = 0.0) -> Sequence:
    random = np.random.default_rng(seed)
    keypoints = random.random((frames, 17, 3), dtype=np.float32) * (640, 480, 0.5) + (0, 0, 0.5)
    keypoints[random.random((frames, 17)) < missing] = np.nan
    return Sequence(keypoints.astype(np.float32), COCO, 640, 480, Sequence.times_at(fps, frames))


def mean_of_three(screen: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """The mean of each frame [F, J, 2] and the frames `step` before and after it, ignoring missing joints."""
    frames = np.arange(len(screen))
    three = [screen[(frames + offset).clip(0, len(screen) - 1)] for offset in (-step, 0, step)]
    with warnings.catch_warnings(action="ignore"):  # all of them are missing
        return np.asarray(np.nanmean(three, axis=0), np.float32)


@torch.inference_mode()
def poses_of(artifact: Artifact, window: LiveWindow | TimedWindow | AveragedWindow, kept: KeptFrames, targets: range):
    prepared = window.prepare(kept, targets)
    embedded = artifact.lifter.embed(torch.from_numpy(prepared.frames))
    ahead = None if prepared.ahead is None else torch.from_numpy(prepared.ahead)
    outputs = answers(artifact.lifter, embedded[torch.from_numpy(prepared.index)], ahead)
    lifted = prepared.poses(finish(outputs, artifact.manifest).numpy(), artifact.manifest)
    return lifted.joints, lifted.imputed


def stream(artifact: Artifact, sequence: Sequence, window: LiveWindow, sizes: list[int]):
    """Lift a sequence as it comes in, in pieces of the given sizes (the last one again and again), then close it.

    Returns:
        Joints [F, J, 3] and imputed [F, J], in the order they came out.
    """
    kept = KeptFrames.none(artifact.manifest)
    answers = []
    targets_seen: list[int] = []
    length, first, piece = len(sequence.keypoints), 0, 0
    while first < length:
        size = min(sizes[min(piece, len(sizes) - 1)], length - first)
        arriving = replace(
            sequence,
            keypoints=sequence.keypoints[first : first + size],
            times_s=sequence.times_s[first : first + size],
        )
        kept = kept.followed_by(arriving_frames(arriving, artifact.manifest, first, kept)).since(
            first - window.needed_before
        )
        targets = window.completed_by(range(first, first + size))
        if targets:
            answers.append(poses_of(artifact, window, kept, targets))
            targets_seen += targets
        first, piece = first + size, piece + 1
        assert len(kept.screen) <= window.needed_before + size, "frames are kept that nothing needs"
    if targets := window.left_at(length):
        answers.append(poses_of(artifact, window, kept, targets))
        targets_seen += targets
    assert targets_seen == list(range(length)), "each frame is lifted once, in order"
    joints, imputed = zip(*answers, strict=True)
    return np.concatenate(joints), np.concatenate(imputed)


@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(1, 400),
    fps=st.sampled_from(RATES_FPS),
    missing=st.sampled_from([0.0, 0.3]),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_with_full_lookahead_streamed_poses_equal_those_of_the_sequence(artifact, frames, fps, missing, sizes, seed):
    sequence = person(frames, fps, seed, missing)
    joints, imputed = stream(artifact, sequence, LiveWindow.of(artifact.manifest, fps, None), sizes)
    whole = lift(artifact, sequence)
    np.testing.assert_allclose(joints, whole.joints, atol=SAME_POSES_M)
    np.testing.assert_array_equal(imputed, whole.imputed)


@pytest.mark.parametrize("frames", [1, 2, 3, 30, 400])
def test_message_sizes_do_not_change_the_poses(artifact, frames):
    sequence = person(frames, 30.0, missing=0.2)
    joints, _ = stream(artifact, sequence, LiveWindow.of(artifact.manifest, 30.0, None), [1])
    np.testing.assert_allclose(joints, lift(artifact, sequence).joints, atol=SAME_POSES_M)


@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(1, 80),
    fps=st.sampled_from(RATES_FPS),
    share=st.floats(0, 1),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
)
def test_with_less_lookahead_the_newest_frame_is_repeated(artifact, frames, fps, share, sizes):
    full = LiveWindow.of(artifact.manifest, fps, None).lookahead
    lookahead = int(share * full)
    sequence = person(frames, fps, missing=0.1)
    joints, _ = stream(artifact, sequence, LiveWindow.of(artifact.manifest, fps, lookahead), sizes)
    for target in {0, frames // 2, frames - 1}:
        seen = min(target + lookahead, frames - 1) + 1
        so_far = replace(sequence, keypoints=sequence.keypoints[:seen], times_s=sequence.times_s[:seen])
        np.testing.assert_allclose(joints[target], lift(artifact, so_far).joints[target], atol=SAME_POSES_M)


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(1, 80),
    fps=st.sampled_from((50.0, 100.0)),  # at these, samples are frames
    share=st.floats(0, 1),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
)
@torch.inference_mode()
def test_a_sequence_lifter_gets_the_window_that_ends_with_the_newest_frame(
    sequence_artifact, frames, fps, share, sizes
):
    small = sequence_artifact.manifest
    lookahead = int(share * LiveWindow.of(small, fps, None).lookahead)
    sequence = person(frames, fps, missing=0.1)
    joints, _ = stream(sequence_artifact, sequence, LiveWindow.of(small, fps, lookahead), sizes)
    screen = screen_frames(sequence, small).screen
    screen = hold_missing(screen) if small.missing_joints == "hold" else screen
    spacing = int(small.temporal_stride * fps / small.frame_rate_hz)
    for target in range(frames):
        newest = min(target + lookahead, frames - 1)
        ahead = min((newest - target) // spacing, 4)
        distances = np.sort(live_distances(9)[ahead]) if small.lifts_targets else np.arange(9) - 8 + ahead
        samples = np.maximum(target + spacing * distances, 0)
        seen = mean_of_three(screen[: newest + 1], int(fps / 50)) if small.smoothed else screen
        answer = frames_of(sequence_artifact.lifter, torch.from_numpy(seen[samples][None]), distances)[0, 8 - ahead]
        np.testing.assert_allclose(joints[target], finish(answer, small).numpy(), atol=SAME_POSES_M)


@pytest.mark.parametrize("fps", RATES_FPS)
def test_a_sequence_lifter_accepts_any_rate_and_any_message_sizes(sequence_artifact, fps):
    sequence = person(60, fps, missing=0.1)
    window = LiveWindow.of(sequence_artifact.manifest, fps, None)
    one_by_one, _ = stream(sequence_artifact, sequence, window, [1])
    at_once, _ = stream(sequence_artifact, sequence, window, [60])
    in_pieces, _ = stream(sequence_artifact, sequence, window, [7, 30, 2])
    np.testing.assert_allclose(one_by_one, at_once, atol=SAME_POSES_M)
    np.testing.assert_allclose(one_by_one, in_pieces, atol=SAME_POSES_M)


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("fps", RATES_FPS)
def test_live_samples_equal_those_of_the_whole_sequence(fps, smoothed):
    """Also at rates where samples fall halfway between two phases, where rounding is ambiguous."""
    small, sequence = manifest("token", smoothed=smoothed), person(300, fps)
    window = LiveWindow.of(small, fps, None)
    kept = arriving_frames(sequence, small, 0, KeptFrames.none(small))
    live, whole = window.prepare(kept, range(300)), prepare(sequence, small)
    np.testing.assert_allclose(live.frames[live.index], whole.frames[whole.index], atol=SAME_SAMPLES)


def test_a_joint_is_held_from_frames_that_have_long_been_dropped():
    small, sequence = manifest("hold"), person(100, 50.0)
    sequence.keypoints[1:, 9] = np.nan
    window, kept = LiveWindow.of(small, 50, 0), KeptFrames.none(small)
    for frame in range(100):
        arriving = replace(sequence, keypoints=sequence.keypoints[[frame]], times_s=np.zeros(1))
        kept = kept.followed_by(arriving_frames(arriving, small, frame, kept)).since(frame - window.needed_before)
    whole = prepare(sequence, small)
    wrist = small.source.joint_names.index("left_wrist")
    assert kept.start > 50
    np.testing.assert_array_equal(kept.screen[-1, wrist], whole.frames[whole.index[-1, 4], wrist])


@pytest.mark.parametrize("targets", [range(50, 51), range(50, 53)])
def test_a_stream_without_its_older_frames_is_one_that_began_later(sequence_artifact, targets):
    """A server of another version may have kept fewer frames than this one needs."""
    sequence, window = person(60, 50), LiveWindow.of(sequence_artifact.manifest, 50, 0)
    kept = arriving_frames(sequence, sequence_artifact.manifest, 0, KeptFrames.none(sequence_artifact.manifest))
    joints, _ = poses_of(sequence_artifact, window, kept.since(44), targets)
    younger = replace(kept.since(44), start=0)
    expected, _ = poses_of(sequence_artifact, window, younger, range(targets.start - 44, targets.stop - 44))
    np.testing.assert_allclose(joints, expected, atol=SAME_POSES_M)


@pytest.mark.parametrize("smoothed", [False, True])
def test_the_number_of_later_frames_of_each_pose(smoothed):
    window = LiveWindow.of(manifest("token", smoothed=smoothed), 50, 3)
    assert window.full_lookahead == 12 + smoothed
    assert window.needed_before == 3 + 12 + smoothed
    assert window.completed_by(range(3)) == range(0)
    assert window.completed_by(range(2, 6)) == range(3)
    assert window.future_frames(range(3), replace(KeptFrames.none(manifest("token")), start=6)) == [3, 3, 3]
    assert window.left_at(6) == range(3, 6)
    assert window.future_frames(range(3, 6), replace(KeptFrames.none(manifest("token")), start=6)) == [2, 1, 0]
    assert window.left_at(2) == range(2)
    assert not window.left_at(0)


@pytest.mark.parametrize("lookahead", [-1, 13])
def test_a_lookahead_beyond_the_window_is_refused(lookahead):
    with pytest.raises(InvalidKeypoints, match="0 to 12 frames") as refusal:
        LiveWindow.of(manifest("token"), 50, lookahead)
    assert refusal.value.path == "lookahead"


def test_overlapping_frames_are_stored_once_and_gaps_are_a_bug():
    small = manifest("token")

    def frames(first: int, stop: int, value: float) -> KeptFrames:
        shape = (stop - first, 17)
        return KeptFrames(first, np.full((*shape, 2), value, np.float32), np.zeros(shape, np.bool_))

    def values(kept: KeptFrames) -> NDArray[np.float32]:
        return kept.screen[:, 0, 0]

    joined = frames(0, 4, 1).followed_by(frames(2, 6, 2))
    assert (joined.start, joined.stop, values(joined).tolist()) == (0, 6, [1, 1, 1, 1, 2, 2])
    assert values(joined.since(3)).tolist() == [1, 2, 2]
    assert joined.since(-5).start == 0
    assert KeptFrames.none(small).stop == 0
    with pytest.raises(AssertionError, match="missing"):
        frames(0, 2, 1).followed_by(frames(3, 4, 2))
