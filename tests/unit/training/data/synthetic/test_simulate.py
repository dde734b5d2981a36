import pytest
import torch
from poselift_training.data.synthetic.simulate import simulate_views
from poselift_training.data.synthetic.views import Views

from tests.unit.training.evaluation.walkers import moving


def test_frames_outside_of_the_picture_are_not_scored(motion):
    close = Views(noise=True, person_height=(1.05, 1.05), off_centre=1.0)
    films = simulate_views(motion, close, seed=3, longest_s=0.5)
    scored = films.valid
    assert 0 < scored.float().mean() < 1
    seen = ~films.keypoints[..., 0].isnan()
    assert seen[~scored].float().mean() < 0.5 < seen[scored].float().mean()


def test_films_are_whole_clips_frame_after_frame(motion):
    films = simulate_views(motion, Views(), seed=3, longest_s=1.0)
    assert films.lengths.tolist() == [40, 40, 40, 35, 35]
    assert set(films.actions) == {"CMU: sway", "ReActIdle: sway"}
    again = simulate_views(motion, Views(), seed=3, longest_s=1.0)
    torch.testing.assert_close(films.keypoints, again.keypoints, rtol=0, atol=0, equal_nan=True)


def test_fixed_cameras_film_each_clip_as_often_as_there_are_cameras(motion):
    films = simulate_views(motion, Views(), seed=3, cameras=3)
    assert len(films.keypoints) == 3 * len(motion.joints)
    assert len(set(films.cameras)) == 3 * len(motion.lengths)
    first, second = films.keypoints[:120], films.keypoints[120:240]
    assert not torch.equal(first.nan_to_num(0), second.nan_to_num(0))


def test_films_know_which_way_is_up() -> None:
    motion = moving((40, 40))
    for pitch in (0.0, 25.0):
        up = simulate_views(motion, Views(noise=False, pitch_deg=pitch, pitch_spread_deg=0), seed=3).up
        assert up is not None
        torch.testing.assert_close(up.norm(dim=-1), torch.ones(2))
        assert torch.rad2deg(torch.asin(-up[:, 2])).tolist() == pytest.approx([pitch] * 2, abs=1e-3)
        assert (up[:, 1] < 0).all()  # y points down in the picture
