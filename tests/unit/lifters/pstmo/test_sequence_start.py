"""What P-STMO from sequence to sequence starts with."""

import torch
from torch import nn

from poselift.lifters.blocks import TransformerLayer
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.sequence import SequenceSTMO
from poselift.lifters.pstmo.sequence_start import start_from
from tests.unit.lifters.pstmo.small_sequence import small

FUSED = 2e-5
"""What the inference form may differ by: folding changes the order of rounding."""
MISSING = float("nan")


@torch.no_grad()
def test_fresh_layers_change_nothing() -> None:
    fresh = SequenceSTMO(small()).eval()
    embedded = torch.randn(2, 9, 32)
    assert torch.equal(fresh.temporal(embedded), embedded)


def many_to_one_like(position: torch.Tensor) -> STMO:
    config = STMOConfig(9, channels=32, hidden=48, layers=2, mask_token=True, person_centred=True, expected_error=True)
    lifter = STMO(config).eval()
    lifter.temporal.position.data[:] = position
    return lifter


@torch.no_grad()
def test_it_starts_where_a_many_to_one_network_is() -> None:
    many_to_one = many_to_one_like(torch.randn(32))  # the same for all frames, so that distances are nothing
    lifter = SequenceSTMO(small(layers=3, expected_error=True)).eval()
    state = start_from(lifter.config, many_to_one.state_dict())
    assert not lifter.load_state_dict(state, strict=False).unexpected_keys
    windows = torch.randn(2, 9, 17, 2)
    expected = many_to_one.frames_head(many_to_one.temporal(many_to_one.embed(windows)))
    torch.testing.assert_close(lifter(windows).frames, expected, atol=FUSED, rtol=FUSED)
    added = torch.nn.init.normal_(torch.empty(2, 9, 32))
    assert torch.equal(lifter.temporal.layers[2](added), added)
    own = lifter.state_dict()
    assert start_from(lifter.config, own).keys() == own.keys()


@torch.no_grad()
def test_it_starts_where_a_narrower_network_is() -> None:
    narrow, wide = SequenceSTMO(small(hidden=48)).eval(), SequenceSTMO(small(hidden=80)).eval()
    for layer in narrow.temporal.layers:
        assert isinstance(layer, TransformerLayer)
        nn.init.normal_(layer.narrow.weight)
    wide.load_state_dict(start_from(wide.config, narrow.state_dict()))
    windows = torch.randn(2, 9, 17, 2)
    torch.testing.assert_close(wide(windows).frames, narrow(windows).frames, atol=FUSED, rtol=FUSED)


@torch.no_grad()
def test_positions_become_distances() -> None:
    """Of a window in which nobody is seen, attention scores distances as the many-to-one network does."""
    many_to_one = many_to_one_like(torch.randn(9, 32))
    lifter = SequenceSTMO(small(expected_error=True)).eval()
    lifter.load_state_dict(start_from(lifter.config, many_to_one.state_dict()), strict=False)
    blank = torch.full((1, 9, 17, 2), MISSING)
    old = scores_by_distance(many_to_one.temporal.layers[0], many_to_one.embed(blank) + many_to_one.temporal.position)
    new = scores_by_distance(lifter.temporal.layers[0], lifter.embed(blank)) + lifter.temporal.bias.by_distance[0]
    difference = new - old
    torch.testing.assert_close(difference, difference.mean(dim=1, keepdim=True).expand_as(difference))
    assert old.std(dim=1).min() > 0.01


def scores_by_distance(layer: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean scores of attention over one window [1, 9, 32], from a distance of -8 to 8: [8, 17]."""
    assert isinstance(layer, TransformerLayer)
    stacked = layer.attention.query_key_value(layer.attention_norm(tokens)).view(9, 3, 8, 4)
    scores = torch.einsum("ihc,jhc->hij", stacked[:, 0], stacked[:, 1]) / 2
    return torch.stack([scores.diagonal(d, -2, -1).mean(dim=-1) for d in range(-8, 9)], dim=-1)


@torch.no_grad()
def test_it_may_grow_without_a_change_of_its_poses() -> None:
    many_to_one = many_to_one_like(torch.randn(32))
    config = small(layers=3, hidden=80, expected_error=True, known=True, gravity=True)
    lifter = SequenceSTMO(config).eval()
    lifter.load_state_dict(start_from(config, many_to_one.state_dict()), strict=False)
    windows = torch.randn(2, 9, 17, 2)
    expected = many_to_one.frames_head(many_to_one.temporal(many_to_one.embed(windows)))
    poses = lifter(windows).frames
    assert poses is not None
    torch.testing.assert_close(poses[:, :, :17], expected, atol=FUSED, rtol=FUSED)
    torch.testing.assert_close(poses[:, :, 17], torch.tensor([0.0, 1.0, 0.0]).expand(2, 9, 3))
    told = torch.cat([windows, torch.randn(2, 9, 4, 2)], dim=2)  # nothing is read yet
    torch.testing.assert_close(lifter(told).frames, poses)
