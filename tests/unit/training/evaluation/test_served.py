"""Data with known poses is lifted as the server lifts it."""

import numpy as np
import pytest
import torch
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.predict import predict
from poselift_training.evaluation.served import lift_as_served

from poselift.averaged_window import stream_window
from poselift.lifting import finish
from poselift.live_window import KeptFrames, LiveWindow
from poselift.missing import hold_last_seen
from tests.unit.training.evaluation.walkers import moving, untrained_lifter, views_of, without_root

SAME_POSES_M = 1e-5


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("missing_joints", ["token", "hold"])
def test_finished_clips_are_lifted_as_in_the_papers(detected: Sequences, missing_joints: str, smoothed: bool) -> None:
    who = untrained_lifter(missing_joints, smoothed=smoothed)
    expected = without_root(predict(who.lifter, who.manifest, detected))
    assert len(expected) == 86
    torch.testing.assert_close(
        lift_as_served(who.lifter, who.manifest, detected).joints, expected, rtol=0, atol=SAME_POSES_M
    )


@pytest.mark.parametrize("smoothed", [False, True])
def test_evaluation_and_server_sample_the_same_moments_at_another_rate(smoothed: bool) -> None:
    who = untrained_lifter("token", smoothed=smoothed)
    faster = views_of(moving((90,), fps=100), noise=True)
    expected = without_root(predict(who.lifter, who.manifest, faster))
    torch.testing.assert_close(
        lift_as_served(who.lifter, who.manifest, faster).joints, expected, rtol=0, atol=SAME_POSES_M
    )


@pytest.mark.parametrize("missing_joints", ["token", "hold"])
def test_full_lookahead_equals_the_finished_clip(detected: Sequences, missing_joints: str) -> None:
    who = untrained_lifter(missing_joints)
    full = LiveWindow.of(who.manifest, 50, None).lookahead
    live = lift_as_served(who.lifter, who.manifest, detected, lookahead=full).joints
    torch.testing.assert_close(
        live, lift_as_served(who.lifter, who.manifest, detected).joints, rtol=0, atol=SAME_POSES_M
    )


@pytest.mark.parametrize("smoothed", [False, True])
def test_whole_windows_are_blended_as_they_are_served(detected: Sequences, smoothed: bool) -> None:
    who = untrained_lifter("token", "mixste", smoothed=smoothed)
    expected = without_root(predict(who.lifter, who.manifest, detected, blended=True))
    torch.testing.assert_close(
        lift_as_served(who.lifter, who.manifest, detected).joints, expected, rtol=0, atol=SAME_POSES_M
    )


@pytest.mark.parametrize(("missing_joints", "system"), [("token", "pstmo"), ("hold", "pstmo"), ("token", "mixste")])
@pytest.mark.parametrize("lookahead", [0, 5])
def test_short_lookahead_equals_a_stream(detected: Sequences, missing_joints: str, system: str, lookahead: int) -> None:
    who = untrained_lifter(missing_joints, system)
    window = stream_window(who.manifest, 50, lookahead)
    screen = detected.keypoints[:60].numpy()
    imputed = np.isnan(screen[..., 0])
    expected = []
    for target in detected.valid[:60].nonzero()[:, 0].tolist():
        come = min(target + lookahead + 1, 60)  # nothing later is there
        shown = screen[:come] if missing_joints == "token" else hold_last_seen(screen[:come])
        prepared = window.prepare(KeptFrames(0, shown, imputed[:come]), range(target, target + 1))
        with torch.inference_mode():
            answer = who.lifter(torch.from_numpy(prepared.frames[prepared.index])).answer
            expected.append(torch.from_numpy(prepared.poses(finish(answer, who.manifest).numpy(), who.manifest).joints))
    live = lift_as_served(who.lifter, who.manifest, detected, lookahead=lookahead).joints
    torch.testing.assert_close(live[:55], torch.cat(expected), rtol=0, atol=SAME_POSES_M)


def test_progress_counts_every_frame(detected: Sequences) -> None:
    who = untrained_lifter("token")
    done: list[int] = []
    lift_as_served(who.lifter, who.manifest, detected, lookahead=0, advance=done.append)
    assert sum(done) == int(detected.valid.sum())
