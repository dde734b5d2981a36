"""The lifter's own properties: sizes, missing joints, shared embeddings, the inference form, masks, costs."""

import dataclasses
from typing import Any

import pytest
import torch

from poselift.errors import InvalidArtifact
from poselift.lifters.frame_features import person_centre
from poselift.lifters.lifter import Poses
from poselift.lifters.official.pstmo import official_parameters
from poselift.lifters.pstmo.losses import expected_error_loss, lifting_loss, training_loss
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.pretraining import MaskedPoseModel, draw_masks
from poselift.lifters.systems import build, cost
from poselift.skeletons import skeleton

FUSED = 2e-5
"""What the inference form may differ by: folding changes the order of rounding."""
SHARED = 2e-5
"""Products over other batch sizes may round differently."""
MISSING = float("nan")


def small(frames: int = 27, **settings: Any) -> STMOConfig:
    return STMOConfig(frames, channels=32, hidden=48, layers=2, joints_in=17, joints_out=17, **settings)


def trained_like(config: STMOConfig) -> STMO:
    """A lifter whose norms and statistics are not those of a fresh one."""
    lifter = STMO(config)
    for name, tensor in lifter.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return lifter.eval()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# Sizes


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"frames": 26}, "frames"),
        ({"frames": "27"}, "frames"),
        ({"channels": 36}, "channels"),
        ({"layers": -1}, "layers"),
        ({"hidden": 1.5}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": "much"}, "dropout"),
        ({"expected_error": 1}, "expected_error"),
    ],
)
def test_impossible_sizes_are_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArtifact) as refused:
        build("pstmo", {"frames": 27} | settings)
    assert refused.value.path == f"network.{field}"


def test_build_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InvalidArtifact, match="'mixture'"):
        build("mixture", {"frames": 27})
    with pytest.raises(InvalidArtifact, match="'depth'"):
        build("pstmo", {"frames": 27, "depth": 3})
    with pytest.raises(InvalidArtifact, match="'frames'"):
        build("pstmo", {})


def test_build_returns_the_network_of_the_manifest() -> None:
    config = small(mask_token=True)
    assert build("pstmo", dataclasses.asdict(config)).config == config


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("frames", [9, 27, 81, 243, 351])
@torch.no_grad()
def test_every_window_length(frames: int, centred: bool) -> None:
    lifter = trained_like(small(frames, centred_aggregator=centred))
    windows = torch.randn(2, frames, 17, 2)
    poses, fused = lifter(windows), lifter.for_inference()(windows)
    assert lifter.receptive_field == frames
    assert poses.centre is not None
    assert poses.centre.shape == (2, 17, 3)
    assert poses.frames is None
    torch.testing.assert_close(fused.centre, poses.centre, atol=FUSED, rtol=0)


