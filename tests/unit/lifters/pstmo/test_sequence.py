"""P-STMO from sequence to sequence: sizes, distances, what frames see, poses, the inference form."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from poselift.errors import InvalidArtifact
from poselift.known import KNOWN_ROWS
from poselift.lifters.lifter import Poses
from poselift.lifters.pstmo.losses import sequence_loss
from poselift.lifters.pstmo.network import STMOConfig
from poselift.lifters.pstmo.sequence import (
    DistanceBias,
    SequenceSTMO,
    SequenceSTMOConfig,
    block_mask,
    encode_targets,
)
from poselift.lifters.systems import build, cost, served_cost
from poselift.live_samples import live_distances, live_reach
from poselift.skeletons import skeleton
from tests.unit.lifters.pstmo.small_sequence import small, trained_like

FUSED = 2e-5
"""What the inference form may differ by: folding changes the order of rounding."""
MISSING = float("nan")
H36M = skeleton("h36m17")


# Sizes


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"frames": 0}, "frames"),
        ({"frames": "27"}, "frames"),
        ({"channels": 36}, "channels"),
        ({"layers": 0}, "layers"),
        ({"hidden": 1.5}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"hidden_future": "half"}, "hidden_future"),
        ({"expected_error": 1}, "expected_error"),
    ],
)
def test_impossible_sizes_are_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArtifact) as refused:
        build("pstmo-sequence", {"frames": 27} | settings)
    assert refused.value.path == f"network.{field}"


def test_build_returns_the_network_of_the_manifest() -> None:
    config = small(expected_error=True)
    lifter = build("pstmo-sequence", dataclasses.asdict(config))
    assert lifter.config == config
    assert lifter.config.sequence_to_sequence
    assert lifter.receptive_field == 9


def test_a_pose_costs_a_fraction_of_many_to_one() -> None:
    shipped = STMOConfig(27, channels=128, hidden=256, mask_token=True, person_centred=True)
    many_to_one = cost("pstmo", shipped).flops.full
    whole = cost("pstmo-sequence", SequenceSTMOConfig(27, channels=128, hidden=256, layers=3)).flops.full
    assert many_to_one / (whole / 27) == pytest.approx(36, abs=2)


@torch.no_grad()
def test_operations_for_a_target_are_those_of_its_products() -> None:
    config = SequenceSTMOConfig(27, channels=128, hidden=512, layers=6, known=True, gravity=True)
    with torch.device("meta"):
        lifter, frames = SequenceSTMO(config).eval(), torch.zeros(1, 27, 17 + KNOWN_ROWS, 2)
    biases = [torch.zeros(1, 8, q, k, device="meta") for q, k in ((13, 27), (13, 13), (7, 13), (4, 7), (2, 4), (1, 2))]
    with FlopCounterMode(display=False) as counter:
        lifter.frames_head(encode_targets(lifter.temporal.layers, lifter.embed(frames), biases))
    assert served_cost("pstmo-sequence", config).live_frame == counter.get_total_flops()


def test_operations_are_those_of_the_products() -> None:
    config = small()
    embedding = 38 * 64 + 2 * 64 * 64 + 64 * 32
    layer = 4 * 32 * 32 + 2 * 32 * 48 + 2 * 9 * 32
    assert cost("pstmo-sequence", config).flops.full == 2 * 9 * (embedding + 2 * layer + 32 * 51)


# Distances


def test_only_distances_tell_frames_apart() -> None:
    bias = DistanceBias(layers=1, heads=2, reach=3)
    bias.by_distance.data.normal_()
    biases = bias(torch.arange(6))[0]
    assert biases.shape == (2, 6, 6)
    assert torch.equal(biases[:, 1:, 1:], biases[:, :-1, :-1])
    assert not torch.equal(biases[:, 0, 1], biases[:, 1, 0])  # after is not before
    assert torch.equal(biases[:, 0, 4], biases[:, 0, 3])  # beyond its reach all are as far
    visible = torch.tensor([0, 2, 5])
    assert torch.equal(bias(visible)[0], biases[:, visible][:, :, visible])


@torch.no_grad()
def test_windows_of_any_length_can_be_run() -> None:
    lifter = trained_like(small(expected_error=True))
    for frames in (1, 5, 9, 20):
        windows = torch.randn(2, frames, 17, 2)
        for form in (lifter, lifter.for_inference()):
            assert form(windows).answer.shape == (2, frames, 17, 4)
        torch.testing.assert_close(
            lifter.for_inference()(windows).answer, lifter(windows).answer, atol=FUSED, rtol=FUSED
        )


@torch.no_grad()
def test_all_frames_look_at_all_frames_in_order() -> None:
    lifter = trained_like(small())
    windows = torch.randn(1, 9, 17, 2)
    poses = lifter(windows).frames
    assert poses is not None
    changed = windows.clone()
    changed[:, 8] += 1
    assert (lifter(changed).frames - poses).abs().amax(dim=(0, 2, 3)).min() > 1e-4
    assert (lifter(windows.flip(1)).frames.flip(1) - poses).abs().max() > 1e-3


# What frames see in training


def test_blocks_hide_what_follows_them() -> None:
    mask = block_mask(400, 12, 1.0, torch.device("cpu"))
    assert mask.shape == (400, 12, 12)
    past = torch.ones(12, 12).tril().bool()
    assert mask[:, past].all()
    ahead = (mask & ~past).sum(dim=-1)
    assert ahead.max() == 5
    for furthest in (0, 1, 5):
        assert (ahead.amax(dim=1) == furthest).float().mean().item() == pytest.approx(1 / 3, abs=0.12)
    # Whoever sees a frame sees no less than that frame does: so it holds through several layers.
    reached = mask.float() @ mask.float()
    assert torch.equal(reached > 0, mask)


def test_a_share_of_the_windows_hides_its_future() -> None:
    whole = block_mask(1000, 12, 0.3, torch.device("cpu")).flatten(1).all(dim=1)
    assert whole.float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert block_mask(50, 12, 0.0, torch.device("cpu")).all()


def test_the_future_is_hidden_in_training_alone() -> None:
    lifter = trained_like(small(hidden_future=0.9))
    embedded = torch.randn(64, 9, 32)
    changed = embedded.clone()
    changed[:, 8] += 1
    with torch.no_grad():
        assert first_pose_differs(lifter, embedded, changed).all()
        lifter.train()
        lifter.frames_head.eval()  # in training its statistics are those of the whole batch
        assert first_pose_differs(lifter, embedded, changed).float().mean() < 0.5


def first_pose_differs(lifter: SequenceSTMO, *embedded: torch.Tensor) -> torch.Tensor:
    """In which windows [B] the pose of the first frame is not the same for both, under the same masks."""
    poses = []
    for tokens in embedded:
        torch.manual_seed(1)
        frames = lifter.aggregate(tokens).frames
        assert frames is not None
        poses.append(frames[:, 0])
    return (poses[1] - poses[0]).abs().amax(dim=(1, 2)) > 1e-6


# Poses, losses, sharing


def test_training_gives_every_parameter_a_gradient() -> None:
    lifter = trained_like(small(expected_error=True, hidden_future=0.5)).train()
    windows = torch.randn(8, 9, 17, 2)
    windows[0, 3, 5] = MISSING
    poses = lifter(windows)
    assert poses.centre is None
    sequence_loss(poses, torch.randn(8, 9, 17, 3), H36M).backward()
    assert [name for name, p in lifter.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_it_trains_in_mixed_precision() -> None:
    lifter = trained_like(small(expected_error=True)).train()
    windows, target = torch.randn(4, 9, 17, 2), torch.randn(4, 9, 17, 3)
    gradients = []
    for mixed in (False, True):
        lifter.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            poses = lifter(windows).frames
        assert poses is not None
        (poses.float() - target).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in lifter.parameters() if p.grad is not None]))
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.99


def test_loss_is_the_mean_distance_of_all_frames() -> None:
    frames, target = torch.zeros(1, 9, 17, 3), torch.zeros(1, 9, 17, 3)
    target[0, 3, 4] = torch.tensor([3.0, 0.0, 4.0])
    poses = Poses(centre=None, frames=frames)
    assert sequence_loss(poses, target, H36M).item() == pytest.approx(5 / (9 * 17))
    expected = torch.full((1, 9, 17), 0.5)
    expected[..., 0] = 1e6  # the root is always right, so nothing is expected of it
    taught = sequence_loss(dataclasses.replace(poses, expected_error=expected), target, H36M)
    log_half = torch.tensor(0.5).log().item()
    assert taught.item() == pytest.approx(5 / (9 * 17) + log_half + 5 / 0.5 / (9 * 16))


def test_expected_errors_do_not_teach_the_poses() -> None:
    lifter = trained_like(small(expected_error=True)).train()
    poses, target = lifter(torch.randn(4, 9, 17, 2)), torch.randn(4, 9, 17, 3)
    without = dataclasses.replace(poses, expected_error=None)
    (sequence_loss(poses, target, H36M) - sequence_loss(without, target, H36M)).backward()
    taught = {name.split(".")[0] for name, p in lifter.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"error_head"}


@torch.no_grad()
def test_windows_may_share_embedded_frames() -> None:
    exact = trained_like(small())
    frames = torch.randn(20, 17, 2)
    frames[::3, 5] = MISSING
    frames[7] = MISSING
    index = (torch.arange(20).unsqueeze(1) + torch.arange(9) - 4).clamp(0, 19)
    expected = exact(frames[index]).frames
    assert expected is not None
    assert expected.isfinite().all()
    for lifter in (exact, exact.for_inference()):
        shared = lifter.aggregate(lifter.embed(frames)[index]).frames
        torch.testing.assert_close(shared, expected, atol=FUSED, rtol=FUSED)


@torch.no_grad()
def test_inference_form_is_a_copy() -> None:
    lifter = trained_like(small())
    fused = lifter.for_inference()
    windows = torch.randn(1, 9, 17, 2)
    before = fused(windows).frames
    for parameter in lifter.parameters():
        parameter.zero_()
    assert torch.equal(fused(windows).frames, before)
    assert fused.for_inference() is fused
    assert fused.config == lifter.config
    assert not any(parameter.requires_grad for parameter in fused.parameters())


# Targets of live windows alone


@torch.no_grad()
@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_one_layer_leaves_nothing_out(ahead: int) -> None:
    lifter = trained_like(small(layers=1, expected_error=True, gravity=True))
    target = live_reach(9)
    windows = torch.randn(3, target + ahead + 1, 17, 2)
    places = target + torch.from_numpy(live_distances(9)[ahead])
    encoded = lifter.temporal(lifter.embed(windows), visible=places.sort().values)
    assert lifter.error_head is not None
    errors = lifter.error_head(encoded)
    whole = Poses(centre=None, frames=lifter.frames_head(encoded), expected_error=errors).answer[:, 8 - ahead]
    for form in (lifter, lifter.for_inference()):
        poses = form.lift_targets(form.embed(windows[:, places]), torch.full((3,), ahead))
        torch.testing.assert_close(poses.answer, whole, atol=FUSED, rtol=FUSED)


@torch.no_grad()
def test_targets_of_any_window_may_be_lifted_together() -> None:
    lifter = trained_like(small(layers=4, expected_error=True))
    fused = lifter.for_inference()
    samples, ahead = torch.randn(5, 9, 17, 2), torch.arange(5)
    together = lifter.lift_targets(lifter.embed(samples), ahead).answer
    assert together.shape == (5, 17, 4)
    torch.testing.assert_close(fused.lift_targets(fused.embed(samples), ahead).answer, together, atol=FUSED, rtol=FUSED)
    for one in range(5):
        alone = lifter.lift_targets(lifter.embed(samples[[one]]), ahead[[one]]).answer
        torch.testing.assert_close(alone[0], together[one], atol=FUSED, rtol=FUSED)


@torch.no_grad()
def test_every_sample_has_influence_on_the_target() -> None:
    lifter = trained_like(small(layers=4))
    samples, ahead = torch.randn(1, 9, 17, 2), torch.tensor([2])
    pose = lifter.lift_targets(lifter.embed(samples), ahead).answer
    for sample in range(9):
        changed = samples.clone()
        changed[:, sample] += 1
        assert (lifter.lift_targets(lifter.embed(changed), ahead).answer - pose).abs().max() > 1e-4
