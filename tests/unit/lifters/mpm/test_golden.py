"""MPM's three networks against golden vectors of the official code."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from poselift.coordinates import mirror
from poselift.lifters.mpm.completion import COMPLETION_LAYERS
from poselift.lifters.mpm.hidden_joints import joint_tubes
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace
from poselift.lifters.mpm.pretraining import COMPLETION_2D, PRETRAINING, PRETRAINING_LAYERS
from poselift.lifters.official.matches import Match, to_ours
from poselift.lifters.official.mpm import import_mpm, import_pose_space, lifter_matches, pose_space_matches
from poselift.lifters.pstmo.losses import lifting_loss
from poselift.lifters.pstmo.pretraining import masked_pose_loss
from poselift.skeletons import skeleton
from tests.golden_files import golden, golden_json
from tests.unit.lifters.golden_steps import GRADIENT, NO_GRADIENT, official_weights, without_dropout

LIFT = "mpm_lift_c64_h128_n27_l3_j17"
PRETRAIN = "mpm_pretrain_c64_h128_n27_l3_j17"
COMPLETE = "mpm_completion_c64_h128_n27_l3_j17"
H36M = skeleton("h36m17")
FLOAT32 = 3e-5
FLOAT64 = 1e-9


def centre_of(official: Tensor) -> Tensor:
    return official[:, :, 0, :, 0].transpose(1, 2)


def frames_of(official: Tensor) -> Tensor:
    return official[..., 0].permute(0, 2, 3, 1)


def four_losses(
    module: nn.Module, learning_rate: float, losses: Callable[[], list[Tensor]], after_first: Callable[[], None]
) -> list[list[float]]:
    """Total and terms of four steps on the same batch."""
    without_dropout(module.train())
    optimiser = torch.optim.Adam(module.parameters(), lr=learning_rate, amsgrad=True)
    found = []
    for step in range(4):
        optimiser.zero_grad()
        terms = losses()
        terms[0].backward()
        if step == 0:
            after_first()
        optimiser.step()
        found.append([term.item() for term in terms])
    return found


def check_gradients(module: nn.Module, matches: list[Match], name: str, without: int) -> None:
    """Whole gradients where they are stored, else their norms; `without` parameters have none."""
    norms = golden_json(name)["train_mode"]["grad_l2"]
    prefix = "train/grad_first_iter/"
    official = {key.removeprefix(prefix): value for key, value in golden(name).items() if key.startswith(prefix)}
    ours = dict(module.named_parameters())
    compared = 0
    for match in matches:
        if match.ours not in ours or all(norms.get(key, 0.0) < NO_GRADIENT for key in match.official):
            continue
        gradient = ours[match.ours].grad
        assert gradient is not None
        if official:
            expected = to_ours(match, official, gradient)
            allowed = GRADIENT * expected.abs().max().item()
            torch.testing.assert_close(gradient, expected, atol=allowed, rtol=0, msg=f"gradient of {match.ours}")
        else:
            norm = math.hypot(*(norms[key] for key in match.official))
            assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENT), match.ours
        compared += 1
    assert compared == len(ours) - without


# Lifting


@pytest.fixture
def lifter() -> MPM:
    return import_mpm(official_weights(golden(LIFT)))


def both_heads(lifter: MPM, windows: Tensor) -> tuple[Tensor, Tensor]:
    centre = lifter(windows).centre
    assert centre is not None
    return centre, lifter.frames_head(lifter.temporal(lifter.embed(windows)))


@torch.no_grad()
def test_lifting_in_float32(lifter: MPM) -> None:
    vectors = golden(LIFT)
    centre, frames = both_heads(lifter, vectors["inputs/x_BNJ2"])
    torch.testing.assert_close(centre, centre_of(vectors["outputs/single"]), atol=FLOAT32, rtol=0)
    torch.testing.assert_close(frames, frames_of(vectors["outputs/all_frames"]), atol=FLOAT32, rtol=0)
    fused = lifter.for_inference()(vectors["inputs/x_BNJ2"]).centre
    torch.testing.assert_close(fused, centre, atol=FLOAT32, rtol=0)


@torch.no_grad()
def test_lifting_in_float64(lifter: MPM) -> None:
    vectors = golden(LIFT)
    centre, _ = both_heads(lifter.double(), vectors["inputs/x_BNJ2"].double())
    torch.testing.assert_close(centre, centre_of(vectors["outputs_f64/single"]), atol=FLOAT64, rtol=0)


@torch.no_grad()
def test_stages_of_lifting(lifter: MPM) -> None:
    vectors = golden(LIFT)
    embedded = lifter.embed(vectors["inputs/x_BNJ2"])
    expected = vectors["intermediates/after_shared_spatial_BCN"].transpose(1, 2)
    torch.testing.assert_close(embedded, expected, atol=FLOAT32, rtol=0)
    expected = vectors["intermediates/after_shared_temporal_BNC"]
    torch.testing.assert_close(lifter.temporal(embedded), expected, atol=FLOAT32, rtol=0)


@torch.no_grad()
def test_mirrored_average_of_lifting(lifter: MPM) -> None:
    vectors = golden(LIFT)
    windows = vectors["inputs/x_BNJ2"]
    plain, mirrored = both_heads(lifter, windows), both_heads(lifter, mirror(windows, H36M))
    centre, frames = ((a + mirror(b, H36M)) / 2 for a, b in zip(plain, mirrored, strict=True))
    torch.testing.assert_close(centre, centre_of(vectors["outputs/tta_single"]), atol=FLOAT32, rtol=0)
    torch.testing.assert_close(frames, frames_of(vectors["outputs/tta_all_frames"]), atol=FLOAT32, rtol=0)


def test_four_steps_of_lifting(lifter: MPM) -> None:
    vectors = golden(LIFT)
    windows, target = vectors["inputs/x_BNJ2"], vectors["inputs/gt_BNJ3_root_relative"]

    def check() -> None:
        check_gradients(lifter, lifter_matches(lifter.config), LIFT, without=4)  # biases before a BatchNorm

    losses = four_losses(lifter, 7e-4, lambda: [lifting_loss(lifter(windows), target)], check)
    expected = golden_json(LIFT)["train_mode"]["losses"]
    assert losses[0] == pytest.approx(expected[:1], rel=1e-5)
    assert [loss for (loss,) in losses] == pytest.approx(expected, rel=1e-3)


# Pretraining


@pytest.fixture
def pretraining() -> PoseSpace:
    return import_pose_space(official_weights(golden(PRETRAIN)))


def masks(kind: str) -> tuple[Tensor, Tensor]:
    vectors = golden(PRETRAIN)
    return vectors[f"inputs/spatial_mask_{kind}_NJ"].bool(), vectors[f"inputs/temporal_mask_{kind}_N"].bool()


@torch.no_grad()
def test_reconstructing_and_lifting_masked_windows(pretraining: PoseSpace) -> None:
    vectors = golden(PRETRAIN)
    keypoints, lifted = pretraining(vectors["inputs/x2d_BNJ2"], *masks("2d"), lift=True)
    nothing, joints = pretraining(vectors["inputs/x3d_BNJ3"], *masks("3d"))
    torch.testing.assert_close(keypoints, vectors["outputs/recon2d_BNJ2"], atol=FLOAT32, rtol=0)
    torch.testing.assert_close(lifted, vectors["outputs/lift_from_masked_2d_BNJ3"], atol=FLOAT32, rtol=0)
    torch.testing.assert_close(joints, vectors["outputs/recon3d_BNJ3"], atol=FLOAT32, rtol=0)
    assert nothing is None
    assert pretraining(vectors["inputs/x2d_BNJ2"], *masks("2d")).joints is None


@torch.no_grad()
def test_reconstructing_in_float64(pretraining: PoseSpace) -> None:
    vectors = golden(PRETRAIN)
    pretraining.double()
    keypoints = pretraining(vectors["inputs/x2d_BNJ2"].double(), *masks("2d")).keypoints
    joints = pretraining(vectors["inputs/x3d_BNJ3"].double(), *masks("3d")).joints
    torch.testing.assert_close(keypoints[-1:], vectors["outputs_f64/recon2d_last_sample"], atol=FLOAT64, rtol=0)
    torch.testing.assert_close(joints[-1:], vectors["outputs_f64/recon3d_last_sample"], atol=FLOAT64, rtol=0)


def test_four_steps_of_pretraining(pretraining: PoseSpace) -> None:
    vectors = golden(PRETRAIN)
    flat, solid = vectors["inputs/x2d_BNJ2"], vectors["inputs/x3d_BNJ3"]
    matches = pose_space_matches(pretraining.config, PRETRAINING_LAYERS)

    def losses() -> list[Tensor]:
        of_keypoints = masked_pose_loss(pretraining(flat, *masks("2d")).keypoints, flat)
        of_joints = masked_pose_loss(pretraining(solid, *masks("3d")).joints, solid)
        return [PRETRAINING.keypoints * of_keypoints + PRETRAINING.joints * of_joints, of_keypoints, of_joints]

    def check() -> None:
        # The biases before the BatchNorms of two first layers, two inner layers and two heads have no true gradient.
        check_gradients(pretraining, matches, PRETRAIN, without=6)
        state = pretraining.state_dict()
        official = {match.official[0]: match.ours for match in matches}
        norms = {key: value for key, value in vectors.items() if key.startswith("train/bn_after_first_iter/")}
        assert len(norms) == 12
        for key, value in norms.items():
            ours = state[official[key.removeprefix("train/bn_after_first_iter/")]]
            torch.testing.assert_close(ours, value, atol=1e-5, rtol=1e-5)

    found = four_losses(pretraining, 1e-4, losses, check)
    expected = golden_json(PRETRAIN)["train_mode"]["losses"]
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for step in range(1, 4):
        assert found[step] == pytest.approx(expected[step], rel=1e-3)


def test_lifter_starts_from_the_pretrained_encoder(pretraining: PoseSpace) -> None:
    lifter = MPM(MPMConfig(27, channels=64, hidden=128)).eval()
    loaded = lifter.load_state_dict(pretraining.lifter_state(), strict=False)
    assert not loaded.unexpected_keys
    assert all(name.startswith(("aggregator.", "centre_head.", "frames_head.")) for name in loaded.missing_keys)
    shared = ("encoder2d", "shared_layers_spatial", "shared_layers_temporal")
    wanted = {name for name in official_weights(golden(PRETRAIN)) if name.startswith(shared)}
    matched = {name for match in lifter_matches(lifter.config) for name in match.official if name in wanted}
    assert {name for name in wanted - matched if ".model.norm." not in name} == set()


# Completion


@pytest.fixture
def completion() -> PoseSpace:
    return import_pose_space(official_weights(golden(COMPLETE)))


def tubes(kind: str) -> Tensor:
    return golden(COMPLETE)[f"inputs/tube_mask_{kind}_BJ"].bool().unsqueeze(1)


@torch.no_grad()
def test_completing_and_lifting_with_hidden_limbs(completion: PoseSpace) -> None:
    vectors = golden(COMPLETE)
    flat, solid = vectors["inputs/x2d_BNJ2"], vectors["inputs/x3d_BNJ3"]
    assert len(completion.joints_decoder) == COMPLETION_LAYERS
    keypoints, lifted = completion(flat, tubes("2d"), lift=True)
    torch.testing.assert_close(keypoints, vectors["outputs/recon2d_BNJ2"], atol=FLOAT32, rtol=0)
    torch.testing.assert_close(lifted, vectors["outputs/lift_from_masked_2d_BNJ3"], atol=FLOAT32, rtol=0)
    joints = completion(solid, tubes("3d")).joints
    torch.testing.assert_close(joints, vectors["outputs/recon3d_BNJ3"], atol=FLOAT32, rtol=0)
    # Joints that are missing in the input give the same.
    missing = solid.masked_fill(tubes("3d").unsqueeze(-1), torch.nan)
    completed = completion.complete(missing)
    torch.testing.assert_close(completed, vectors["outputs/completed3d_BNJ3"], atol=FLOAT32, rtol=0)
    assert torch.equal(completed[~missing.isnan()], solid[~missing.isnan()])


@torch.no_grad()
def test_completing_in_float64(completion: PoseSpace) -> None:
    vectors = golden(COMPLETE)
    completion.double()
    lifted = completion(vectors["inputs/x2d_BNJ2"].double(), tubes("2d"), lift=True).joints
    joints = completion(vectors["inputs/x3d_BNJ3"].double(), tubes("3d")).joints
    torch.testing.assert_close(lifted[-1:], vectors["outputs_f64/lift_last_sample"], atol=FLOAT64, rtol=0)
    torch.testing.assert_close(joints[-1:], vectors["outputs_f64/recon3d_last_sample"], atol=FLOAT64, rtol=0)


@torch.no_grad()
def test_mirrored_average_of_completion_hides_the_same_indices(completion: PoseSpace) -> None:
    vectors = golden(COMPLETE)
    flat = vectors["inputs/x2d_BNJ2"]
    plain = completion(flat, tubes("2d"), lift=True)
    mirrored = completion(mirror(flat, H36M), tubes("2d"), lift=True)
    keypoints, lifted = ((a + mirror(b, H36M)) / 2 for a, b in zip(plain, mirrored, strict=True))
    torch.testing.assert_close(keypoints, vectors["outputs/tta_recon2d_BNJ2"], atol=FLOAT32, rtol=0)
    torch.testing.assert_close(lifted, vectors["outputs/tta_lift_BNJ3"], atol=FLOAT32, rtol=0)


def test_four_steps_of_completion(completion: PoseSpace) -> None:
    vectors = golden(COMPLETE)
    flat, solid = vectors["inputs/x2d_BNJ2"], vectors["inputs/x3d_BNJ3"]
    matches = pose_space_matches(completion.config, COMPLETION_LAYERS)

    def losses() -> list[Tensor]:
        keypoints, lifted = completion(flat, tubes("2d"), lift=True)
        of_keypoints, of_lift = masked_pose_loss(keypoints, flat), masked_pose_loss(lifted, solid)
        return [COMPLETION_2D.keypoints * of_keypoints + COMPLETION_2D.lift * of_lift, of_keypoints, of_lift]

    def check() -> None:
        # Unused are the 3D token, the first layer of 3D poses and the frame token; five biases precede BatchNorms.
        check_gradients(completion, matches, COMPLETE, without=6 + 5)

    found = four_losses(completion, 2e-4, losses, check)
    expected = golden_json(COMPLETE)["train_mode"]["losses"]
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for step in range(1, 4):
        assert found[step] == pytest.approx(expected[step], rel=1e-3)


def test_hidden_sets_are_the_official_ones() -> None:
    config = golden_json(COMPLETE)["config"]
    assert [list(joints) for joints in joint_tubes(H36M).sets] == config["mask_sets_3d"]
    limbs = H36M.limbs  # keypoints are hidden by both legs, both arms, the right limbs or the left limbs
    halves = (
        ("right leg", "left leg"),
        ("left arm", "right arm"),
        ("right leg", "right arm"),
        ("left leg", "left arm"),
    )
    assert [[*limbs[first], *limbs[second]] for first, second in halves] == config["mask_sets_2d"]
