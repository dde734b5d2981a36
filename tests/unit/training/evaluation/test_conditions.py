"""Conditions of a card: what the lifter is shown, and that it is lifted as the server would."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Sequences
from poselift_training.data.synthetic.views import Views, film
from poselift_training.evaluation.conditions import (
    FRAME_RATES,
    Case,
    Series,
    Subject,
    frame_rate_cases,
    keypoint_cases,
    lookahead_cases,
    missing_cases,
    thinned,
)
from poselift_training.evaluation.predict import predict, stride_of
from poselift_training.evaluation.report import Scores
from poselift_training.evaluation.served import serve

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidDataset
from poselift.lifters.lifter import Lifter
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifting import finish, hold_last_seen
from poselift.live import KeptFrames, LiveWindow

SAME_POSES_M = 1e-5
SAME_PLACES = 1e-5


def moving(lengths: tuple[int, ...], fps: float = 50) -> Motion:
    """People whose joints all walk on straight lines of their own."""
    random = torch.Generator().manual_seed(0)
    clips = []
    for length in lengths:
        start = torch.rand(17, 3, generator=random) + torch.tensor([0, 0, 0.5])
        speed = torch.rand(17, 3, generator=random) - 0.5
        clips.append(start + speed * torch.arange(length)[:, None, None] / fps)
    sizes = torch.tensor(lengths)
    names = tuple(str(number) for number in range(len(lengths)))
    return Motion(torch.cat(clips), sizes.cumsum(0) - sizes, sizes, names, names, names, fps, ())


def filmed(motion: Motion, *, noise: bool) -> Sequences:
    return film(motion, Views(noise=noise), seed=3)


@pytest.fixture(scope="module")
def detected() -> Sequences:
    sequences = filmed(moving((60, 31, 4)), noise=True)
    keypoints = sequences.keypoints.clone()
    keypoints[:5, 3] = torch.nan  # not seen at first
    keypoints[20:30, 11:14] = torch.nan
    # Of the first sequence not all frames are scored, of the last none.
    valid = torch.ones_like(sequences.valid)
    valid[7:12] = False
    valid[-4:] = False
    return replace(sequences, keypoints=keypoints, valid=valid)


def subject(
    missing_joints: str, system: str = "pstmo", *, expected_error: bool = False, smoothed: bool = False
) -> Subject:
    token = missing_joints == "token"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter: Lifter
        if system == "pstmo":
            config = STMOConfig(
                frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=token, expected_error=expected_error
            )
            lifter = STMO(config).eval()
        else:
            lifter = MixSTE(MixSTEConfig(9, 16, 32, 1, heads=2, mask_token=token)).eval()
    manifest = Manifest.model_validate(
        {
            "name": "small",
            "system": system,
            "network": {"frames": 9, "expected_error": expected_error},
            "input_skeleton": "h36m17",
            "output_skeleton": "h36m17",
            "frame_rate_hz": 50,
            "temporal_stride": 3,
            "smoothed": smoothed,
            "missing_joints": missing_joints,
        }
    )
    return Subject(lifter.for_inference(), manifest)


def without_root(poses: torch.Tensor) -> torch.Tensor:
    return poses.index_fill(1, torch.tensor([0]), 0)


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("missing_joints", ["token", "hold"])
def test_finished_clips_are_lifted_as_papers_do_it(detected: Sequences, missing_joints: str, smoothed: bool) -> None:
    who = subject(missing_joints, smoothed=smoothed)
    expected = without_root(predict(who.lifter, who.manifest, detected))
    assert len(expected) == 86
    torch.testing.assert_close(serve(who.lifter, who.manifest, detected).joints, expected, rtol=0, atol=SAME_POSES_M)


@pytest.mark.parametrize("smoothed", [False, True])
def test_papers_and_server_take_the_same_moments_at_another_rate(smoothed: bool) -> None:
    who = subject("token", smoothed=smoothed)
    faster = filmed(moving((90,), fps=100), noise=True)
    expected = without_root(predict(who.lifter, who.manifest, faster))
    torch.testing.assert_close(serve(who.lifter, who.manifest, faster).joints, expected, rtol=0, atol=SAME_POSES_M)


def test_data_without_the_frames_that_a_lifter_smooths_is_refused() -> None:
    who = subject("token", smoothed=True)
    slower = who.manifest.model_copy(update={"frame_rate_hz": 100, "temporal_stride": 4})
    with pytest.raises(InvalidDataset, match="every 10 ms"):
        stride_of(slower, filmed(moving((9,)), noise=False))


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
def test_the_full_lookahead_is_the_finished_clip(detected: Sequences, missing_joints: str) -> None:
    who = subject(missing_joints)
    full = LiveWindow.of(who.manifest, 50, None).lookahead
    live = serve(who.lifter, who.manifest, detected, lookahead=full).joints
    torch.testing.assert_close(live, serve(who.lifter, who.manifest, detected).joints, rtol=0, atol=SAME_POSES_M)


@pytest.mark.parametrize("smoothed", [False, True])
def test_whole_windows_are_blended_as_they_are_served(detected: Sequences, smoothed: bool) -> None:
    who = subject("token", "mixste", smoothed=smoothed)
    expected = without_root(predict(who.lifter, who.manifest, detected, blended=True))
    torch.testing.assert_close(serve(who.lifter, who.manifest, detected).joints, expected, rtol=0, atol=SAME_POSES_M)


@pytest.mark.parametrize(("missing_joints", "system"), [("token", "pstmo"), ("hold", "pstmo"), ("token", "mixste")])
@pytest.mark.parametrize("lookahead", [0, 5])
def test_little_lookahead_is_a_stream(detected: Sequences, missing_joints: str, system: str, lookahead: int) -> None:
    who = subject(missing_joints, system)
    window = LiveWindow.of(who.manifest, 50, lookahead)
    screen = detected.keypoints[:60].numpy()
    imputed = np.isnan(screen[..., 0])
    expected = []
    for target in detected.valid[:60].nonzero()[:, 0].tolist():
        come = min(target + lookahead + 1, 60)  # nothing later is there
        shown = screen[:come] if missing_joints == "token" else hold_last_seen(screen[:come])
        prepared = window.prepare(KeptFrames(0, shown, imputed[:come]), range(target, target + 1))
        with torch.inference_mode():
            answer = who.lifter(torch.from_numpy(prepared.frames[prepared.index])).answer
            expected.append(torch.from_numpy(prepared.poses(finish(answer, who.manifest).numpy()).joints))
    live = serve(who.lifter, who.manifest, detected, lookahead=lookahead).joints
    torch.testing.assert_close(live[:55], torch.cat(expected), rtol=0, atol=SAME_POSES_M)


def test_the_work_is_counted(detected: Sequences) -> None:
    who = subject("token")
    done: list[int] = []
    serve(who.lifter, who.manifest, detected, lookahead=0, advance=done.append)
    assert sum(done) == int(detected.valid.sum())


def test_two_neighbours_of_every_ten_frames_are_scored(detected: Sequences) -> None:
    scored = thinned(replace(detected, valid=torch.ones_like(detected.valid))).valid.nonzero()[:, 0].tolist()
    assert scored[:6] == [0, 1, 10, 11, 20, 21]
    assert 60 in scored  # every sequence counts from its own first frame
    assert set(thinned(detected).valid.nonzero()[:, 0].tolist()) < set(scored)


def test_motion_is_interpolated_between_its_frames() -> None:
    slow, fast = moving((60, 31), fps=50), moving((60, 31), fps=50).at_rate(300)
    assert fast.lengths.tolist() == [59 * 6 + 1, 30 * 6 + 1]
    assert fast.fps == 300
    torch.testing.assert_close(fast.joints[::6][:60], slow.joints[:60])
    first = fast.joints[: 59 * 6 + 1]
    times = torch.arange(len(first))[:, None, None] / 300
    speed = (first[-1] - first[0]) / (59 / 50)
    torch.testing.assert_close(first, first[0] + speed * times, rtol=0, atol=SAME_PLACES)
    assert slow.at_rate(25).lengths.tolist() == [30, 16]
    torch.testing.assert_close(slow.at_rate(25).joints[:30], slow.joints[:60:2])


@pytest.mark.parametrize("noise", [False, True])
def test_frame_rates_show_the_same_moments(noise: bool) -> None:
    motion = moving((60, 31))
    cases = list(frame_rate_cases(motion, partial(filmed, noise=noise)))
    assert [case.name for case in cases] == [f"{rate} fps" for rate in FRAME_RATES]
    shown = []
    for case, rate in zip(cases, FRAME_RATES, strict=True):
        frames = case.sequences
        assert frames.frame_rate_hz == rate
        assert frames.lengths.tolist() == [int(59 / 50 * rate) + 1, int(30 / 50 * rate) + 1]
        # Every joint walks straight, whatever the rate, in camera coordinates too.
        absolute = frames.joints + frames.roots[:, None]
        walk = absolute[: int(frames.lengths[0])].diff(dim=0) * rate
        torch.testing.assert_close(walk, walk[:1].expand_as(walk), rtol=0, atol=2e-3)
        common = frames.places % (rate // 5) == 0
        assert not (frames.valid & ~common).any()
        shown.append((frames.keypoints[common], frames.joints[common]))
    for keypoints, joints in shown:
        assert len(keypoints) == 6 + 4  # every fifth of a second
        torch.testing.assert_close(keypoints, shown[0][0], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(joints, shown[0][1], rtol=0, atol=0)


def test_a_network_is_served_at_any_frame_rate() -> None:
    motion = moving((60, 31))
    who = subject("token")
    cases = list(frame_rate_cases(motion, partial(filmed, noise=False)))
    poses = {case.name: serve(who.lifter, who.manifest, replace_valid(case.sequences)).joints for case in cases}
    assert {name: len(found) for name, found in poses.items()} == {case.name: 10 for case in cases}
    # Far from the ends windows hold the same moments, up to interpolation on the way of the keypoints.
    amid = slice(2, 5)
    for found in poses.values():
        torch.testing.assert_close(found[amid], poses["50 fps"][amid], rtol=0, atol=0.02)


def replace_valid(sequences: Sequences) -> Sequences:
    """All common moments scored, wherever the person stands in the picture."""
    assert sequences.frame_rate_hz is not None
    return replace(sequences, valid=sequences.places % int(sequences.frame_rate_hz // 5) == 0)


def test_gaussian_noise_has_the_deviation_it_is_named_after(detected: Sequences) -> None:
    exact = filmed(moving((400,)), noise=False)
    cases = list(keypoint_cases(exact, detected))
    assert [case.name for case in cases] == [
        "exact",
        "Gaussian, 0.01",
        "Gaussian, 0.03",
        "Gaussian, 0.05",
        "detector-like",
    ]
    for case, deviation in zip(cases[1:4], (0.01, 0.03, 0.05), strict=True):
        noise = case.sequences.keypoints - exact.keypoints
        assert noise.std().item() == pytest.approx(deviation, rel=0.05)
        assert noise.mean().item() == pytest.approx(0, abs=0.1 * deviation)
    again = list(keypoint_cases(exact, detected))[2].sequences.keypoints
    assert torch.equal(again, cases[2].sequences.keypoints)


def test_lookahead_stops_at_what_the_window_reaches(detected: Sequences) -> None:
    manifest = subject("token").manifest  # 4 samples after the middle, 3 frames apart
    cases = list(lookahead_cases(manifest, detected))
    assert [(case.name, case.lookahead) for case in cases] == [("0 frames", 0), ("5 frames", 5), ("full", None)]


def test_missing_joints_are_missing(detected: Sequences) -> None:
    exact = filmed(moving((60,)), noise=False)
    cases = {case.name: case.sequences for case in missing_cases(exact)}
    assert list(cases) == ["0 %", "10 %", "20 %", "40 %", "left arm", "right arm", "left leg", "right leg"]
    assert not cases["0 %"].keypoints.isnan().any()
    assert cases["left arm"].keypoints[:, exact.skeleton.limbs["left arm"]].isnan().all()
    assert cases["left arm"].keypoints.isnan().sum() == 60 * 3 * 2


def test_a_series_tells_costs_over_its_reference(detected: Sequences) -> None:
    who = subject("token")
    series = who.series(
        "what", [Case("all", detected), Case("none", detected, 0)], reference="all", note="What is shown."
    )
    assert series.scores["all"].frames == series.scores["none"].frames == 86
    assert series.cost_percent("all") == 0
    scores = Scores(1, 100.0, 0, 0, 0, 0, 0)
    made_up = Series({"a": scores, "b": replace(scores, mpjpe_mm=112.0)}, "a", "")
    assert made_up.cost_percent("b") == pytest.approx(12)


def test_expected_errors_are_held_against_true_ones(detected: Sequences) -> None:
    who = subject("token", expected_error=True)
    joints, expected_error_m = serve(who.lifter, who.manifest, detected)
    assert expected_error_m is not None
    assert expected_error_m.shape == (86, 17)
    (tenths,) = who.calibration([Case("all", detected)]).values()
    assert sum(tenth.joints for tenth in tenths) == 86 * 16
    expected_mm = 1000 * expected_error_m[:, 1:]
    true_mm = 1000 * (joints - detected.joints[detected.valid]).norm(dim=-1)[:, 1:]
    assert sum(tenth.joints * tenth.expected_mm for tenth in tenths) == pytest.approx(expected_mm.sum().item())
    assert sum(tenth.joints * tenth.true_mm for tenth in tenths) == pytest.approx(true_mm.sum().item())
    assert [tenth.expected_mm for tenth in tenths] == sorted(tenth.expected_mm for tenth in tenths)
    assert who.series("", [Case("all", detected)], reference="all", note="").scores["all"].frames == 86
    assert subject("token").calibration([Case("all", detected)]) == {}


def test_films_know_which_way_is_up() -> None:
    motion = moving((40, 40))
    for pitch in (0.0, 25.0):
        up = film(motion, Views(noise=False, pitch_deg=pitch, pitch_spread_deg=0), seed=3).up
        assert up is not None
        torch.testing.assert_close(up.norm(dim=-1), torch.ones(2))
        assert torch.rad2deg(torch.asin(-up[:, 2])).tolist() == pytest.approx([pitch] * 2, abs=1e-3)
        assert (up[:, 1] < 0).all()  # y points down in the picture