def test_training_gives_both_heads_and_every_parameter_a_gradient() -> None:
    lifter = STMO(small(mask_token=True, person_centred=True))
    windows = torch.randn(4, 27, 17, 2)
    windows[0, 3, 5] = MISSING
    poses = lifter(windows)
    assert poses.frames is not None
    assert poses.frames.shape == (4, 27, 17, 3)
    lifting_loss(poses, torch.randn(4, 27, 17, 3)).backward()
    assert [name for name, p in lifter.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_lifting_loss_is_both_mean_distances() -> None:
    poses = Poses(centre=torch.zeros(1, 17, 3), frames=torch.zeros(1, 27, 17, 3))
    beside, centre = torch.zeros(1, 27, 17, 3), torch.zeros(1, 27, 17, 3)
    beside[0, 3, 4] = centre[0, 13, 4] = torch.tensor([3.0, 0.0, 4.0])
    assert lifting_loss(poses, beside).item() == pytest.approx(5 / (27 * 17))
    assert lifting_loss(poses, centre).item() == pytest.approx(5 / (27 * 17) + 5 / 17)


def test_without_layers_and_aggregator_each_frame_is_lifted_by_itself() -> None:
    lifter = trained_like(dataclasses.replace(small(aggregator=False), layers=0))
    windows = torch.randn(2, 27, 17, 2)
    others = windows.clone()
    others[:, [0, 12, 14, 26]] += 1
    for form in (lifter, lifter.for_inference()):
        with torch.no_grad():
            torch.testing.assert_close(form(others).centre, form(windows).centre)
    assert cost("pstmo", lifter.config).flops.full < cost("pstmo", small()).flops.full


# Expected errors


def test_expected_errors_are_a_fourth_column_of_the_answer() -> None:
    lifter = trained_like(small(expected_error=True))
    windows = torch.randn(3, 27, 17, 2)
    with torch.no_grad():
        poses, fused = lifter(windows), lifter.for_inference()(windows)
    assert poses.expected_error is not None
    assert poses.expected_error.shape == (3, 17)
    assert (poses.expected_error > 0).all()
    assert poses.answer.shape == (3, 17, 4)
    assert torch.equal(poses.answer[..., 3], poses.expected_error)
    assert torch.equal(poses.answer[..., :3], poses.centre)
    torch.testing.assert_close(fused.answer, poses.answer, atol=FUSED, rtol=FUSED)


def test_expected_errors_do_not_teach_the_poses() -> None:
    lifter = STMO(small(expected_error=True))
    poses = lifter(torch.randn(4, 27, 17, 2))
    target = torch.randn(4, 27, 17, 3)
    (training_loss(poses, target, skeleton("h36m17")) - lifting_loss(poses, target)).backward()
    taught = {name.split(".")[0] for name, p in lifter.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"error_head"}


def test_the_best_expected_error_is_the_mean_error() -> None:
    errors = torch.tensor([0.01, 0.02, 0.09])
    losses = {expected: expected_error_loss(torch.full((3,), expected), errors) for expected in (0.035, 0.04, 0.045)}
    assert min(losses, key=lambda expected: losses[expected].item()) == 0.04


def test_a_stray_activation_expects_a_finite_error() -> None:
    lifter = trained_like(small(expected_error=True))
    assert lifter.error_head is not None
    with torch.no_grad():
        lifter.error_head.out.bias.fill_(1e6)
        assert lifter(torch.randn(1, 27, 17, 2)).answer.isfinite().all()


# Sharing and the inference form


@pytest.mark.parametrize(
    "settings",
    [{}, {"mask_token": True, "person_centred": True, "centred_aggregator": True}],
    ids=["official", "ours"],
)
@torch.no_grad()
def test_windows_may_share_embedded_frames(settings: dict[str, bool]) -> None:
    exact = trained_like(small(**settings))
    frames = torch.randn(40, 17, 2)
    if settings:
        frames[::3, 5] = MISSING
        frames[7] = MISSING
    index = (torch.arange(40).unsqueeze(1) + torch.arange(27) - 13).clamp(0, 39)
    expected = exact(frames[index]).centre
    for lifter in (exact, exact.for_inference()):
        shared = lifter.aggregate(lifter.embed(frames)[index]).centre
        torch.testing.assert_close(shared, expected, atol=SHARED, rtol=0)


@torch.no_grad()
def test_inference_form_is_a_copy() -> None:
    lifter = trained_like(small())
    fused = lifter.for_inference()
    windows = torch.randn(1, 27, 17, 2)
    before = fused(windows).centre
    for parameter in lifter.parameters():
        parameter.zero_()
    assert torch.equal(fused(windows).centre, before)
    assert fused.for_inference() is fused
    assert fused.config == lifter.config
    assert not any(parameter.requires_grad for parameter in fused.parameters())


# Missing joints


@torch.no_grad()
def test_token_stands_in_for_missing_joints() -> None:
    lifter = trained_like(small(mask_token=True))
    token = lifter.embedding.mask_token
    assert token is not None
    windows = torch.randn(2, 27, 17, 2)
    filled, holes = windows.clone(), windows.clone()
    filled[:, 4, 6] = token
    holes[:, 4, 6, 1] = MISSING  # one coordinate is enough
    for form in (lifter, lifter.for_inference()):
        assert torch.equal(form(holes).centre, form(filled).centre)
        assert not torch.equal(form(holes).centre, form(windows).centre)


def test_official_network_has_no_token() -> None:
    assert STMO(small()).embedding.mask_token is None
    assert not any("mask_token" in name for name in STMO(small()).state_dict())


def test_person_centre_takes_away_mean_and_size() -> None:
    person = torch.randn(5, 17, 2, dtype=torch.float64)
    centred, context = person_centre(person)
    torch.testing.assert_close(centred.mean(dim=-2), torch.zeros(5, 2, dtype=torch.float64))
    torch.testing.assert_close(centred.square().sum(-1).mean(-1), torch.ones(5, dtype=torch.float64))
    moved, moved_context = person_centre(person * 3 + torch.tensor([0.5, -2.0]))
    torch.testing.assert_close(moved, centred)
    torch.testing.assert_close(moved_context[:, 1, 0] - context[:, 1, 0], torch.full((5,), 3.0).double().log())
    torch.testing.assert_close(moved_context[:, 0], context[:, 0] * 3 + torch.tensor([0.5, -2.0]))


def test_person_centre_looks_at_visible_joints_only() -> None:
    frame = torch.randn(17, 2)
    frame[[2, 9]] = MISSING
    visible = [joint for joint in range(17) if joint not in (2, 9)]
    centred, context = person_centre(frame)
    alone, alone_context = person_centre(frame[visible])
    torch.testing.assert_close(centred[visible], alone)
    torch.testing.assert_close(context[0], alone_context[0])
    assert context[1, 1].item() == pytest.approx(2 / 17)
    assert centred[[2, 9]].isnan().all()


def test_person_centre_of_nobody_and_of_one_joint() -> None:
    frames = torch.full((2, 17, 2), MISSING)
    frames[1, 3] = torch.tensor([0.25, -0.5])
    centred, context = person_centre(frames)
    assert torch.equal(context[0], torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert torch.equal(context[1, 0], torch.tensor([0.25, -0.5]))
    assert context.isfinite().all()
    assert torch.equal(centred[1, 3], torch.zeros(2))
    lifter = trained_like(small(mask_token=True, person_centred=True))
    assert lifter.embed(frames).isfinite().all()


# Pretraining


@pytest.mark.parametrize(
    ("frames", "rate", "hidden"), [(243, 0.8, 194), (243, 0.6, 145), (81, 0.7, 56), (27, 0.8, 21), (27, 0.0, 0)]
)
def test_mask_counts(frames: int, rate: float, hidden: int) -> None:
    hidden_frames, hidden_joints = draw_masks(small(frames), rate, 3, torch.Generator().manual_seed(1))
    assert hidden_frames.sum() == hidden
    assert (hidden_joints.sum(dim=1) == 3).all()


def test_masks_follow_their_generator_and_reach_every_joint() -> None:
    first, again, other = (draw_masks(small(243), 0.5, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[1].any(dim=0).all()


def test_hidden_input_leaves_no_trace() -> None:
    model = MaskedPoseModel(small(person_centred=True)).eval()
    hidden_frames, hidden_joints = draw_masks(model.config, 0.8, 4, torch.Generator().manual_seed(1))
    windows = torch.randn(2, 27, 17, 2)
    changed = torch.where(hidden_joints.unsqueeze(-1), torch.randn(2, 27, 17, 2), windows)
    changed[:, hidden_frames] = MISSING
    with torch.no_grad():
        rebuilt = model(windows, hidden_frames, hidden_joints)
        assert rebuilt.shape == (2, 27, 17, 2)
        torch.testing.assert_close(model(changed, hidden_frames, hidden_joints), rebuilt)


def test_pretraining_target_is_what_the_encoder_sees() -> None:
    clean = torch.randn(2, 27, 17, 2)
    assert MaskedPoseModel(small()).target(clean) is clean
    torch.testing.assert_close(MaskedPoseModel(small(person_centred=True)).target(clean), person_centre(clean)[0])


@pytest.mark.parametrize("mask_token", [False, True])
def test_lifter_takes_the_token_only_if_it_wants_one(mask_token: bool) -> None:
    config = small(mask_token=mask_token, person_centred=True)
    state = MaskedPoseModel(config).encoder_state()
    assert ("embedding.mask_token" in state) == mask_token
    assert not STMO(config).load_state_dict(state, strict=False).unexpected_keys


def test_decoder_needs_its_own_heads_to_fit() -> None:
    with pytest.raises(InvalidArtifact, match="decoder"):
        MaskedPoseModel(STMOConfig(27, channels=24, heads=8))


# Costs: table 6 of the paper, with the digits that the official code prints

OFFICIAL_COSTS = [
    # frames, layers, counted and all parameters (M), counted and full operations (M)
    (27, 3, 4.648, 4.683, 163.3, 166.0),
    (81, 3, 5.436, 5.527, 492.9, 519.5),
    (243, 3, 6.224, 6.482, 1481.9, 1727.8),
    (243, 4, 6.750, 7.009, 1736.7, 2043.1),
]


@pytest.mark.parametrize(("frames", "layers", "counted", "every", "counted_flops", "full_flops"), OFFICIAL_COSTS)
def test_costs_of_the_official_networks(
    frames: int, layers: int, counted: float, every: float, counted_flops: float, full_flops: float
) -> None:
    config = STMOConfig(frames, layers=layers)
    assert cost("pstmo", config).parameters.counted / 1e6 == pytest.approx(counted, abs=5e-4)
    assert cost("pstmo", config).flops.counted / 1e6 == pytest.approx(counted_flops, abs=0.05)
    assert cost("pstmo", config).flops.full / 1e6 == pytest.approx(full_flops, abs=0.05)

    official_total = official_parameters(config)
    assert official_total / 1e6 == pytest.approx(every, abs=5e-4)
    # What ours does without: two norms never called, and the rows of two position tensors that are sliced away.
    unused_rows = (frames - frames // 3) + (frames - frames // 9)
    assert official_total - cost("pstmo", config).parameters.full == config.channels * (2 * 2 + unused_rows)


def test_costs_count_what_we_added() -> None:
    official, ours = small(), small(mask_token=True, person_centred=True)
    more = cost("pstmo", ours).parameters.full - cost("pstmo", official).parameters.full
    assert more == 2 + 4 * 64  # the token, and four more features into 2 * 32 channels
    assert cost("pstmo", ours).flops.full - cost("pstmo", official).flops.full == 2 * 27 * 4 * 64
