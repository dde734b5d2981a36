import pytest
import torch
from poselift_training.data.synthetic.simulate import simulate_views
from poselift_training.data.synthetic.views import Views

from tests.unit.training.evaluation.walkers import moving


def test_frames_outside_of_the_picture_are_not_scored(motion):
    close = Views(noise=True, person_height=(1.05, 1.05), off_centre=1.0)
    views = simulate_views(motion, close, seed=3, longest_s=0.5)
    scored = views.valid
    assert 0 < scored.float().mean() < 1
    seen = ~views.keypoints[..., 0].isnan()
    assert seen[~scored].float().mean() < 0.5 < seen[scored].float().mean()


def test_views_cover_every_frame_of_whole_clips(motion):
    views = simulate_views(motion, Views(), seed=3, longest_s=1.0)
    assert views.lengths.tolist() == [40, 40, 40, 35, 35]
    assert set(views.actions) == {"CMU: sway", "ReActIdle: sway"}
    again = simulate_views(motion, Views(), seed=3, longest_s=1.0)
    torch.testing.assert_close(views.keypoints, again.keypoints, rtol=0, atol=0, equal_nan=True)


def test_each_fixed_camera_sees_every_clip(motion):
    views = simulate_views(motion, Views(), seed=3, cameras=3)
    assert len(views.keypoints) == 3 * len(motion.joints)
    assert len(set(views.cameras)) == 3 * len(motion.lengths)
    first, second = views.keypoints[:120], views.keypoints[120:240]
    assert not torch.equal(first.nan_to_num(0), second.nan_to_num(0))


def test_views_include_the_up_direction() -> None:
    motion = moving((40, 40))
    for pitch in (0.0, 25.0):
        up = simulate_views(motion, Views(noise=False, pitch_deg=pitch, pitch_spread_deg=0), seed=3).up
        assert up is not None
        torch.testing.assert_close(up.norm(dim=-1), torch.ones(2))
        assert torch.rad2deg(torch.asin(-up[:, 2])).tolist() == pytest.approx([pitch] * 2, abs=1e-3)
        assert (up[:, 1] < 0).all()  # y points down in the picture
