"""Other people made of recorded ones: proportions, children, limbs of somebody else."""

from typing import Any

import pytest
import torch
from poselift_training.data.synthetic.bodies import bones_of, compose, draw_proportions, scale_bones, with_bones
from poselift_training.data.synthetic.views import Views

from poselift.errors import InvalidRecipe
from poselift.skeletons import skeleton
from tests.unit.training.data.synthetic.sampling import draw_windows

H36M = skeleton("h36m17")
J = {name: index for index, name in enumerate(H36M.joint_names)}
SAME_LENGTH_M = 1e-5


@pytest.fixture
def people():
    """Two sorts of people [8, 5, 17, 3] whose limbs point anywhere, upright at the trunk."""
    generator = torch.Generator().manual_seed(1)
    bones = torch.randn(8, 5, 17, 3, generator=generator)
    for joint in ("spine", "thorax"):
        bones[:, :, J[joint]] = torch.tensor([0.0, 0.0, 0.25]) + 0.02 * bones[:, :, J[joint]]
    for joint, side in (("left_hip", 0.1), ("right_hip", -0.1), ("left_shoulder", 0.17), ("right_shoulder", -0.17)):
        bones[:, :, J[joint]] = torch.tensor([side, 0.0, 0.0]) + 0.01 * bones[:, :, J[joint]]
    lengths = 0.2 + 0.2 * torch.rand(8, 1, 17, 1, generator=generator)
    limbs = [J[f"{side}_{joint}"] for side in ("left", "right") for joint in ("knee", "ankle", "elbow", "wrist")]
    bones[:, :, limbs] = (lengths * torch.nn.functional.normalize(bones, dim=-1))[:, :, limbs]
    bones[:, :, 0] = 0
    place = torch.zeros(8, 5, 17, 3) + torch.tensor([1.0, 2.0, 0.9])
    return with_bones(place, bones)


def lengths(people):
    return bones_of(people).norm(dim=-1)


def test_people_are_their_pelvis_and_their_bones(people):
    torch.testing.assert_close(with_bones(people, bones_of(people)), people)
    longer = scale_bones(people, torch.full((8, 1, 17, 1), 1.5))
    torch.testing.assert_close(lengths(longer), 1.5 * lengths(people))
    torch.testing.assert_close(longer[:, :, 0], people[:, :, 0])


def test_parts_of_the_body_grow_as_a_whole(people):
    ratio = lengths(draw_proportions(people, 0.2, 0.0, torch.Generator().manual_seed(1))) / lengths(people)
    ratio = ratio[:, 0]
    assert ratio[:, 1:].min() > 0.79
    assert ratio[:, 1:].max() < 1.21
    for part in (
        ("left_knee", "right_ankle"),
        ("spine", "thorax"),
        ("left_elbow", "right_wrist"),
        ("neck_nose", "head"),
    ):
        first, second = (ratio[:, J[joint]] for joint in part)
        torch.testing.assert_close(first, second)
    assert (ratio[:, J["left_knee"]] - ratio[:, J["left_elbow"]]).abs().max() > 0.05
    assert ratio[:, J["left_knee"]].std() > 0.05


def test_children_are_small_with_large_heads_and_walk_with_short_legs(people):
    children = draw_proportions(people, 0.0, 1.0, torch.Generator().manual_seed(1))
    ratio = (lengths(children) / lengths(people))[:, 0]
    legs, trunk, head = (ratio[:, J[joint]] for joint in ("left_knee", "spine", "head"))
    assert ((legs < trunk) & (trunk < head) & (head < 1)).all()
    assert trunk.min() > 0.5
    torch.testing.assert_close(children[:, :, 0], people[:, :, 0] * legs[:, None, None])


def test_composed_people_keep_the_lengths_of_their_bones(people):
    composed = compose(people, 1.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(lengths(composed), lengths(people), rtol=0, atol=SAME_LENGTH_M)
    moved = (composed - people).abs().amax(dim=(1, 3)) > 1e-4
    assert moved.any(dim=1).all()
    assert not moved[:, 0].any()
    torch.testing.assert_close(compose(people, 0.0, torch.Generator().manual_seed(1)), people)


def test_a_limb_keeps_its_attitude_to_the_chest_of_the_person_it_comes_from(people):
    """Turning everybody on the spot, each by another angle, changes nothing but that the result is turned, too."""
    angle = torch.arange(8) * 0.7
    turn = torch.zeros(8, 1, 3, 3)
    turn[:, 0, 2, 2] = 1
    turn[:, 0, 0, 0] = turn[:, 0, 1, 1] = angle.cos()
    turn[:, 0, 0, 1], turn[:, 0, 1, 0] = -angle.sin(), angle.sin()
    composed = compose(people, 1.0, torch.Generator().manual_seed(1)) @ turn.transpose(-1, -2)
    other_way = compose(people @ turn.transpose(-1, -2), 1.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(other_way, composed, rtol=0, atol=1e-4)


def test_windows_and_targets_change_alike(motion):
    plain = draw_windows(motion, Views(noise=False, body_scale=0.0)).batch(0)
    varied = draw_windows(motion, Views(noise=False, body_scale=0.0, proportions=0.2, children=0.5)).batch(0)
    assert not torch.equal(varied.joints, plain.joints)
    stature = (varied.joints[:, 0, J["head"]] - varied.joints[:, 0, J["left_ankle"]]).norm(dim=-1)
    assert stature.min() < 1.2
    assert stature.max() > 1.6
    assert torch.isfinite(varied.windows).all()


@pytest.mark.parametrize("key", ["proportions", "children", "composed"])
def test_shares_lie_between_none_and_all(key):
    too_large: dict[str, Any] = {key: 1.5}
    with pytest.raises(InvalidRecipe, match=f"views.{key} is a share"):
        Views(**too_large)
